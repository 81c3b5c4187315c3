"""The measured workload: one generator's block step, with checkable contents.

A frame is 1,024 float32 values of embedding and 199,680 bytes of latent (16 x 60 x 104 in bfloat16, Wan 2.1
1.3B). Embeddings are random unit vectors drawn per video; the first eight bytes of a latent hold its frame
number, so that a fetched payload can be told from any other. Half of the queries are noisy copies of a stored
embedding, the other half are strangers.
"""

from dataclasses import dataclass

import numpy as np

from memory_service.types import Block, Embeddings, Span, VideoSpec

EMBEDDING_DIM = 1024
LATENT_SHAPE = (16, 60, 104)
LATENT_BYTES = 199_680
BLOCK_FRAMES = 3
K = 6
SINK, GUARD = 1, 17

SPEC = VideoSpec(EMBEDDING_DIM, "bfloat16", LATENT_SHAPE, "benchmark/random-unit-vectors")

BYTES_PER_STEP = {
    "append": BLOCK_FRAMES * (4 * EMBEDDING_DIM + LATENT_BYTES),
    "fetch": K * LATENT_BYTES,
}


@dataclass(frozen=True)
class Step:
    """One block to append, the query for the next one, and the frames that exact search must return."""

    block: Block
    query: Embeddings
    eligible: Span
    expected: tuple[int, ...]


class Workload:
    """History and steps of one video, drawn from `seed`; equal seeds give equal bytes."""

    def __init__(self, seed: int, history: int, num_steps: int) -> None:
        self.history = history
        self.num_steps = num_steps
        self._rng = np.random.default_rng(seed)
        length = history + num_steps * BLOCK_FRAMES
        embeddings = self._rng.standard_normal((length, EMBEDDING_DIM), dtype=np.float32)
        self.embeddings: Embeddings = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        self._noise = self._rng.integers(0, 256, LATENT_BYTES, dtype=np.uint8)

    def latent(self, frame: int) -> bytes:
        """The payload of one frame."""
        latent = self._noise.copy()
        latent[:8] = np.frombuffer(frame.to_bytes(8, "little"), np.uint8)
        return latent.tobytes()

    def block(self, start: int, num_frames: int = BLOCK_FRAMES) -> Block:
        frames = range(start, start + num_frames)
        return Block(
            start, self.embeddings[start : start + num_frames], {"latent": [self.latent(f) for f in frames]}
        )

    def steps(self) -> list[Step]:
        """All steps, made beforehand so that making them is not measured.

        The eligible span is the same in each, so that search cost does not grow along a measurement.
        """
        eligible = Span(SINK, self.history - GUARD)
        stored = self.embeddings[eligible.start : eligible.stop]
        steps = []
        for i in range(self.num_steps):
            start = self.history + i * BLOCK_FRAMES
            query = self._query(stored, near=i % 2 == 0)
            order = np.argsort(-(stored @ query), kind="stable")[:K]
            steps.append(Step(self.block(start), query, eligible, tuple(int(f) + SINK for f in order)))
        return steps

    def _query(self, stored: Embeddings, *, near: bool) -> Embeddings:
        query = self._rng.standard_normal(EMBEDDING_DIM, dtype=np.float32) / np.sqrt(
            np.float32(EMBEDDING_DIM)
        )
        if near:
            query = 0.1 * query + stored[self._rng.integers(len(stored))]
        return (query / np.linalg.norm(query)).astype(np.float32)
