"""Exact search by one matrix product per span: the default, and the oracle of every other index."""

import mmap
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from memory_service.index.base import Candidates, Probe, unit_rows
from memory_service.types import Embeddings, Span, VideoKey

_FIRST_BYTES = 1 << 18
"""Address space of a new matrix."""

_HUGE_BYTES = 64 << 20
"""From this size on, the kernel may back a matrix with pages of 2 MiB: faster to read through, and what the
last one wastes is little beside the rest."""

_MADV_COLLAPSE = 25
"""Of Linux 6.1: pages that are there become big ones now; those that moved are small again."""

_MAX_PRODUCT_BYTES = 32 << 20
"""Scores that one matrix product may hold at a time."""


class _Matrix:
    """Unit rows float32 [n, D] that grow in place, in pages of their own.

    The map reserves addresses ahead, up to twice the rows; memory is taken page by page as rows are written,
    nothing is copied when the map grows, and all of it goes back to the system with the matrix.
    """

    def __init__(self, dim: int) -> None:
        self.length = 0
        self._dim = dim
        self._map = _pages(_FIRST_BYTES)

    @property
    def rows(self) -> Embeddings:
        return np.frombuffer(self._map, np.float32, self._dim * self.length).reshape(-1, self._dim)

    @property
    def num_bytes(self) -> int:
        """Bytes of the pages that hold rows."""
        return -(-self._end(self.length) // mmap.PAGESIZE) * mmap.PAGESIZE

    def extend(self, rows: Embeddings) -> None:
        """Add rows float32 [m, D]; none of them where this raises, OSError or MemoryError."""
        length = self.length + len(rows)
        if self._end(length) > len(self._map):
            self._resize(2 * self._end(length))
        self._map[self._end(self.length) : self._end(length)] = rows.reshape(-1).view(np.uint8).data
        self.length = length

    def truncate(self, length: int) -> None:
        if length < self.length:
            self.length = length
            with suppress(OSError, MemoryError):  # what cannot be given back now is used by later rows
                self._resize(max(_FIRST_BYTES, self._end(length)))

    def _end(self, length: int) -> int:
        return 4 * self._dim * length

    def _resize(self, size: int) -> None:
        try:
            self._map.resize(size)
        except BufferError:  # a view of a search that failed still lives in its traceback
            moved, kept = _pages(size), min(len(self._map), size)
            moved[:kept] = self._map[:kept]
            self._map = moved
        if size >= _HUGE_BYTES:
            self._map.madvise(mmap.MADV_HUGEPAGE)
            with suppress(OSError):  # an older kernel does it in its own time
                self._map.madvise(_MADV_COLLAPSE, 0, self._end(self.length))


class FlatIndex:
    """One matrix per partition, in RAM."""

    name = "flat"
    exact = True

    def __init__(self) -> None:
        self._partitions: dict[VideoKey, _Matrix] = {}

    def add(self, partition: VideoKey, embeddings: Embeddings) -> None:
        matrix = self._partitions.get(partition)
        if matrix is None:
            matrix = self._partitions[partition] = _Matrix(embeddings.shape[1])
        matrix.extend(unit_rows(embeddings))

    def truncate(self, partition: VideoKey, length: int) -> None:
        if partition in self._partitions:
            self._partitions[partition].truncate(length)

    def drop(self, partition: VideoKey) -> None:
        self._partitions.pop(partition, None)

    def num_bytes(self, partition: VideoKey) -> int:
        matrix = self._partitions.get(partition)
        return 0 if matrix is None else matrix.num_bytes

    def search(self, probes: Sequence[Probe]) -> list[Candidates]:
        if len(probes) == 1:
            (probe,) = probes
            rows = self._partitions[probe.partition].rows[probe.eligible.start : probe.eligible.stop]
            return [_best(rows.dot(unit_rows(probe.query)), probe)]
        same: dict[tuple[VideoKey, Span], list[int]] = {}
        for i, probe in enumerate(probes):
            same.setdefault((probe.partition, probe.eligible), []).append(i)
        found: dict[int, Candidates] = {}
        for (partition, span), numbers in same.items():
            rows = self._partitions[partition].rows[span.start : span.stop]
            at_once = max(1, _MAX_PRODUCT_BYTES // max(1, rows.itemsize * len(rows)))
            for first in range(0, len(numbers), at_once):
                some = numbers[first : first + at_once]
                scores = unit_rows(np.stack([probes[i].query for i in some])) @ rows.T
                found.update((i, _best(row, probes[i])) for i, row in zip(some, scores, strict=True))
        return [found[i] for i in range(len(probes))]


def _best(scores: NDArray[np.float32], probe: Probe) -> Candidates:
    """The k best of float32 [n] scores of the span."""
    start, more = probe.eligible.start, len(scores) - probe.k
    if more <= 0:
        return Candidates(np.arange(start, start + len(scores)), scores)
    best = scores.argpartition(more)[more:]
    return Candidates(best + start, scores[best])


def _pages(size: int) -> mmap.mmap:
    """Fresh pages of this process, not yet in memory; small ones, where the system would take big ones."""
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    pages.madvise(mmap.MADV_NOHUGEPAGE)
    return pages
