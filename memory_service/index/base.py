"""What every index offers, and how an index is found by its name."""

import math
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from memory_service.errors import InvalidArgument
from memory_service.types import Embeddings, Span, VideoKey

GROUP = "memory_service.indexes"
"""Entry points of this group are factories of indexes, called without arguments."""


class Probe(NamedTuple):
    """One search: the `k` nearest frames of `eligible` in one partition. `query` is float32 [D]."""

    partition: VideoKey
    query: Embeddings
    k: int
    eligible: Span


class Candidates(NamedTuple):
    """Answer to a probe: int64 [m] frames, m <= k, each once, and their float32 [m] cosines, in any order."""

    frames: NDArray[np.int64]
    scores: NDArray[np.float32]


class Index(Protocol):
    """Vectors by frame number, in partitions of one video each; proposes frames, `select` ranks them.

    Scores are cosines in float32 and lie within `select.coarse_error(D)` of the true ones. An `exact` index
    proposes, up to that error, the best k of the span; any other may miss some.

    Threads: the caller serialises calls for one partition, and lets only searches of it overlap. Calls for
    different partitions run concurrently. Vectors are finite, not zero and of one D per partition: the
    caller has checked. An index holds no state that the reels do not: it is rebuilt from them.
    """

    name: str
    exact: bool

    def add(self, partition: VideoKey, embeddings: Embeddings) -> None:
        """Add float32 [n, D] as the next n frames of a partition; the first call creates it.

        Raises OSError or MemoryError where there is no room; the caller truncates then.
        """

    def truncate(self, partition: VideoKey, length: int) -> None:
        """Forget the frames of a partition from `length` on."""

    def drop(self, partition: VideoKey) -> None:
        """Forget a partition; one that is not there is dropped already."""

    def num_bytes(self, partition: VideoKey) -> int:
        """Memory that the rows of a partition take now; 0 for one that is not there."""

    def search(self, probes: Sequence[Probe]) -> list[Candidates]:
        """Answer each probe. Spans reach past neither end of their partition; a full span is exhausted."""


def unit_rows(embeddings: Embeddings) -> Embeddings:
    """Rows of float32 [n, D] scaled to unit norm; norms in float64, so that none over- or underflows."""
    rows = embeddings.astype(np.float64)
    for row in rows if rows.ndim == 2 else (rows,):
        row *= 1.0 / math.sqrt(row.dot(row))
    return rows.astype(np.float32)


def load_index(name: str) -> Index:
    """A fresh index by its entry point's name. Raises InvalidArgument when that is unknown or unusable."""
    known = {point.name: point for point in entry_points(group=GROUP)}
    if name not in known:
        raise InvalidArgument(f"unknown index {name!r}", field="index", expected=f"one of {sorted(known)}")
    try:
        index: Index = known[name].load()()
    except ImportError as exc:
        raise InvalidArgument(f"index {name!r} is not installed: {exc}", field="index") from exc
    return index
