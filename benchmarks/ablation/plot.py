"""The ablation as one figure: revisits, how they hold as the camera goes on, and drift against time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from benchmarks.ablation.arms import FULL, ORACLE_ARM, RANDOM, RELATIVE
from benchmarks.ablation.measures import Worth
from benchmarks.ablation.report import Worths, psnr
from encoder.evaluation.confidence import Estimate, estimate
from generator.toy.prompts import LATENT_FPS

LINES = {
    "native": "#9aa5b1",
    RELATIVE.name: "#3b7dd8",
    RANDOM.name: "#7a4fb5",
    FULL.name: "#d9480f",
    ORACLE_ARM.name: "#2b8a3e",
}
"""Arms that are drawn against time, and their colours; of the others only the bar is drawn."""

OTHER = "#ced4da"
SMOOTHED_FRAMES = 12
BIN_FRAMES = 12
"""Three seconds."""


def save(worths: Worths, path: Path, machine: str) -> None:
    """Write the figure as PNG."""
    figure, axes = plt.subplots(2, 2, figsize=(13, 9))
    _bars(axes[0, 0], worths)
    _since_return(axes[0, 1], worths)
    _against_time(axes[1, 0], worths, "drift", "RMS to the nearest painted cells, grey levels")
    _against_time(axes[1, 1], worths, "detail", "edge energy over that of the painted scene")
    figure.text(0.005, 0.005, machine, fontsize=7, color="#555555")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _bars(axis: plt.Axes, worths: Worths) -> None:
    names = sorted(worths, key=lambda name: float(np.mean(psnr(worths[name]))))
    found = [estimate(psnr(worths[name])) for name in names]
    means = np.array([each.mean for each in found])
    reach = np.array([_reach(each) for each in found]).T
    colours = [LINES.get(name, OTHER) for name in names]
    axis.barh(names, means, xerr=reach, color=colours, error_kw={"lw": 1, "ecolor": "#333333"})
    axis.set_xlim(left=max(0, means.min() - 4))
    videos = len(worths[RELATIVE.name])
    axis.set_xlabel(f"PSNR to the first visit, dB; mean of {videos} videos and 95 % interval")
    _title(axis, "A place seen again")


def _reach(found: Estimate) -> tuple[float, float]:
    """How far the interval goes down and up; one video alone has none."""
    return (0.0, 0.0) if found.low is None else (found.mean - found.low, found.high - found.mean)


def _since_return(axis: plt.Axes, worths: Worths) -> None:
    for name, colour in _drawn(worths):
        frames, db = np.array([pair for video in worths[name] for pair in _counted(video)]).T
        bins = (frames // BIN_FRAMES).astype(int)
        counts = np.bincount(bins)
        known = counts >= len(worths[name])
        means = np.bincount(bins, db)[known] / counts[known]
        seconds = (np.flatnonzero(known) + 0.5) * BIN_FRAMES / LATENT_FPS
        axis.plot(seconds, means, color=colour, label=name)
    axis.set_xlabel("seconds since the view began to show places again")
    axis.set_ylabel("PSNR to the first visit, dB")
    axis.legend(frameon=False, fontsize=8)
    _title(axis, "Whether it holds")


def _counted(video: Worth) -> list[tuple[int, float]]:
    """Returns with frames counted anew wherever a run of them begins."""
    counted, previous, start = [], -2, 0
    for frame, db in video.returns_db:
        if frame != previous + 1:
            start = frame
        counted.append((frame - start, db))
        previous = frame
    return counted


def _against_time(axis: plt.Axes, worths: Worths, field: str, label: str) -> None:
    kernel = np.ones(SMOOTHED_FRAMES) / SMOOTHED_FRAMES
    for name, colour in _drawn(worths):
        curve = np.mean([getattr(video, field) for video in worths[name]], axis=0)
        smooth = np.convolve(curve, kernel, mode="valid")
        seconds = (np.arange(len(smooth)) + SMOOTHED_FRAMES / 2) / LATENT_FPS
        axis.plot(seconds, smooth, color=colour, label=name)
    axis.set_xlabel("seconds of video")
    axis.set_ylabel(label, fontsize=8)
    _title(axis, "Drift: how it looks" if field == "drift" else "Drift: detail")


def _drawn(worths: Worths) -> Sequence[tuple[str, str]]:
    return [(name, colour) for name, colour in LINES.items() if name in worths]


def _title(axis: plt.Axes, text: str) -> None:
    axis.set_title(text, loc="left", fontsize=10)
    axis.grid(color="#eeeeee")
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
