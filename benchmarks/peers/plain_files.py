"""One preallocated file per video, written with pwritev and mapped for reading; embeddings also in memory."""

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Durability, Kind, Peer
from benchmarks.peers.numpy_arrays import Matrix
from benchmarks.workload import FRAME_BYTES, Block, Video


@dataclass(frozen=True)
class PlainFile(Kind):
    def connect(self, place: str, video: Video) -> Peer:
        return _File(Path(place) / f"{video.name}.bin", video, sync=self.durability is Durability.SYNC)


class _File:
    """Frame f lies in slot f of `FRAME_BYTES`: its embedding, then its payload."""

    def __init__(self, path: Path, video: Video, *, sync: bool) -> None:
        self._sync = sync
        self._matrix = Matrix(video)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        os.posix_fallocate(self._fd, 0, video.max_frames * FRAME_BYTES)
        self._map = memoryview(mmap.mmap(self._fd, 0, access=mmap.ACCESS_READ))
        self.search = self._matrix.search

    def append(self, block: Block) -> None:
        self._matrix.add(block)
        pieces = [
            piece
            for embedding, payload in zip(block.embeddings, block.payloads, strict=True)
            for piece in (embedding.tobytes(), payload)
        ]
        if os.pwritev(self._fd, pieces, block.start * FRAME_BYTES) != sum(map(len, pieces)):
            raise OSError("short write")
        if self._sync:
            os.fdatasync(self._fd)

    def fetch(self, frames: Sequence[int], staging: NDArray) -> None:
        for row, frame in zip(staging, frames, strict=True):
            end = (frame + 1) * FRAME_BYTES
            row[:] = np.frombuffer(self._map[end - len(row) : end], np.uint8)

    def close(self) -> None:
        os.close(self._fd)
