"""What one video is worth, frame by frame, where the camera's path is known.

Shapes: n pixel frames [n, 64, 64, 3] uint8; R frames that show a place again which had left the view.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from generator.methods.context import Context
from generator.records.revisit import edge_energy, returns, score
from generator.toy.prompts import Scene
from generator.toy.sprites import CELL
from generator.toy.world import COMPANION_COLUMNS, VIEW_CELLS, Panorama, paint

CEILING_DB = 50.0
"""Views that are the same to the last bit would have an infinite PSNR; rounding alone gives 59 dB."""

MEASURES = 2
"""Counted up when a number comes to mean something else; results on disk are named by it."""

PAINTED_CELLS = 2000
"""Width of the panorama that stands for what a scene may show; other worlds are 0.4 to 2 grey levels off."""


@dataclass(frozen=True, kw_only=True)
class Worth:
    """One video's numbers; they go to a file as JSON."""

    revisit_psnr_db: float
    """Mean over R of the PSNR between a view and the first visit of its place in the same video, both
    without the columns in which a companion moves: at its other stroke the truth itself is at 22 to 31 dB."""
    revisit_ssim: float
    elsewhere_psnr_db: float
    """The same views against places that share nothing with them: what a video without memory gets."""
    returns_db: tuple[tuple[int, float], ...]
    """Frame and PSNR of each return."""
    drift: tuple[float, ...]
    """Per frame, the RMS difference in grey levels of its cells of 8 x 8 pixels from the nearest that the
    painted scene has at the same height."""
    detail: tuple[float, ...]
    """Per frame, edge energy over that of painted views of the scene: 1 is a painted view, 0 is empty."""
    coverage: float
    """Of the columns that a returning block has to show and its local frames do not, the share that at
    least one retrieved frame was to show; 0 where nothing is retrieved."""


def worth(frames: np.ndarray, cells: Sequence[int], scene: Scene, contexts: Sequence[Context]) -> Worth:
    """Measure one video; contexts are what its blocks attended. Raises ValueError without any return."""
    found, places = returns(cells), without_companion(frames)
    overall = score(places, cells)
    if overall is None:
        raise ValueError(f"the camera comes back to no place within {len(frames)} frames; roll out more")
    views = _pixels(places[[each.frame for each in found]])
    firsts = _pixels(places[[each.first for each in found]])
    psnr = peak_signal_noise_ratio(views, firsts, data_range=1.0, reduction="none", dim=(1, 2, 3))
    psnr = psnr.clamp(max=CEILING_DB)
    ssim = structural_similarity_index_measure(views, firsts, data_range=1.0, reduction="none")
    panorama = paint(scene, PAINTED_CELLS, np.random.default_rng(0))
    usual = _usual_detail(panorama)
    return Worth(
        revisit_psnr_db=float(psnr.mean()),
        revisit_ssim=float(ssim.mean()),
        elsewhere_psnr_db=overall.elsewhere_db,
        returns_db=tuple((each.frame, round(float(db), 2)) for each, db in zip(found, psnr, strict=True)),
        drift=tuple(round(float(x), 3) for x in off_painted(frames, panorama)),
        detail=tuple(round(edge_energy(frame) / usual, 3) for frame in frames),
        coverage=coverage(cells, contexts, {each.frame for each in found}),
    )


def without_companion(frames: np.ndarray) -> np.ndarray:
    """Frames [n, 64, 64, 3] -> [n, 64, 48, 3]: the six columns of cells that depend on the place alone."""
    columns = frames.reshape(*frames.shape[:2], VIEW_CELLS, CELL, 3)
    return np.delete(columns, COMPANION_COLUMNS, axis=2).reshape(*frames.shape[:2], -1, 3)


def coverage(cells: Sequence[int], contexts: Sequence[Context], returning: set[int]) -> float:
    """See `Worth.coverage`; over the blocks of which every frame is a return."""
    shares = []
    for context in contexts:
        span = range(context.span.start, context.span.stop)
        if not returning.issuperset(span):
            continue
        shown = _columns(cells, [placed.source for placed in context.local])
        needed = _columns(cells, span) - shown
        if needed:
            retrieved = _columns(cells, [placed.source.frame for placed in context.retrieved])
            shares.append(len(needed & retrieved) / len(needed))
    return float(np.mean(shares)) if shares else 0.0


def _columns(cells: Sequence[int], frames: Sequence[int]) -> set[int]:
    """World columns that some of these frames show."""
    return {int(cells[frame]) + column for frame in frames for column in range(VIEW_CELLS)}


def off_painted(frames: np.ndarray, panorama: Panorama) -> np.ndarray:
    """`Worth.drift` of frames [n, 64, 64, 3]: grey levels [n]. Things may stand anywhere, not look anyhow."""
    squared = torch.zeros(len(frames))
    for shown, painted in zip(_cells_by_row(frames), _cells_by_row(panorama.variants), strict=True):
        nearest = torch.cdist(shown, painted).min(-1).values
        squared += nearest.unflatten(0, (len(frames), -1)).pow(2).sum(-1)
    return (squared / frames[0].size).sqrt().numpy()


def _cells_by_row(pictures: np.ndarray) -> Iterator[torch.Tensor]:
    """uint8 [p, 64, W, 3] -> for each of the 8 rows of cells, their pixels [p * W / 8, 192] float32."""
    cells = torch.from_numpy(pictures).unflatten(2, (-1, CELL)).unflatten(1, (-1, CELL)).float()
    return (row.transpose(1, 2).flatten(2).flatten(0, 1) for row in cells.unbind(1))


def _usual_detail(panorama: Panorama) -> float:
    """Mean edge energy of painted views."""
    cells = range(0, PAINTED_CELLS - VIEW_CELLS + 1, VIEW_CELLS)
    return float(np.mean([edge_energy(panorama.view(cell, number % 2)) for number, cell in enumerate(cells)]))


def _pixels(frames: np.ndarray) -> torch.Tensor:
    """uint8 [n, H, W, 3] -> float32 [n, 3, H, W] in 0..1."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255
