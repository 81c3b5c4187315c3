"""LMDB in the generator's process: one transaction per block; the client holds the matrix and searches."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Durability, Kind, Peer
from benchmarks.peers.numpy_arrays import Matrix
from benchmarks.workload import FRAME_BYTES, Block, Video


@dataclass(frozen=True)
class Lmdb(Kind):
    modules = packages = ("lmdb",)
    install = "make bench-peers"

    def connect(self, place: str, video: Video) -> Peer:
        return _Environment(Path(place) / video.name, video, sync=self.durability is Durability.SYNC)


class _Environment:
    def __init__(self, path: Path, video: Video, *, sync: bool) -> None:
        import lmdb

        size = 2 * video.max_frames * FRAME_BYTES + (64 << 20)
        self._env = lmdb.open(str(path), map_size=size, sync=sync, metasync=sync, max_dbs=2)
        self._embeddings, self._payloads = (self._env.open_db(name) for name in (b"embeddings", b"payloads"))
        self._matrix = Matrix(video)
        self.search = self._matrix.search

    def append(self, block: Block) -> None:
        self._matrix.add(block)
        with self._env.begin(write=True) as transaction:
            for frame, embedding, payload in zip(block.frames, block.embeddings, block.payloads, strict=True):
                key = frame.to_bytes(8, "big")
                transaction.put(key, embedding.tobytes(), db=self._embeddings, append=True)
                transaction.put(key, payload, db=self._payloads, append=True)

    def fetch(self, frames: Sequence[int], staging: NDArray) -> None:
        with self._env.begin(db=self._payloads, buffers=True) as transaction:
            for row, frame in zip(staging, frames, strict=True):
                row[:] = np.frombuffer(transaction.get(frame.to_bytes(8, "big")), np.uint8)

    def close(self) -> None:
        self._env.close()
