"""Exact scores, and the k best by them: what an index proposes becomes an answer here.

m candidates, D embedding dimension. Every score is the float32 rounding of a cosine in float64 that depends
on the two vectors alone: all exact indexes give the same hits, and equal vectors tie, the older first.
`policy` has the ways of choosing other than by score alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from memory_service.index.base import Index, Probe
from memory_service.types import Embeddings

TOP_K = "top-k"
"""The policy: the k nearest eligible frames."""

MAX_RUNNERS_UP = 8
"""Best candidates that were not chosen, of which the log keeps so many."""

Scores: TypeAlias = NDArray[np.float32]

Gather: TypeAlias = Callable[[Sequence[int]], Embeddings]
"""Stored embeddings float32 [m, D] of m frames."""

_SLACK = 4
"""Candidates scored beyond k at first: enough unless many frames are as near as the k-th."""

_CHUNK = 512
"""Rows scored at a time: bounds the float64 copies of a search that has to look at a whole history."""


@dataclass(frozen=True, slots=True)
class Ranked:
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
    query64 = query.astype(np.float64)
    query_norm = np.sqrt((query64 * query64).sum())
    either_way = (4 * len(query) + 16) * 2.0**-53
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _CHUNK):
        rows64 = rows[start : start + _CHUNK].astype(np.float64)
        some = np.vecdot(rows64, query64) / np.sqrt(np.vecdot(rows64, rows64)) / query_norm
        rounded = (some - either_way).astype(np.float32)
        unsure = rounded != (some + either_way).astype(np.float32)
        if unsure.any():
            rows64 = rows64[unsure]
            dots = (rows64 * query64).sum(axis=1)
            rows64 *= rows64
            rounded[unsure] = dots / np.sqrt(rows64.sum(axis=1)) / query_norm
        scores[start : start + _CHUNK] = rounded
    scores.clip(-1.0, 1.0, out=scores)
    return scores


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
        for i, probe, found in zip(list(wanted), batch, index.search(batch), strict=True):
            scores = cosines(gather(found.frames.tolist()), probe.query)
            order = np.lexsort((found.frames, -scores))
            k, proven = probes[i].k, len(order)
            if index.exact and probe.k < len(probe.eligible):
                unseen = found.scores[-1] + coarse_error(len(probe.query))
                proven = int(np.count_nonzero(scores > unseen))
                if proven < k:
                    wanted[i] *= 2
                    continue
            order = order[: min(proven, k + MAX_RUNNERS_UP)]
            frames, exact = tuple(found.frames[order].tolist()), tuple(scores[order].tolist())
            ranked[i] = Ranked(frames[:k], exact[:k], frames[k:], exact[k:])
            del wanted[i]
    return ranked
