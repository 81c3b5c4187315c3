"""Does a place look the same when the camera comes back? Answered where the camera's path is known.

Shapes: n pixel frames [n, H, W, 3] uint8, one per latent frame; cells [n] is the camera's place in each.
Two frames of the same cell show the same part of the world; views overlap while their cells differ by less
than the view's width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VIEW_CELLS = 8
"""Width of the toy's view in camera cells."""


@dataclass(frozen=True, slots=True)
class Return:
    """The camera is back in `frame` where it stood in `first`, having seen none of it in between."""

    frame: int
    first: int


@dataclass(frozen=True, kw_only=True)
class RevisitScore:
    """How alike the returned-to views of one video are to their first visits."""

    num_frames: int
    psnr_db: float
    """Mean PSNR of a returned-to view against its first visit."""

    elsewhere_db: float
    """Mean PSNR of the same views against places that share nothing with them: what any two views of
    this video score. A washed-out video scores high on both."""

    detail_ratio: float
    """Edge energy of the returned-to views over that of their first visits; below 1 detail was lost."""

    @property
    def gain_db(self) -> float:
        """What being the same place is worth; 0 means that nothing was remembered."""
        return self.psnr_db - self.elsewhere_db


def first_visits(cells: Sequence[int]) -> list[int]:
    """For each frame the first frame at the same cell; its own number where the place is new."""
    seen: dict[int, int] = {}
    return [seen.setdefault(cell, frame) for frame, cell in enumerate(cells)]


def returns(cells: Sequence[int], view_cells: int = VIEW_CELLS) -> list[Return]:
    """Frames whose place had left the view entirely since its first visit."""
    path = np.asarray(cells)
    found = []
    for frame, first in enumerate(first_visits(cells)):
        if first < frame and np.abs(path[first:frame] - path[frame]).max() >= view_cells:
            found.append(Return(frame, first))
    return found


def score(
    frames: NDArray[np.uint8], cells: Sequence[int], view_cells: int = VIEW_CELLS
) -> RevisitScore | None:
    """Compare every return with its first visit; None where the camera never comes back."""
    found = returns(cells, view_cells)
    if not found:
        return None
    path, first = np.asarray(cells), sorted(set(first_visits(cells)))
    error = _mean_squared_errors(frames[[r.frame for r in found]], frames[first])
    column = {frame: index for index, frame in enumerate(first)}
    own = error[np.arange(len(found)), [column[r.first] for r in found]]
    apart = np.abs(path[[r.frame for r in found]][:, None] - path[first][None]) >= view_cells
    detail = [edge_energy(frames[r.frame]) / max(edge_energy(frames[r.first]), 1e-9) for r in found]
    return RevisitScore(
        num_frames=len(found),
        psnr_db=float(_psnr(own).mean()),
        elsewhere_db=float(_psnr(error[apart]).mean()),
        detail_ratio=float(np.mean(detail)),
    )


def edge_energy(frame: NDArray[np.uint8]) -> float:
    """Mean absolute difference of neighbouring pixels, in grey levels: falls with blur and with emptiness."""
    pixels = frame.astype(np.float32)
    across = np.abs(np.diff(pixels, axis=1)).mean()
    down = np.abs(np.diff(pixels, axis=0)).mean()
    return float(across + down) / 2


def mean(scores: Iterable[RevisitScore]) -> RevisitScore:
    """Mean over videos, each weighted by its number of returns."""
    rows = list(scores)
    weights = [row.num_frames for row in rows]

    def average(name: str) -> float:
        return float(np.average([getattr(row, name) for row in rows], weights=weights))

    return RevisitScore(
        num_frames=sum(weights),
        psnr_db=average("psnr_db"),
        elsewhere_db=average("elsewhere_db"),
        detail_ratio=average("detail_ratio"),
    )


def _mean_squared_errors(ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Errors [a, b] of each pair, as |x|^2 + |y|^2 - 2xy: no [a, b, pixels] array."""
    x, y = (frames.reshape(len(frames), -1).astype(np.float64) / 255 for frames in (ours, theirs))
    squares = (x**2).sum(1)[:, None] + (y**2).sum(1)[None] - 2 * x @ y.T
    return np.maximum(squares / x.shape[1], 1e-10)


def _psnr(error: NDArray[np.float64]) -> NDArray[np.float64]:
    return -10 * np.log10(error)
