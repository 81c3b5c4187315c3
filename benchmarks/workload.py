"""The measured workload: one generator's block step, with checkable contents.

A frame is 1,024 float32 values of embedding and 199,680 bytes of latent (16 x 60 x 104 in bfloat16, Wan 2.1
1.3B). Embeddings are random unit vectors; latents are normal noise, which no store can compress, and begin
with their frame's number, so that a fetched payload can be told from any other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EMBEDDING_DIM = 1024
LATENT_SHAPE = (16, 60, 104)
LATENT_BYTES = 199_680
FRAME_BYTES = 4 * EMBEDDING_DIM + LATENT_BYTES
BLOCK_FRAMES = 3
K = 6
SINK, GUARD = 1, 17

SMALL_BYTES = 64
"""Latents of old frames in a history too long to be written in full."""

FULL_FRAMES = 480
"""Newest frames of a history that have whole latents even when the others are small."""

_NOISE_BYTES = 4 << 20
_STRIDE = 64 * 7919
"""Latents start at different places of the noise: a multiple of 64 that is coprime to its size."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Block:
    """Frames [start, start + n): float32 [n, D] embeddings of unit norm, and n payloads."""

    start: int
    embeddings: Vectors
    payloads: Sequence[bytes]

    @property
    def frames(self) -> range:
        return range(self.start, self.start + len(self.payloads))


@dataclass(frozen=True)
class Step:
    """A block to append, the query for the next one over [start, stop), and what exact search returns."""

    block: Block
    query: Vectors
    start: int
    stop: int
    expected: tuple[int, ...]


@dataclass(frozen=True)
class Video:
    """One video of a run; equal values give equal bytes.

    `history` frames are loaded before anything is measured, `max_frames` is the most it will ever hold. With
    `small_history`, all but the newest `FULL_FRAMES` of the history have latents of `SMALL_BYTES`. Queries
    are noisy copies of a stored embedding and strangers in turn; or, with `revisit`, sums of six recent
    frames, of which each is kept for the next query with that probability: those six are the hits.
    """

    name: str
    history: int
    max_frames: int
    seed: int = 0
    small_history: bool = False
    revisit: float | None = None

    @property
    def first_full(self) -> int:
        """The first frame with a whole latent."""
        return max(0, self.history - FULL_FRAMES) if self.small_history else 0


class Workload:
    """Draws the frames and steps of one video; steps come in order and are not held."""

    def __init__(self, video: Video) -> None:
        self.video = video
        rng = np.random.default_rng([video.seed, 0])
        noise = rng.standard_normal(_NOISE_BYTES // 2, dtype=np.float32).view(np.uint32) >> 16
        self._noise = noise.astype(np.uint16).view(np.uint8)  # bfloat16: the upper half of a float32
        self._history = _unit(rng.standard_normal((video.history, EMBEDDING_DIM), dtype=np.float32))
        self._queries = np.random.default_rng([video.seed, 1])
        self._chosen: list[int] = []
        self.next_step = 0

    def payload(self, frame: int) -> bytes:
        """The latent of one frame."""
        size = LATENT_BYTES if frame >= self.video.first_full else SMALL_BYTES
        offset = frame * _STRIDE % (_NOISE_BYTES - LATENT_BYTES) // 64 * 64
        return frame.to_bytes(8, "little") + self._noise[offset + 8 : offset + size].tobytes()

    def history(self, block_frames: int = BLOCK_FRAMES) -> "list[range]":
        """Spans of the blocks in which the history is loaded."""
        stop = self.video.history
        return [range(i, min(i + block_frames, stop)) for i in range(0, stop, block_frames)]

    def block(self, frames: range) -> Block:
        """The block of these frames, all in the history or all behind it."""
        if frames.stop <= self.video.history:
            embeddings = self._history[frames.start : frames.stop]
        else:
            rng = np.random.default_rng([self.video.seed, 2, frames.start])
            embeddings = _unit(rng.standard_normal((len(frames), EMBEDDING_DIM), dtype=np.float32))
        return Block(frames.start, embeddings, [self.payload(frame) for frame in frames])

    def steps(self, count: int) -> list[Step]:
        """The next steps. The eligible span stays that of the history, so that search does not grow."""
        steps = []
        start, stop = SINK, self.video.history - GUARD
        for _ in range(count):
            first = self.video.history + self.next_step * BLOCK_FRAMES
            query = self._mixed(start, stop) if self.video.revisit is None else self._revisiting(stop)
            scores = self._history[start:stop] @ query
            best = np.argpartition(-scores, K)[:K]
            expected = best[np.argsort(-scores[best], kind="stable")] + start
            block = self.block(range(first, first + BLOCK_FRAMES))
            steps.append(Step(block, query, start, stop, tuple(expected.tolist())))
            self.next_step += 1
        return steps

    def _mixed(self, start: int, stop: int) -> Vectors:
        query = _unit(self._queries.standard_normal(EMBEDDING_DIM, dtype=np.float32))
        if self.next_step % 2 == 0:
            query = 0.1 * query + self._history[self._queries.integers(start, stop)]
        return _unit(query)

    def _revisiting(self, stop: int) -> Vectors:
        assert self.video.revisit is not None
        self._chosen = [f for f in self._chosen if self._queries.random() < self.video.revisit]
        lowest = max(SINK, self.video.history - FULL_FRAMES)
        while len(self._chosen) < K:
            frame = int(self._queries.integers(lowest, stop))
            if frame not in self._chosen:
                self._chosen.append(frame)
        return _unit(self._history[self._chosen].sum(axis=0))


def _unit(vectors: Vectors) -> Vectors:
    unit: Vectors = (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
    return unit
