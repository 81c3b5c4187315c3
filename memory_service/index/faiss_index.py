"""Exact search by FAISS on the CPU. The one file that imports faiss.

FAISS takes its number of threads from the process: whoever composes the process sets it (one, so that
searches of different videos run side by side instead of splitting one).
"""

from collections.abc import Sequence
from typing import Any

import faiss
import numpy as np

from memory_service.index.base import Candidates, Probe, unit_rows
from memory_service.types import Embeddings, VideoKey


class FaissFlatIndex:
    """One `IndexFlatIP` of unit rows per partition; spans are selected by `IDSelectorRange`."""

    name = "faiss-flat"
    exact = True

    def __init__(self) -> None:
        self._partitions: dict[VideoKey, Any] = {}

    def add(self, partition: VideoKey, embeddings: Embeddings) -> None:
        flat = self._partitions.get(partition)
        if flat is None:
            flat = self._partitions[partition] = faiss.IndexFlatIP(embeddings.shape[1])
        flat.add(unit_rows(embeddings))

    def truncate(self, partition: VideoKey, length: int) -> None:
        flat = self._partitions.get(partition)
        if flat is not None and length < flat.ntotal:
            flat.remove_ids(faiss.IDSelectorRange(length, flat.ntotal))

    def drop(self, partition: VideoKey) -> None:
        self._partitions.pop(partition, None)

    def num_bytes(self, partition: VideoKey) -> int:
        flat = self._partitions.get(partition)
        return 0 if flat is None else int(flat.ntotal) * int(flat.code_size)

    def search(self, probes: Sequence[Probe]) -> list[Candidates]:
        return [_nearest(self._partitions[probe.partition], probe) for probe in probes]


def _nearest(flat: Any, probe: Probe) -> Candidates:
    span = faiss.IDSelectorRange(probe.eligible.start, probe.eligible.stop)
    params = faiss.SearchParameters()
    params.sel = span
    k = min(probe.k, len(probe.eligible))
    scores, frames = flat.search(unit_rows(probe.query)[None], k, params=params)
    found = frames[0] >= 0
    return Candidates(frames[0][found].astype(np.int64), scores[0][found])
