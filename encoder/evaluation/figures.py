"""A study as pictures, each a PNG: cosine by lag, what is retrieved, and the matrices of one video."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from encoder.evaluation.confidence import bootstrap_interval, estimate
from encoder.evaluation.results import RETRIEVER_COLUMNS
from encoder.evaluation.retrievers import Measured
from encoder.evaluation.study import RetrieverRow, Study

INK, MUTED, GRID = "#1b1f24", "#6b7280", "#e5e7eb"
EMBEDDING_COLORS = ("#1f62aa", "#ca5c0a", "#20803e", "#b23034", "#6e489e", "#be4890", "#784e40")
"""Neighbours differ in lightness too."""

SHOWN = ("recall_at_k", "coverage", "near_duplicates")
"""Numbers of the picture of what is retrieved."""

DPI = 150


def cosine_by_lag(study: Study, path: Path) -> None:
    """Mean cosine against lag; bands are 95 % intervals over videos."""
    figure, axes = _figure(8.0, 4.4)
    for number, row in enumerate(study.embeddings):
        curves_VL = np.stack(row.curves)
        curves_VL = curves_VL[:, ~np.isnan(curves_VL).all(axis=0)]
        lags = np.arange(1, curves_VL.shape[1] + 1)
        color = EMBEDDING_COLORS[number % len(EMBEDDING_COLORS)]
        mean = np.nanmean(curves_VL, axis=0)
        axes.plot(lags, mean, color=color, linewidth=1.8, label=row.name)
        if len(curves_VL) > 1:
            low, high = bootstrap_interval(curves_VL, study.seed)
            axes.fill_between(lags, low, high, color=color, alpha=0.15, linewidth=0)
    axes.set_xlabel("lag, latent frames", color=INK)
    axes.set_ylabel("mean cosine", color=INK)
    axes.set_xlim(left=0)
    axes.set_title("How alike frames are, by their distance in time", color=INK, size=11, loc="left", pad=10)
    axes.grid(color=GRID, linewidth=0.8)
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, labelcolor=INK)
    _save(figure, path)


def retrieval(study: Study, path: Path) -> None:
    """Recall, coverage and near-duplicates of every way of choosing; whiskers are 95 % intervals."""
    rows = [row for row in study.retrievers if not row.is_empty][::-1]
    names = [name for name in SHOWN if any(estimate(row.column(name)) for row in rows)]
    figure = Figure(figsize=(2.0 + 3.0 * len(names), 1.1 + 0.3 * len(rows)), dpi=DPI, layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    colors = dict(zip([row.name for row in study.embeddings], cycle(EMBEDDING_COLORS), strict=False))
    titles = {c.name: c.title.format(k=study.window.top_k) for c in RETRIEVER_COLUMNS}
    for axes, name in zip(panels, names, strict=True):
        _style(axes)
        for height, row in enumerate(rows):
            _bar(axes, height, row, name, study.seed, colors.get(row.name, MUTED))
        axes.set_title(titles[name], color=INK, size=10, loc="left")
        axes.set_xlim(0, 1)
        axes.grid(axis="x", color=GRID, linewidth=0.8)
        axes.set_yticks(range(len(rows)), [row.title for row in rows], color=INK)
    figure.suptitle("What is retrieved", color=INK, size=11, x=0.01, ha="left")
    _save(figure, path)


def _bar(axes: Axes, height: int, row: RetrieverRow, name: str, seed: int, color: str) -> None:
    found = estimate(row.column(name), seed)
    if found is None:
        return
    axes.barh(height, found.mean, height=0.62, color=color, alpha=0.85, linewidth=0)
    if found.low is not None and found.high is not None:
        axes.hlines(height, found.low, found.high, color=INK, linewidth=1.4)


def similarity(study: Study, path: Path) -> None:
    """One video: the cosine of every two frames per embedding, after the truth where it is known."""
    subject = study.example
    if subject is None:
        raise ValueError("the study has no video")
    panels = len(subject.cosines) + (subject.views is not None)
    columns = min(panels, 3)
    rows = -(-panels // columns)
    figure = Figure(figsize=(3.6 * columns + 0.4, 3.5 * rows + 0.4), dpi=DPI, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[panels:]:
        axes.set_visible(False)
    for axes, (title, matrix) in zip(grid, _matrices(subject), strict=False):
        _style(axes)
        # A few unlike frames would otherwise take most of the colours.
        low = min(0.999, float(np.quantile(matrix, 0.02)))
        clipped = "min" if matrix.min() < low else "neither"
        drawn = axes.imshow(matrix, origin="lower", cmap="viridis", vmin=low, vmax=1, interpolation="nearest")
        axes.set_title(title, color=INK, size=10, loc="left")
        bar = figure.colorbar(drawn, ax=axes, fraction=0.045, pad=0.02, extend=clipped)
        bar.ax.tick_params(colors=MUTED, labelsize=7)
        bar.outline.set_visible(False)
    figure.supxlabel("latent frame", color=INK, size=9)
    figure.supylabel("latent frame", color=INK, size=9)
    figure.suptitle(f"Cosine of every two frames of {subject.name}", color=INK, size=11, x=0.01, ha="left")
    _save(figure, path)


def _matrices(subject: Measured) -> list[tuple[str, np.ndarray]]:
    matrices: list[tuple[str, np.ndarray]] = []
    if subject.views is not None:
        frames = range(len(subject.views))
        truth = np.stack([subject.views.overlap(frame, frames) for frame in frames])
        matrices.append(("truth: share of the view in common", truth))
    return [*matrices, *subject.cosines.items()]


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    axes = figure.add_subplot()
    _style(axes)
    return figure, axes


def _style(axes: Axes) -> None:
    axes.tick_params(colors=MUTED, labelsize=8, length=0)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    FigureCanvasAgg(figure)
    figure.savefig(path, format="png", facecolor="white")
