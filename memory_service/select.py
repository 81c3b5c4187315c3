"""Exact scores, and the k best by them: what an index proposes becomes an answer here.

m candidates, D embedding dimension. Every score is the float32 rounding of a cosine in float64 that depends
on the two vectors alone: all exact indexes give the same hits, and equal vectors tie, the older first.
`policy` has the ways of choosing other than by score alone.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from memory_service.index.base import Candidates, Index, Probe
from memory_service.types import Embeddings

TOP_K = "top-k"
"""The policy: the k nearest eligible frames."""

MAX_RUNNERS_UP = 8
"""Best candidates that were not chosen, of which the log keeps so many."""

Scores: TypeAlias = NDArray[np.float32]

Doubles: TypeAlias = NDArray[np.float64]

Gather: TypeAlias = Callable[[Sequence[int]], Embeddings]
"""Stored embeddings float32 [m, D] of m frames."""

_SLACK = 4
"""Candidates scored beyond k at first: enough unless many frames are as near as the k-th."""

_FEW_ROWS = 64
"""So many rows are gone through one by one: for the ten of most searches numpy's own calls take longer."""

_CHUNK = 512
"""Rows scored at a time: bounds the float64 copies of a search that has to look at a whole history."""


class Ranked(NamedTuple):
    """The chosen frames, best first, and their scores; then the best that were not chosen, best first."""

    frames: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()
    runner_up_frames: tuple[int, ...] = ()
    runner_up_scores: tuple[float, ...] = ()


def coarse_error(dim: int) -> float:
    """How far a float32 cosine of unit float32 vectors [dim] may be from the true one.

    (dim + 4) half-ulps of 1: dim for any order of summation, two for the rounding of the vectors, and two
    spare for their norms and the rounding of the exact score.
    """
    return (dim + 4) * 2.0**-24


def cosines(rows: Embeddings, query: Embeddings) -> Scores:
    """Cosine of each row [m, D] with `query` [D], float64 inside, float32 and within [-1, 1] outside.

    Defined by numpy's pairwise sums, which depend on nothing but a row's own values. BLAS sums faster but as
    it likes, so its cosine counts only where every order of summation rounds to the same float32.
    """
    return np.frombuffer(_cosines(rows, query), np.float32)


def _cosines(rows: Embeddings, query: Embeddings) -> array[float]:
    query64 = query.astype(np.float64)
    if len(rows) <= _CHUNK:
        return _some_cosines(rows.astype(np.float64), query64)
    scores = array("f")
    for start in range(0, len(rows), _CHUNK):
        scores.extend(_some_cosines(rows[start : start + _CHUNK].astype(np.float64), query64))
    return scores


def _some_cosines(rows64: Doubles, query64: Doubles) -> array[float]:
    few = len(rows64) <= _FEW_ROWS
    squares = [row.dot(row) for row in rows64] if few else np.vecdot(rows64, rows64).tolist()
    norm, dots = math.sqrt(query64.dot(query64)), rows64.dot(query64).tolist()
    some = [dot / (math.sqrt(square) * norm) for dot, square in zip(dots, squares, strict=True)]
    either_way = (4 * len(query64) + 16) * 2.0**-53
    rounded = array("f", [cosine - either_way for cosine in some])
    if rounded != array("f", [cosine + either_way for cosine in some]):
        norms = np.sqrt((rows64 * rows64).sum(axis=1))
        exact = (rows64 * query64).sum(axis=1) / norms / np.sqrt((query64 * query64).sum())
        return array("f", exact.clip(-1.0, 1.0).tolist())
    return rounded


def top_k(index: Index, probes: Sequence[Probe], gather: Gather) -> list[Ranked]:
    """The k nearest eligible frames of each probe, by (-score, frame); probes are of one partition.

    An index proposes by approximate scores, so more than k candidates are scored exactly, and twice as many
    again until the best possible score of a frame that was not proposed is below the k-th. `eligible` of
    each probe must lie inside the partition. Runners-up are those that are proven to be the next best.
    """
    ranked = [Ranked()] * len(probes)
    wanted = {i: probe.k + _SLACK for i, probe in enumerate(probes) if len(probe.eligible)}
    while wanted:
        batch = [
            Probe(probe.partition, probe.query, min(k, len(probe.eligible)), probe.eligible)
            for probe, k in ((probes[i], k) for i, k in wanted.items())
        ]
        for i, found in zip(list(wanted), index.search(batch), strict=True):
            settled = _settled(probes[i], found, gather, exact=index.exact)
            if settled is None:
                wanted[i] *= 2
            else:
                ranked[i] = settled
                del wanted[i]
    return ranked


def _settled(probe: Probe, found: Candidates, gather: Gather, *, exact: bool) -> Ranked | None:
    """The k best of what was found; None where a frame that was not found may be better."""
    frames = found.frames.tolist()
    scores = _cosines(gather(frames), probe.query).tolist()
    best = sorted(zip([-score for score in scores], frames, strict=True))
    k, proven = probe.k, len(best)
    if exact and len(frames) < len(probe.eligible):
        unseen = min(found.scores.tolist()) + coarse_error(len(probe.query))
        proven = bisect_left(best, (-unseen,))
        if proven < k:
            return None
    del best[min(proven, k + MAX_RUNNERS_UP) :]
    in_order = tuple([frame for _, frame in best])
    falling = tuple([-score for score, _ in best])
    return Ranked(in_order[:k], falling[:k], in_order[k:], falling[k:])
