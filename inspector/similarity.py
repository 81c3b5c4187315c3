"""The similarity matrix of a video: the cosine of every two stored embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from memory_service.types import Embeddings, Retrieval

INK, MUTED, CHOSEN = "#1b1f24", "#6b7280", "#ff6a00"


def cosines(embeddings: Embeddings) -> NDArray[np.float32]:
    """Embeddings [n, D] -> cosines [n, n]."""
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    return unit @ unit.T


def draw(matrix: NDArray[np.float32], retrievals: Sequence[Retrieval], title: str, path: Path) -> None:
    """Write the matrix as a PNG; a dot marks each frame that a query chose."""
    figure = Figure(figsize=(8.4, 7.2), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    # A few unlike frames would otherwise take most of the colours.
    low = float(np.quantile(matrix, 0.02))
    image = axes.imshow(matrix, origin="lower", cmap="viridis", vmin=low, vmax=1, interpolation="nearest")
    chosen = [(r.query_frame, frame) for r in retrievals if r.query_frame is not None for frame in r.frames]
    if chosen:
        x, y = zip(*chosen, strict=True)
        axes.scatter(x, y, s=3, color=CHOSEN, linewidths=0, label="chosen by retrieval")
        axes.legend(loc="upper left", frameon=True, framealpha=0.9, markerscale=3)
    axes.set_title(title, color=INK, size=11, loc="left", pad=12, wrap=True)
    axes.set_xlabel("latent frame (query)", color=INK)
    axes.set_ylabel("latent frame", color=INK)
    axes.tick_params(colors=MUTED)
    bar = figure.colorbar(image, ax=axes, fraction=0.045, pad=0.02, extend="min")
    bar.set_label("cosine of the embeddings", color=INK)
    bar.outline.set_visible(False)
    figure.savefig(path)
