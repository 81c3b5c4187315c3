"""The ablation as a table, and whether its targets are met."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.ablation.arms import FULL, ORACLE_ARM, RANDOM, RELATIVE
from benchmarks.ablation.measures import Worth
from benchmarks.ablation.statistics import difference
from encoder.evaluation.confidence import Estimate, estimate

Worths = Mapping[str, Sequence[Worth]]
"""Arm -> its videos, in the same order for all arms."""

LAST_FRAMES = 60
"""What drift is read from: 15 s, the last quarter of a minute."""


FIRST_FRAMES, KEPT_DB = 24, 40.0
"""Six seconds of returns, and what they have to be above for a place to count as kept."""


def table(worths: Worths) -> str:
    """One row an arm, best revisits first."""
    rows = [
        "| arm | revisit PSNR, dB | revisit SSIM | over `relative`, dB | elsewhere, dB | coverage | "
        "drift | detail |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    base = psnr(worths[RELATIVE.name])
    for name in sorted(worths, key=lambda arm: -float(np.mean(psnr(worths[arm])))):
        videos = worths[name]
        gain = "" if name == RELATIVE.name else _signed(difference(psnr(videos), base))
        numbers = (
            _plain(estimate(psnr(videos)), 2),
            _plain(estimate([video.revisit_ssim for video in videos]), 3),
            gain,
            f"{np.mean([video.elsewhere_psnr_db for video in videos]):.2f}",
            f"{np.mean([video.coverage for video in videos]):.2f}",
            f"{np.mean([video.drift[-LAST_FRAMES:] for video in videos]):.1f}",
            f"{np.mean([video.detail[-LAST_FRAMES:] for video in videos]):.2f}",
        )
        rows.append(f"| {name} | {' | '.join(numbers)} |")
    return "\n".join(rows)


def targets(worths: Worths) -> str:
    """What was aimed at, and what came out."""
    full = psnr(worths[FULL.name])
    lines = []
    for other in (RELATIVE, RANDOM):
        found = difference(full, psnr(worths[other.name]))
        met = "met" if found.low is not None and found.low > 0 else "not met"
        lines.append(f"- full loss over `{other.name}`: {_signed(found)} dB ({met}; aim: interval above 0)")
    behind = difference(psnr(worths[ORACLE_ARM.name]), full)
    met = "met" if behind.mean < 1 else "not met"
    lines.append(f"- oracle over full loss: {_signed(behind)} dB ({met}; aim: mean below 1 dB)")
    return "\n".join(lines)


def beside_full(worths: Worths) -> str:
    """What the full loss has over every other arm, and in how many videos each keeps its first places."""
    full = psnr(worths[FULL.name])
    rows = [f"| arm | full loss over it, dB | above {KEPT_DB:g} dB at first |", "|---|--:|--:|"]
    for name, videos in worths.items():
        gain = "" if name == FULL.name else _signed(difference(full, psnr(videos)))
        kept = sum(begins_at(video) > KEPT_DB for video in videos)
        rows.append(f"| {name} | {gain} | {kept} of {len(videos)} |")
    return "\n".join(rows)


def begins_at(video: Worth) -> float:
    """Mean PSNR in dB of the returns among the first frames from the first of them on."""
    first = video.returns_db[0][0]
    return float(np.mean([db for frame, db in video.returns_db if frame < first + FIRST_FRAMES]))


def psnr(videos: Sequence[Worth]) -> list[float]:
    return [video.revisit_psnr_db for video in videos]


def _plain(found: Estimate, digits: int) -> str:
    return _written(found, f".{digits}f")


def _signed(found: Estimate) -> str:
    return _written(found, "+.2f")


def _written(found: Estimate, form: str) -> str:
    """The mean and its interval, which one video alone does not have."""
    bounds = "" if found.low is None else f" ({found.low:{form}} to {found.high:{form}})"
    return f"{found.mean:{form}}{bounds}"


HOW_TO_READ = f"""In brackets: 95 % bootstrap interval over videos, those of one scene taken as independent.

- *revisit*: a view against the first visit of its place in the same video, where it had left the view since,
  both without the two columns of cells in which a companion moves from frame to frame; 50 dB a view at most
- *over relative*: the difference, video by video
- *elsewhere*: the same views against places that share nothing with them
- *coverage*: of the columns that a returning block has to show and its local frames do not, the share that
  some retrieved frame was to show
- *drift* (grey levels, RMS): how far cells of 8 x 8 pixels in the last {LAST_FRAMES} frames are from the
  nearest that the painted scene has at the same height; what is given is off too, mostly by the codec
- *detail*: edge energy of the same frames over that of painted views; the codec's pictures of
  painted views are at 1.3"""

BESIDE_FULL = f"""Differences are of the same story on the same noise. *At first*: the mean over the first
{FIRST_FRAMES} frames (6 s) of the first return."""

FROM_NOTHING = """The same stories with nothing given: the generator makes the beginning as well, and
what it comes back to is its own."""


def document(worths: Worths, unaided: Worths, machine: str, arguments: Sequence[str]) -> str:
    """The whole report as Markdown."""
    videos = next(iter(worths.values()))
    parts = [
        "# What each part of retrieval is worth, in the toy world",
        f"`{' '.join(('python -m benchmarks.ablation', *arguments))}`",
        f"Machine: {machine}.",
        f"{len(videos)} videos an arm, of {len(videos[0].detail)} latent frames each; prompts and noise are "
        "the same for all arms. The beginning of each is given: the painted world, as the video's past.",
        HOW_TO_READ,
        table(worths),
    ]
    if {FULL.name, RELATIVE.name, RANDOM.name, ORACLE_ARM.name} <= worths.keys():
        parts += [
            "## Targets",
            targets(worths),
            "## The full loss, video by video",
            BESIDE_FULL,
            beside_full(worths),
        ]
    if unaided:
        parts += ["## From nothing", FROM_NOTHING, table(unaided)]
    return "\n\n".join(parts) + "\n"
