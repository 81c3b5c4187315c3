"""The scores of returned-to views, per prompt and method."""

from __future__ import annotations

from collections.abc import Mapping

from generator.records.revisit import RevisitScore, mean
from generator.report.style import METHOD_TITLES, method_title
from generator.report.table import Table

NOTE = (
    "same: PSNR of a returned-to view against its first visit, dB. other: of the same view against places "
    "that share nothing with it. gain: what being the same place is worth, 0 if nothing was remembered. "
    "detail: edge energy over that of the first visit; an empty scene is low here."
)


def table(scores: Mapping[tuple[str, str], RevisitScore]) -> Table:
    """Scores by (prompt, method); a last group averages over the prompts."""
    prompts = list(dict.fromkeys(prompt for prompt, _ in scores))
    methods = sorted({method for _, method in scores}, key=_order)
    rows = [
        _row(prompt, m, scores[prompt, m]) for prompt in prompts for m in methods if (prompt, m) in scores
    ]
    if len(prompts) > 1:
        rows += [_row("all", m, mean(s for (_, of), s in scores.items() if of == m)) for m in methods]
    return Table(
        title="Does a place look the same when the camera returns?",
        header=("video", "method", "frames", "same", "other", "gain", "detail"),
        rows=rows,
        note=NOTE,
    )


def _row(prompt: str, method: str, score: RevisitScore) -> tuple[str, ...]:
    return (
        prompt,
        method_title(method),
        str(score.num_frames),
        f"{score.psnr_db:.2f}",
        f"{score.elsewhere_db:.2f}",
        f"{score.gain_db:+.2f}",
        f"{score.detail_ratio:.2f}",
    )


def _order(method: str) -> tuple[int, str]:
    titled = list(METHOD_TITLES)
    return titled.index(method) if method in titled else len(titled), method
