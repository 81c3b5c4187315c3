"""Means with intervals. All arms make the same stories on the same noise, so differences are of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS, SEED, LEVEL = 10_000, 0, 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over videos and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def estimate(values: Sequence[float]) -> Estimate:
    """Of n videos, by drawing n of them again and again (percentiles of the means)."""
    table = np.asarray(values, float)
    picks = np.random.default_rng(SEED).integers(0, len(table), (DRAWS, len(table)))
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(table[picks].mean(1), (tail, 100 - tail))
    return Estimate(float(table.mean()), float(low), float(high))


def difference(values: Sequence[float], others: Sequence[float]) -> Estimate:
    """Of `values` less `others`, story by story. Raises ValueError where their numbers differ."""
    return estimate([a - b for a, b in zip(values, others, strict=True)])
