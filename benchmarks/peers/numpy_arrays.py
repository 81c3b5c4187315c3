"""Preallocated arrays in the generator's own process: the least that Python can do. Lost when it ends."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Kind, Peer
from benchmarks.workload import EMBEDDING_DIM, FULL_FRAMES, LATENT_BYTES, Block, Vectors, Video


class Matrix:
    """Unit rows of one video, searched exactly. Also what a client keeps of a peer that cannot search."""

    def __init__(self, video: Video) -> None:
        self._rows = np.zeros((video.max_frames, EMBEDDING_DIM), np.float32)

    def add(self, block: Block) -> None:
        self._rows[block.frames.start : block.frames.stop] = block.embeddings

    def search(self, query: Vectors, k: int, start: int, stop: int) -> list[int]:
        scores = self._rows[start:stop] @ query
        best = np.argpartition(-scores, k)[:k]
        return [int(f) + start for f in best[np.argsort(-scores[best], kind="stable")]]


class NumpyArrays(Kind):
    def connect(self, place: str, video: Video) -> Peer:
        del place
        return _Arrays(video)


class _Arrays:
    def __init__(self, video: Video) -> None:
        self._matrix = Matrix(video)
        self._slots = video.max_frames - video.history + FULL_FRAMES
        self._payloads = np.ones((self._slots, LATENT_BYTES), np.uint8)
        self.search = self._matrix.search

    def append(self, block: Block) -> None:
        self._matrix.add(block)
        for frame, payload in zip(block.frames, block.payloads, strict=True):
            self._payloads[frame % self._slots, : len(payload)] = np.frombuffer(payload, np.uint8)

    def fetch(self, frames: Sequence[int], staging: NDArray) -> None:
        for row, frame in zip(staging, frames, strict=True):
            row[:] = self._payloads[frame % self._slots]

    def close(self) -> None:
        pass
