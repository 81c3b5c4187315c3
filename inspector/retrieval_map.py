"""The retrieval map: for every block the earlier frames that it attended. Drawn from the memory's own log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from inspector.layout import Layout
from memory_service.types import Retrieval

INK, MUTED = "#1b1f24", "#6b7280"
ELIGIBLE, LOCAL, SINK, OWN = "#edf0f4", "#8c96a6", "#d1570c", "#3a4352"
SCORES = "viridis_r"


@dataclass(frozen=True, slots=True)
class Attended:
    """Frames [start, stop) that the block at `block` attends, and why. `score` only where retrieved."""

    kind: Literal["sink", "retrieved", "local", "own"]
    block: int
    start: int
    stop: int
    score: float = np.nan


def attended(retrievals: Sequence[Retrieval], layout: Layout | None) -> Iterator[Attended]:
    """What each block attended. A search in a video of n frames serves the block that starts at frame n."""
    for retrieval in retrievals:
        for frame, score in zip(retrieval.frames, retrieval.scores, strict=True):
            yield Attended("retrieved", retrieval.length, frame, frame + 1, score)
    if layout is not None:
        for block in range(0, retrievals[-1].length + 1, layout.block_frames):
            sink, local = layout.sink(block), layout.local(block)
            yield Attended("sink", block, sink.start, sink.stop)
            yield Attended("local", block, local.start, block)
            yield Attended("own", block, block, local.stop)


def draw(retrievals: Sequence[Retrieval], layout: Layout | None, title: str, path: Path) -> None:
    """Write the map as a PNG. Raises ValueError where nothing was retrieved."""
    if not retrievals:
        raise ValueError("the log holds no retrieval")
    figure = Figure(figsize=(9.6, 7.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    width = layout.block_frames if layout else _spacing(retrievals)
    _draw_eligible(axes, retrievals, width)
    marks = list(attended(retrievals, layout))
    for kind, color in (("local", LOCAL), ("own", OWN), ("sink", SINK)):
        boxes = _boxes([mark for mark in marks if mark.kind == kind], width)
        # The sink may be one frame high; its line keeps it visible.
        thick = 2.5 if kind == "sink" else 0
        axes.add_collection(PolyCollection(boxes, facecolors=color, edgecolors=color, linewidths=thick))
    _draw_retrieved(figure, axes, [m for m in marks if m.kind == "retrieved"], width)
    _label(axes, retrievals[-1].length + width, layout, title)
    figure.savefig(path)


def _draw_eligible(axes: Axes, retrievals: Sequence[Retrieval], width: int) -> None:
    boxes = [
        Attended("retrieved", r.length, r.eligible.start, min(r.eligible.stop, r.length)) for r in retrievals
    ]
    axes.add_collection(PolyCollection(_boxes(boxes, width), facecolors=ELIGIBLE, linewidths=0))


def _draw_retrieved(figure: Figure, axes: Axes, marks: Sequence[Attended], width: int) -> None:
    # A hairline of the same colour keeps one frame visible when it is thinner than a pixel.
    hits = PolyCollection(_boxes(marks, width), array=[m.score for m in marks], cmap=SCORES, linewidths=0.7)
    hits.set_edgecolor("face")
    axes.add_collection(hits)
    bar = figure.colorbar(hits, ax=axes, fraction=0.04, pad=0.02)
    bar.set_label("score of a retrieved frame (cosine)", color=INK)
    bar.outline.set_visible(False)


def _boxes(marks: Sequence[Attended], width: int) -> list[list[tuple[float, float]]]:
    return [
        [(m.block, m.start), (m.block + width, m.start), (m.block + width, m.stop), (m.block, m.stop)]
        for m in marks
    ]


def _label(axes: Axes, end: int, layout: Layout | None, title: str) -> None:
    axes.set(xlim=(0, end), ylim=(0, end))
    axes.set_title(title, color=INK, size=11, loc="left", pad=12, wrap=True)
    axes.set_xlabel("block being generated (latent frame)", color=INK)
    axes.set_ylabel("frames that it attends (latent frame)", color=INK)
    axes.tick_params(colors=MUTED)
    axes.spines[["top", "right"]].set_visible(False)
    handles = [Patch(color=ELIGIBLE, label="eligible")]
    if layout is not None:
        handles += [Patch(color=SINK, label="sink"), Patch(color=LOCAL, label="local")]
        handles += [Patch(color=OWN, label="the block itself")]
    if layout is not None and layout.latent_fps:
        fps = layout.latent_fps
        seconds = axes.secondary_xaxis("top", functions=(lambda frame: frame / fps, lambda s: s * fps))
        seconds.tick_params(colors=MUTED)
        seconds.set_xlabel("time in the video (s)", color=MUTED)
    axes.legend(handles=handles, loc="upper left", frameon=False)


def _spacing(retrievals: Sequence[Retrieval]) -> int:
    """Frames per block, where nobody noted it: the usual distance of two searches."""
    lengths = sorted({r.length for r in retrievals})
    return int(np.median(np.diff(lengths))) if len(lengths) > 1 else 1
