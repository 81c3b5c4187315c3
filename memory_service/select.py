"""Selection policies: from an index's candidates to hits, by exact scores.

m candidates, D embedding dimension. Every score is the float32 rounding of a cosine in float64 that depends
on the two vectors alone: all exact indexes give the same hits, and equal vectors tie, the older first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from memory_service.index.base import Index, Probe
from memory_service.types import Embeddings

TOP_K = "top-k"
"""The policy: the k nearest eligible frames."""

Gather: TypeAlias = Callable[[Sequence[int]], Embeddings]
"""Stored embeddings float32 [m, D] of m frames."""

_SLACK = 8
"""Candidates scored beyond k at first: enough unless many frames are as near as the k-th."""

_CHUNK = 512
"""Rows scored at a time: bounds the float64 copies of a search that has to look at a whole history."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """The chosen frames, best first, and their scores."""

    frames: tuple[int, ...]
    scores: tuple[float, ...]


def coarse_error(dim: int) -> float:
    """How far a float32 cosine of unit float32 vectors [dim] may be from the true one.

    (dim + 4) half-ulps of 1: dim for any order of summation, two for the rounding of the vectors, and two
    spare for their norms and the rounding of the exact score.
    """
    return (dim + 4) * 2.0**-24


def cosines(rows: Embeddings, query: Embeddings) -> NDArray[np.float32]:
    """Cosine of each row [m, D] with `query` [D], float64 inside, float32 and within [-1, 1] outside.

    Row sums are numpy's pairwise ones: unlike a BLAS product they do not depend on a row's neighbours.
    """
    query64 = query.astype(np.float64)
    query_norm = np.sqrt((query64 * query64).sum())
    scores = np.empty(len(rows), np.float64)
    for start in range(0, len(rows), _CHUNK):
        rows64 = rows[start : start + _CHUNK].astype(np.float64)
        dots = (rows64 * query64).sum(axis=1)
        rows64 *= rows64
        scores[start : start + _CHUNK] = dots / np.sqrt(rows64.sum(axis=1)) / query_norm
    return np.clip(scores, -1.0, 1.0).astype(np.float32)


def top_k(index: Index, probes: Sequence[Probe], gather: Gather) -> list[Ranked]:
    """The k nearest eligible frames of each probe, by (-score, frame); probes are of one partition.

    An index proposes by approximate scores, so more than k candidates are scored exactly, and twice as many
    again until the best possible score of a frame that was not proposed is below the k-th. `eligible` of
    each probe must lie inside the partition.
    """
    ranked = [Ranked((), ())] * len(probes)
    wanted = {i: probe.k + _SLACK for i, probe in enumerate(probes) if len(probe.eligible)}
    while wanted:
        batch = [replace(probes[i], k=min(k, len(probes[i].eligible))) for i, k in wanted.items()]
        for i, probe, found in zip(list(wanted), batch, index.search(batch), strict=True):
            scores = cosines(gather(found.frames.tolist()), probe.query)
            order = np.lexsort((found.frames, -scores))[: probes[i].k]
            exhausted = probe.k == len(probe.eligible) or not index.exact
            if exhausted or scores[order[-1]] > found.scores.min() + coarse_error(len(probe.query)):
                ranked[i] = Ranked(tuple(found.frames[order].tolist()), tuple(scores[order].tolist()))
                del wanted[i]
            else:
                wanted[i] *= 2
    return ranked
