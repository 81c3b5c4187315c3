"""The candidates of one search in one partition: how near each is to a vector, roughly or exactly.

n candidates, m of them, D embedding dimension. Rough cosines cost one product for all candidates and are off
by `select.coarse_error(D)` at most; whoever chooses by them settles by exact ones where that could matter, so
that a choice is exact over all candidates and costs little more than looking at the best.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from memory_service.index.base import Index, Probe
from memory_service.search.fusion import fused
from memory_service.select import Gather, Scores, coarse_error, cosines
from memory_service.types import Embeddings, Span, VideoKey

Numbers: TypeAlias = NDArray[np.int64]
"""Candidates by their place in the set, or frames."""


class CandidateSet:
    """Candidates int64 [n], ascending frames of `span` of a partition that does not change meanwhile."""

    def __init__(
        self, index: Index, partition: VideoKey, span: Span, frames: Numbers, gather: Gather
    ) -> None:
        self.frames = frames
        self._index = index
        self._partition = partition
        self._span = span
        self._gather = gather

    def rough(self, vector: Embeddings) -> NDArray[np.float64]:
        """Cosines float64 [n] with a vector, within `coarse_error`; whatever the index misses is exact."""
        found_all = np.full(len(self._span), np.nan)
        if len(self._span):
            probe = Probe(self._partition, vector, len(self._span), self._span)
            (found,) = self._index.search([probe])
            found_all[found.frames - self._span.start] = found.scores
        rough = found_all[self.frames - self._span.start]
        missed = np.flatnonzero(np.isnan(rough))
        if len(missed):
            rough[missed] = self.cosines(missed, vector)
        return rough

    def cosines(self, which: Numbers, vector: Embeddings) -> Scores:
        """Exact cosines float32 [m] of some candidates with a vector."""
        return cosines(self._gather(self.frames[which].tolist()), vector)

    def vector(self, number: int) -> Embeddings:
        """The embedding float32 [D] of a candidate."""
        vector: Embeddings = self._gather([int(self.frames[number])])[0]
        return vector


class Estimates:
    """The scores of n candidates, float64 [n]: between `low` and `high`, which meet where they are exact."""

    def __init__(
        self,
        rough: NDArray[np.float64],
        slack: float,
        exactly: Callable[[Numbers], Scores],
    ) -> None:
        self.most = rough + slack
        self.low, self.high = rough - slack, self.most.copy()
        self._order: Numbers | None = None
        self._settled = np.zeros(len(rough), bool)
        self._exactly = exactly

    @property
    def order(self) -> Numbers:
        """All candidates by `most`, what their scores can be at most before any is settled, falling."""
        if self._order is None:
            self._order = np.argsort(-self.most, kind="stable")
        return self._order

    def settle(self, which: Numbers) -> NDArray[np.float64]:
        """Exact scores of some candidates."""
        new = which[~self._settled[which]]
        if len(new):
            self.low[new] = self.high[new] = self._exactly(new)
            self._settled[new] = True
        return self.low[which]


def estimated(
    candidates: CandidateSet, vector: Embeddings, weights: Sequence[float], terms: Sequence[Scores] = ()
) -> Estimates:
    """The scores of a query with `vector` float32 [D]; `terms` are exact cosines float32 [n] of its terms.

    The formula is `fusion.fused`, `weights` are the first cosine's and the terms'; only the first cosine is
    ever estimated.
    """
    rough = weights[0] * candidates.rough(vector)
    for cosine, weight in zip(terms, weights[1:], strict=True):
        rough += weight * cosine.astype(np.float64)
    rounding = sum(map(abs, weights)) * 2.0**-23
    slack = abs(weights[0]) * coarse_error(len(vector)) + rounding

    def exactly(which: Numbers) -> Scores:
        return fused([candidates.cosines(which, vector), *(term[which] for term in terms)], weights)

    return Estimates(rough, slack, exactly)
