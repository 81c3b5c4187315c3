"""Exact search by one matrix-vector product per query: the default, and the oracle of every other index."""

from collections.abc import Sequence

import numpy as np

from memory_service.index.base import Candidates, Probe, unit_rows
from memory_service.types import Embeddings, VideoKey


class _Matrix:
    """Unit rows float32 [n, D] that grow by doubling."""

    def __init__(self, dim: int) -> None:
        self.length = 0
        self._rows = np.empty((64, dim), np.float32)

    @property
    def rows(self) -> Embeddings:
        return self._rows[: self.length]

    def extend(self, rows: Embeddings) -> None:
        length = self.length + len(rows)
        if length > len(self._rows):
            grown = np.empty((max(length, 2 * len(self._rows)), rows.shape[1]), np.float32)
            grown[: self.length] = self.rows
            self._rows = grown
        self._rows[self.length : length] = rows
        self.length = length


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
            self._partitions[partition].length = length

    def drop(self, partition: VideoKey) -> None:
        self._partitions.pop(partition, None)

    def search(self, probes: Sequence[Probe]) -> list[Candidates]:
        return [_nearest(self._partitions[probe.partition].rows, probe) for probe in probes]


def _nearest(rows: Embeddings, probe: Probe) -> Candidates:
    start, stop = probe.eligible.start, probe.eligible.stop
    scores = rows[start:stop] @ unit_rows(probe.query)
    if probe.k < len(scores):
        best = np.argpartition(scores, len(scores) - probe.k)[-probe.k :]
    else:
        best = np.arange(len(scores))
    best = best[np.argsort(-scores[best], kind="stable")]
    return Candidates(best + start, scores[best])
