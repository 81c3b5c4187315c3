"""A study as two tables, and what a reader must know before comparing their numbers."""

from __future__ import annotations

from collections.abc import Sequence

from encoder.evaluation.choices import ALIKE
from encoder.evaluation.confidence import Estimate, estimate
from encoder.evaluation.geometry import FAR_LAG
from encoder.evaluation.study import EmbeddingRow, RetrieverRow, Study
from encoder.evaluation.table import Column, Table

EMBEDDING_COLUMNS = (
    Column("cosine_lag_1", "cosine at lag 1", 3),
    Column("cosine_lag_2", "lag 2", 3),
    Column("cosine_lag_3", "lag 3", 3),
    Column(f"drop_to_lag_{FAR_LAG}", f"drop to lag {FAR_LAG}", 3),
    Column("effective_rank", "effective rank", 1),
    Column("us_per_frame", "us a frame", 0),
    Column("times_floor", "x floor", 1),
)

RETRIEVER_COLUMNS = (
    Column("recall_at_k", "recall@{k}", 2),
    Column("hit_rate", "hit rate", 2),
    Column("coverage", "coverage", 2),
    Column("spread_frames", "spread", 1),
    Column("extent_frames", "extent", 1),
    Column("redundancy", "redundancy", 2),
    Column("near_duplicates", "near-duplicates", 2),
)

EMBEDDING_NOTE = (
    "Cosine of frames 1, 2 and 3 apart: near 1 the embedding cannot tell neighbours apart. Drop: from lag 1 "
    f"to lag {FAR_LAG}. Effective rank: exp of the entropy of the covariance's eigenvalues, per video. "
    "us a frame: embedding a block, per frame; x floor: over what the arithmetic and traffic alone take."
)

RETRIEVER_NOTE = (
    "Recall@{k} and hit rate: at returns, share of the chosen frames that show the query's place (half a "
    "view or more), of the most that could; and whether any does. Coverage: share of the next block's "
    "columns, seen before and not in sink or local frames, that a chosen frame shows. Spread (standard "
    "deviation) and extent are in frames. Redundancy: mean cosine of the chosen frames' latents; "
    "near-duplicates: share of them at {alike:g} or more with one chosen before. Nearest-place ranks by the "
    "true distance to the query, the best ranking there is; the oracle also knows the next block."
)


def tables(study: Study) -> tuple[Table, Table]:
    """One row per embedding; one row per way of choosing frames."""
    k = study.window.top_k
    choosers = [row for row in study.retrievers if not row.is_empty]
    return (
        Table(
            title="The embeddings",
            labels=("embedding", "dimension", "floor"),
            columns=EMBEDDING_COLUMNS,
            rows=[
                (_labels(row, study), _estimates(row, EMBEDDING_COLUMNS, study.seed))
                for row in study.embeddings
            ],
            note=EMBEDDING_NOTE,
        ),
        Table(
            title="The frames that they choose",
            labels=("retrieval", "policy"),
            columns=[Column(c.name, c.title.format(k=k), c.digits) for c in RETRIEVER_COLUMNS],
            rows=[
                ((row.name, row.policy), _estimates(row, RETRIEVER_COLUMNS, study.seed)) for row in choosers
            ],
            note=RETRIEVER_NOTE.format(k=k, alike=ALIKE),
        ),
    )


def about(study: Study) -> str:
    """What was measured, and what the numbers leave out."""
    return " ".join(_sentences(study))


def _sentences(study: Study) -> list[str]:
    window, frames, machine = study.window, study.num_frames, study.machine
    length = f"{min(frames)}" if min(frames) == max(frames) else f"{min(frames)} to {max(frames)}"
    sentences = [
        f"{len(frames)} video{'s' * (len(frames) > 1)} of {length} frames.",
        f"Window of {window.window_frames} frames: sink {window.sink_frames}, retrieved {window.top_k}; "
        f"guard {window.guard_frames}, blocks of {window.block_frames}.",
    ]
    if study.pixels:
        sentences.append("Pixels of decoded video, not latents: every fourth frame, an eighth of its sides.")
    if study.num_with_truth == 0:
        sentences.append(
            "No places are known: recall, hit rate and coverage are empty, rows that need them are left out."
        )
    elif study.num_with_truth < len(frames):
        sentences.append(
            f"Places are known of {study.num_with_truth}: recall, hit rate and coverage are of these."
        )
    if not any(True for count in frames for _ in window.steps(count)):
        sentences.append("No video is long enough to retrieve anything.")
    if len(frames) > 1:
        sentences.append("In brackets: 95 % bootstrap interval of the mean over videos.")
    else:
        sentences.append("Of one video there are no intervals.")
    sentences.append(
        "Times are of one thread; the rates behind the floor were "
        f"{machine.flops_per_s / 1e9:.1f} GFLOP/s in a float32 matrix product, "
        f"{machine.bytes_per_s / 1e9:.1f} GB/s in a copy."
    )
    return sentences


def _labels(row: EmbeddingRow, study: Study) -> tuple[str, str, str]:
    return row.name, str(row.encoder.embedding_dim), row.work.bound(study.machine)


def _estimates(
    row: EmbeddingRow | RetrieverRow, columns: Sequence[Column], seed: int
) -> list[Estimate | None]:
    return [estimate(row.column(column.name), seed) for column in columns]
