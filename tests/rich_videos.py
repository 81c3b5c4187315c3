"""Videos for tests whose frames carry more than an embedding, and the obvious search among them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from samples import ALL, KEY, SPEC, block, embeddings, query, select_slowly

from memory_service.memory import Memory
from memory_service.select import cosines
from memory_service.types import Block, Embeddings, Hit, Query, Scope, Span, VideoKey

RICH = dataclasses.replace(SPEC, named_dims={"text": 4, "pose": 3})
LENGTH = 24
MINUTE = 60_000


def named(start: int, n: int, dim: int) -> Embeddings:
    return embeddings(50_000 + 100 * dim + start, n, dim)


def rich_block(start: int, n: int = 3, shift: int = 0) -> Block:
    """A block with named embeddings, its number in its metadata, one minute after the block before."""
    number = start // 3
    return dataclasses.replace(
        block(start, n),
        embeddings=embeddings(start + shift, n),
        named={"text": named(start + shift, n, 4), "pose": named(start + shift, n, 3)},
        metadata={"scene": "harbour" if number % 2 else "village", "take": str(number % 3)},
        unix_ms=1 + number * MINUTE,
    )


def fill(memory: Memory, key: VideoKey, length: int, shift: int = 0) -> None:
    memory.create_video(key, RICH)
    for start in range(0, length, 3):
        memory.append(key, rich_block(start, shift=shift))


def frames_of(hits: Sequence[Hit]) -> list[int]:
    return [hit.handle.frame for hit in hits]


def search_one(memory: Memory, asked: Query, scope: Scope | None = None) -> tuple[Hit, ...]:
    (hits,) = memory.search(KEY, [asked], scope=scope).hits
    return hits


def like(number: int, k: int = 6, eligible: Span = ALL, **changes: Any) -> Query:
    return dataclasses.replace(query(k, eligible, like=number), **changes)


class Slow:
    """Exact scores of frames of several videos in tie order, and the obvious selection among them."""

    def __init__(self, videos: Sequence[tuple[VideoKey, int, int]], vector: Embeddings) -> None:
        """`videos` are keys in order, the length of each, and the shift of its embeddings."""
        self.places = [(key, frame) for key, length, _ in videos for frame in range(length)]
        self.rows = np.concatenate([embeddings(shift, length) for _, length, shift in videos])
        self.scores = cosines(self.rows, vector).tolist()

    def chosen(self, k: int, **changes: Any) -> list[tuple[VideoKey, int, float]]:
        picks = select_slowly(self.scores, self.places, self.cosine, k, **changes)
        return [(*self.places[i], self.scores[i]) for i in picks]

    def cosine(self, one: int, other: int) -> float:
        return float(cosines(self.rows[[one]], self.rows[other])[0])


def answered(hits: Sequence[Hit]) -> list[tuple[VideoKey, int, float]]:
    return [(hit.handle.key, hit.handle.frame, hit.score) for hit in hits]
