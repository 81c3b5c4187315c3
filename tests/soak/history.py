"""The oracle of the soak: what one video must hold, kept in lists, and how a memory is held against it."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from samples import ALL, DIM, SPEC, oracle

from memory_service.memory import Memory
from memory_service.types import (
    Block,
    Embeddings,
    Handle,
    Query,
    Scope,
    ScopeVideo,
    Span,
    VideoInfo,
    VideoKey,
)

_FETCH = 256


@dataclass(frozen=True, slots=True)
class Content:
    """One frame: every byte of it follows from the number of its block and its own."""

    block: int
    frame: int

    @property
    def _rng(self) -> np.random.Generator:
        return np.random.default_rng([self.block, self.frame])

    def latent(self) -> bytes:
        return self._rng.bytes(SPEC.latent_bytes)

    def embedding(self) -> Embeddings:
        return self._rng.standard_normal(DIM).astype(np.float32)

    def parts(self) -> Mapping[str, bytes]:
        """Some blocks have a preview, of up to 20 kB a frame."""
        if self.block % 4:
            return {"latent": self.latent()}
        return {"latent": self.latent(), "preview": self._rng.bytes(self.block % 20_011)}


@dataclass(frozen=True, slots=True)
class Kept:
    """One frame that was acknowledged, and the epoch in which it was."""

    content: Content
    epoch: int


@dataclass
class History:
    """What one video was told to hold."""

    key: VideoKey
    epoch: int
    frames: list[Kept] = field(default_factory=list)
    stops: list[int] = field(default_factory=list)
    """Where its blocks end."""

    sealed: bool = False

    def block(self, number: int, n: int) -> Block:
        """A block that would follow, with contents that no other block has."""
        contents = [Content(number, len(self.frames) + row) for row in range(n)]
        return block_of(len(self.frames), contents)

    def last_block(self) -> Block | None:
        """The last block again."""
        if not self.stops:
            return None
        start = self.stops[-2] if len(self.stops) > 1 else 0
        return block_of(start, [kept.content for kept in self.frames[start:]])

    def took(self, number: int, n: int) -> None:
        """The block of that number was acknowledged."""
        start = len(self.frames)
        self.frames += [Kept(Content(number, start + row), self.epoch) for row in range(n)]
        self.stops.append(len(self.frames))

    def cut(self, length: int, epoch: int) -> None:
        """A truncation was acknowledged; a block in the middle of which it was stays in part."""
        self.frames, self.epoch = self.frames[:length], epoch
        whole = [stop for stop in self.stops if stop < length]
        self.stops = [*whole, length] if length else []

    def copy(self, key: VideoKey, epoch: int, length: int) -> History:
        """A fork or an import: the same contents under another name and epoch."""
        frames = [replace(kept, epoch=epoch) for kept in self.frames[:length]]
        return History(key, epoch, frames, [stop for stop in self.stops if stop <= length])

    def handle(self, frame: int) -> Handle:
        return Handle(self.key, self.frames[frame].epoch, frame)

    def matrix(self) -> Embeddings:
        """float32 [length, D]."""
        rows = [kept.content.embedding() for kept in self.frames]
        return np.array(rows, np.float32).reshape(len(rows), DIM)


def block_of(start: int, contents: list[Content]) -> Block:
    """Consecutive frames as a block."""
    parts = [content.parts() for content in contents]
    return Block(
        start,
        np.array([content.embedding() for content in contents], np.float32),
        {name: [one[name] for one in parts] for name in parts[0]},
    )


def check_state(info: VideoInfo, history: History) -> None:
    assert info.state.epoch == history.epoch, f"{info} is not of epoch {history.epoch}"
    assert info.state.length == len(history.frames), f"{info} has not {len(history.frames)} frames"
    assert info.state.durable <= info.state.length
    assert info.sealed == history.sealed


def check_search(memory: Memory, history: History, rng: random.Random, *, log: bool = True) -> None:
    """Two queries over random spans give what the matrix gives, bit for bit."""
    queries, expected, matrix = [], [], history.matrix()
    for _ in range(2):
        vector = np.random.default_rng(rng.getrandbits(32)).standard_normal(DIM).astype(np.float32)
        start = rng.randrange(len(history.frames) + 1)
        span = Span(start, rng.randrange(start, len(history.frames) + 100))
        k = rng.randint(1, 8)
        queries.append(Query(k, span, embedding=vector))
        expected.append(oracle(matrix, vector, k, span))
    found = memory.search(history.key, queries, log=log)
    assert found.state.length == len(history.frames)
    for hits, (frames, scores) in zip(found.hits, expected, strict=True):
        assert tuple(hit.handle.frame for hit in hits) == frames
        assert tuple(hit.score for hit in hits) == scores
        assert all(hit.handle == history.handle(hit.handle.frame) for hit in hits)


def check_scope(memory: Memory, histories: list[History], rng: random.Random) -> None:
    """A search over several videos gives what each matrix gives, merged: the best first, then by name."""
    vector = np.random.default_rng(rng.getrandbits(32)).standard_normal(DIM).astype(np.float32)
    k, merged = rng.randint(1, 8), []
    for history in histories:
        frames, scores = oracle(history.matrix(), vector, k, ALL)
        merged += [
            (-score, history.key.pool, history.key.video, history.handle(frame))
            for frame, score in zip(frames, scores, strict=True)
        ]
    best = sorted(merged, key=lambda row: (*row[:3], row[3].frame))[:k]
    scope = Scope(tuple(ScopeVideo(history.key) for history in histories))
    (hits,) = memory.search(histories[0].key, [Query(k, ALL, embedding=vector)], scope=scope).hits
    assert [(-hit.score, hit.handle) for hit in hits] == [(row[0], row[3]) for row in best]


def check_frames(memory: Memory, history: History, frames: list[int]) -> None:
    """These frames are there, every byte of them."""
    for at in range(0, len(frames), _FETCH):
        numbers = frames[at : at + _FETCH]
        fetched = memory.fetch([history.handle(frame) for frame in numbers])
        for number, got in zip(numbers, fetched, strict=True):
            content = history.frames[number].content
            assert got.handle == history.handle(number)
            assert {name: bytes(data) for name, data in got.parts.items()} == content.parts()
            assert np.array_equal(got.embedding, content.embedding())


def check_all(memory: Memory, history: History, rng: random.Random) -> None:
    """Everything about a video."""
    check_state(memory.get_video(history.key), history)
    check_frames(memory, history, list(range(len(history.frames))))
    check_search(memory, history, rng, log=False)
