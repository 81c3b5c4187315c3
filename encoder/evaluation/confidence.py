"""A mean over videos and its 95 % interval, by the percentile bootstrap (Efron 1979) over videos.

Frames of one video are not independent, so whole videos are drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
LEVEL = (2.5, 97.5)
"""Percentiles."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """`low` and `high` bound the mean; None where one video only has the number."""

    mean: float
    low: float | None
    high: float | None
    num_videos: int


def estimate(values: Sequence[float | None], seed: int = 0) -> Estimate | None:
    """Mean over the videos that have the number; None where none has. Seeded: the same draws in every row."""
    known = np.array([value for value in values if value is not None], np.float64)
    if not len(known):
        return None
    if len(known) == 1:
        return Estimate(float(known[0]), None, None, 1)
    low, high = bootstrap_interval(known[:, None], seed)
    return Estimate(float(known.mean()), float(low[0]), float(high[0]), len(known))


def bootstrap_interval(
    values_VX: NDArray[np.float64], seed: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bounds [X] of the mean over V videos of X numbers each; NaN are left out of the means."""
    draws = np.random.default_rng(seed).integers(0, len(values_VX), (RESAMPLES, len(values_VX)))
    counts = np.stack([np.bincount(draw, minlength=len(values_VX)) for draw in draws]).astype(np.float64)
    known = ~np.isnan(values_VX)
    weights = counts @ known
    means = counts @ np.where(known, values_VX, 0.0) / np.where(weights > 0, weights, np.nan)
    low, high = np.nanpercentile(means, LEVEL, axis=0)
    return low, high
