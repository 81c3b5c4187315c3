"""The baseline: preallocated numpy arrays in the generator's own process, lost when it ends."""

import numpy as np

from benchmarks.workload import BLOCK_FRAMES, EMBEDDING_DIM, LATENT_BYTES, Workload
from memory_service.types import Block, Embeddings, Span

RING_FRAMES = 480
"""Latents kept: a ring of one video of 120 s, so that sixteen baselines of 4,800 frames fit in memory."""


class NumpyMemory:
    """Append, exact search and fetch of one video as plain array operations."""

    def __init__(self, workload: Workload) -> None:
        capacity = workload.history + workload.num_steps * BLOCK_FRAMES
        self._embeddings = np.zeros((capacity, EMBEDDING_DIM), np.float32)
        self._embeddings[: workload.history] = workload.embeddings[: workload.history]
        self._latents = np.ones((RING_FRAMES, LATENT_BYTES), np.uint8)
        self._length = workload.history

    def append(self, block: Block) -> None:
        for embedding, latent in zip(block.embeddings, block.parts["latent"], strict=True):
            self._embeddings[self._length] = embedding
            self._latents[self._length % RING_FRAMES] = np.frombuffer(latent, np.uint8)
            self._length += 1

    def search(self, query: Embeddings, k: int, eligible: Span) -> list[int]:
        scores = self._embeddings[eligible.start : eligible.stop] @ query
        best = np.argpartition(-scores, k)[:k]
        return [int(f) + eligible.start for f in best[np.argsort(-scores[best], kind="stable")]]

    def fetch(self, frames: list[int]) -> list[memoryview]:
        return [self._latents[frame % RING_FRAMES].data for frame in frames]
