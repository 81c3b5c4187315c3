"""What the memory says, as rows: the same rows become a table in a terminal or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from inspector.layout import Layout
from memory_service.types import Parent, Retrieval, VideoInfo

Row: TypeAlias = dict[str, Any]

TEXT_COLUMNS = frozenset({"video", "chosen frames:score"})
"""Columns that are read from the left; all others hold numbers."""


MAX_FACT = 500
"""Most characters of metadata that a terminal is shown as they are."""


def video_row(info: VideoInfo) -> Row:
    """One video with its spec and state; metadata as it was written."""
    return {
        "pool": info.key.pool,
        "video": info.key.video,
        "epoch": info.state.epoch,
        "length": info.state.length,
        "durable": info.state.durable,
        "sealed": info.sealed,
        "parent": _parent_row(info.parent),
        "num_bytes": info.num_bytes,
        "embedding_dim": info.spec.embedding_dim,
        "latent_dtype": info.spec.latent_dtype,
        "latent_shape": list(info.spec.latent_shape),
        "latent_bytes": info.spec.latent_bytes,
        "encoder_id": info.spec.encoder_id,
        "created": datetime.fromtimestamp(info.created_unix_ms / 1000, UTC).isoformat(timespec="seconds"),
        "metadata": dict(info.spec.metadata),
    }


def _parent_row(parent: Parent | None) -> Row | None:
    if parent is None:
        return None
    return {
        "pool": parent.key.pool,
        "video": parent.key.video,
        "epoch": parent.epoch,
        "length": parent.length,
    }


def retrieval_row(retrieval: Retrieval) -> Row:
    """One search of the log; `block` is the first frame of the block it served, chosen frames best first."""
    return {
        "block": retrieval.length,
        "query_frame": retrieval.query_frame,
        "eligible": [retrieval.eligible.start, retrieval.eligible.stop],
        "k": retrieval.k,
        "policy": retrieval.policy,
        "frames": list(retrieval.frames),
        "scores": list(retrieval.scores),
        "search_us": retrieval.search_us,
        "epoch": retrieval.epoch,
        "unix_ms": retrieval.unix_ms,
        "num_candidates": retrieval.num_candidates,
        "runner_up_frames": list(retrieval.runner_up_frames),
        "runner_up_scores": list(retrieval.runner_up_scores),
        "videos": [str(key) for key in retrieval.videos],
    }


def videos_table(rows: Sequence[Row]) -> Table:
    """One line a video; what it leaves out is in `video_table`."""
    table = _table("video", "frames", "durable", "latent", "D")
    table.expand = True
    table.add_column("prompt", ratio=1, no_wrap=True, overflow="ellipsis")
    for row in rows:
        table.add_row(
            row["video"],
            str(row["length"]),
            str(row["durable"]),
            _latent(row),
            str(row["embedding_dim"]),
            escape(row["metadata"].get("prompt", "")),
        )
    return table


def video_table(row: Row) -> Table:
    """One video: a line per fact."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    facts = {
        "video": f"{row['pool']}/{row['video']}",
        "frames": f"{row['length']} kept, {row['durable']} durable, epoch {row['epoch']}" + _life(row),
        "latent": f"{_latent(row)}, {row['latent_bytes']:,} bytes a frame",
        "embedding": f"{row['embedding_dim']} values, {row['encoder_id']}",
        "created": row["created"],
        **{name: _short(value) for name, value in row["metadata"].items()},
    }
    for name, value in facts.items():
        table.add_row(Text(name, style="dim"), Text(value))
    return table


def _short(value: str) -> str:
    """A value of metadata, or how long it is where that is a document: `--json` has all of it."""
    return value if len(value) <= MAX_FACT else f"{len(value):,} characters"


def _life(row: Row) -> str:
    parent = row["parent"]
    shared = f", {parent['length']} shared with {parent['pool']}/{parent['video']}" if parent else ""
    return shared + (", sealed" if row["sealed"] else "")


def retrievals_table(rows: Sequence[Row], layout: Layout | None) -> Table:
    """For each block its query frame, what was eligible, the chosen frames, and the time of the search."""
    table = _table("block", "time", "query", "eligible", "chosen frames:score", "search")
    for row in rows:
        start, (first, stop) = row["block"], row["eligible"]
        chosen = zip(row["frames"], row["scores"], strict=True)
        table.add_row(
            str(start) if layout is None else f"{start}-{start + layout.block_frames - 1}",
            f"{start / layout.latent_fps:.1f} s" if layout and layout.latent_fps else "",
            "vector" if row["query_frame"] is None else str(row["query_frame"]),
            f"{first}-{stop - 1}",
            "  ".join(f"{frame}:{score:.3f}" for frame, score in chosen),
            f"{row['search_us']} us",
        )
    return table


def _table(*headings: str) -> Table:
    table = Table(box=box.SIMPLE)
    for heading in headings:
        table.add_column(heading, justify="left" if heading in TEXT_COLUMNS else "right")
    return table


def _latent(row: Row) -> str:
    return f"{' x '.join(map(str, row['latent_shape']))} {row['latent_dtype']}"
