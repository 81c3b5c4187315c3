"""Small videos for tests: 8-dimensional embeddings, latents of 24 bytes."""

from collections.abc import Callable, Sequence

import numpy as np

from memory_service.memory import Memory
from memory_service.types import Block, Embeddings, Handle, Query, Span, VideoKey, VideoSpec, VideoState

DIM = 8
KEY = VideoKey("pool", "video")
SPEC = VideoSpec(
    embedding_dim=DIM,
    latent_dtype="bfloat16",
    latent_shape=(3, 2, 2),
    encoder_id="tests/sha256:00",
    metadata={"prompt": "a harbour", "seed": "1"},
)
ALL = Span(0, 1 << 40)


def embeddings(start: int, n: int = 3, dim: int = DIM) -> Embeddings:
    """float32 [n, dim]: a function of the frame number, without any structure."""
    rows = [np.random.default_rng(1000 + frame).standard_normal(dim) for frame in range(start, start + n)]
    return np.array(rows, np.float32)


def latents(start: int, n: int = 3, size: int = SPEC.latent_bytes) -> list[bytes]:
    """n payloads, each a function of its frame number."""
    return [np.random.default_rng(frame).bytes(size) for frame in range(start, start + n)]


def block(start: int, n: int = 3, **parts: Sequence[bytes]) -> Block:
    """The block of frames [start, start + n); equal arguments give equal bytes."""
    return Block(start, embeddings(start, n), {"latent": latents(start, n), **parts})


def query(k: int = 3, eligible: Span = ALL, *, frame: int | None = None, like: int | None = None) -> Query:
    """A query by the embedding of frame `like`, or by a kept `frame`."""
    vector = None if like is None else embeddings(like, 1)[0]
    return Query(k, eligible, embedding=vector, frame=frame)


def oracle(
    history: Embeddings, vector: Embeddings, k: int, span: Span
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Frames and scores of an exact search of float32 [n, D], one vector at a time, in float64."""
    unit = vector.astype(np.float64)
    scored = []
    for frame in range(span.start, min(span.stop, len(history))):
        row = history[frame].astype(np.float64)
        cosine = (row * unit).sum() / np.sqrt((row * row).sum()) / np.sqrt((unit * unit).sum())
        scored.append((-float(np.float32(np.clip(cosine, -1, 1))), frame))
    best = sorted(scored)[:k]
    return tuple(frame for _, frame in best), tuple(-score + 0.0 for score, _ in best)


def state(memory: Memory, key: VideoKey = KEY) -> VideoState:
    """Where a video stands."""
    return memory.get_video(key).state


def handle(memory: Memory, frame: int, key: VideoKey = KEY) -> Handle:
    """The handle of a frame in the present life of a video."""
    return Handle(key, state(memory, key).epoch, frame)


def assert_frames(memory: Memory, start: int, stop: int, key: VideoKey = KEY) -> None:
    """Frames [start, stop) are those of `block`."""
    fetched = memory.fetch([handle(memory, frame, key) for frame in range(start, stop)])
    for frame, got in zip(range(start, stop), fetched, strict=True):
        assert got.handle.frame == frame
        assert bytes(got.parts["latent"]) == latents(frame, 1)[0]
        np.testing.assert_array_equal(got.embedding, embeddings(frame, 1)[0])


def select_slowly(
    scores: Sequence[float],
    places: Sequence[tuple[object, int]],
    cosine: Callable[[int, int], float],
    k: int,
    *,
    min_gap: int = 0,
    min_score: float | None = None,
    mmr_lambda: float | None = None,
    pinned: Sequence[int] = (),
    candidates: Sequence[int] | None = None,
) -> list[int]:
    """Greedy selection, the obvious way: every free item is looked at for every choice.

    Items are numbered in tie order; item i lies at `places[i]`, a video and a frame of it, and `cosine(i, j)`
    is that of two items. `pinned` items come first; the others are chosen from `candidates` (None: all).
    """
    chosen = list(pinned[:k])
    while len(chosen) < k:
        best: tuple[float, int] | None = None
        for i in range(len(scores)) if candidates is None else candidates:
            near = (j for j in chosen if places[i][0] == places[j][0])
            if i in chosen or any(abs(places[i][1] - places[j][1]) < min_gap for j in near):
                continue
            if min_score is not None and scores[i] < min_score:
                continue
            value = scores[i]
            if mmr_lambda is not None:
                like = max((cosine(i, j) for j in chosen), default=0.0)
                value = mmr_lambda * scores[i] - (1.0 - mmr_lambda) * like
            if best is None or value > best[0]:
                best = value, i
        if best is None:
            break
        chosen.append(best[1])
    return chosen
