"""Differences of arms. All make the same stories on the same noise, so they are differences of pairs."""

from __future__ import annotations

from collections.abc import Sequence

from encoder.evaluation.confidence import Estimate, estimate


def difference(values: Sequence[float], others: Sequence[float]) -> Estimate:
    """Of `values` less `others`, story by story.

    Raises ValueError where their numbers differ, and where there are none.
    """
    found = estimate([a - b for a, b in zip(values, others, strict=True)])
    if found is None:
        raise ValueError("no pairs: expected at least one video of each")
    return found
