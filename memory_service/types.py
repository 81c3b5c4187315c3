"""The values that generators, client and engine share.

Shapes: D embedding dimension, n frames of a block, k hits of a query. Spans are half-open and count latent
frames. Payloads are opaque bytes: the memory never interprets a latent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Buffer: TypeAlias = bytes | bytearray | memoryview
Embeddings: TypeAlias = NDArray[np.float32]

LATENT = "latent"
"""Name of the one part that every frame must carry."""

LATENT_DTYPES: Mapping[str, int] = {"bfloat16": 2, "float16": 2, "float32": 4}
"""Latent dtypes and their item size in bytes."""


@dataclass(frozen=True, slots=True)
class VideoKey:
    """Names one video: `pool` is the namespace, `video` the history in it."""

    pool: str
    video: str

    def __str__(self) -> str:
        """As people write it and logs show it: "pool/video"."""
        return f"{self.pool}/{self.video}"


@dataclass(frozen=True, slots=True)
class Span:
    """Half-open range of latent frames [start, stop)."""

    start: int
    stop: int

    def __len__(self) -> int:
        return max(0, self.stop - self.start)


@dataclass(frozen=True, slots=True)
class Handle:
    """Names one latent frame of one life of a video; stale once the frame is rolled back or dropped."""

    key: VideoKey
    epoch: int
    frame: int


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """What a video fixes at its creation; frames that do not fit are refused.

    `latent_shape` is the shape of one latent frame, e.g. (16, 60, 104); `encoder_id` names the encoder and
    weights that made the embeddings, so that two kinds never mix.
    """

    embedding_dim: int
    latent_dtype: str
    latent_shape: tuple[int, ...]
    encoder_id: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    named_dims: Mapping[str, int] = field(default_factory=dict)
    """Further embeddings that every frame carries, by name, and their dimensions, e.g. {"text": 768}."""

    @property
    def latent_bytes(self) -> int:
        """Size of one latent frame in bytes."""
        return prod(self.latent_shape) * LATENT_DTYPES[self.latent_dtype]


@dataclass(frozen=True, slots=True)
class VideoState:
    """Where a video stands: every answer about a video carries it.

    `length` frames are kept (they survive a crash of the process); the first `durable` of them are also
    fsync'ed (they survive a loss of power). durable <= length.
    """

    epoch: int
    length: int
    durable: int


@dataclass(frozen=True, slots=True)
class Parent:
    """Where a fork comes from: frames [0, length) of `key` as they were in `epoch`. It may be gone by now."""

    key: VideoKey
    epoch: int
    length: int


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """A video, its spec and its state. `created_unix_ms` is wall-clock time.

    `sealed`: it takes no more frames. `num_bytes`: its records on disk, without what it shares with `parent`.
    """

    key: VideoKey
    spec: VideoSpec
    state: VideoState
    created_unix_ms: int
    parent: Parent | None = None
    sealed: bool = False
    num_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """What a pool allows; 0 is no limit of its own.

    `max_bytes` counts records on disk, what forks share once. A video that no verb and no heartbeat has
    named for `ttl_ms` on the steady clock of a running server is dropped, with an event; a restart gives
    every video its full time again.
    """

    max_bytes: int = 0
    max_videos: int = 0
    ttl_ms: int = 0


@dataclass(frozen=True, slots=True)
class PoolUsage:
    """What a pool uses: records on disk, videos, those that are open, and the bytes of their indexes."""

    num_bytes: int
    num_videos: int
    hot_videos: int
    index_bytes: int


@dataclass(frozen=True, slots=True)
class PoolInfo:
    """A pool, its spec and its usage."""

    pool: str
    spec: PoolSpec
    usage: PoolUsage


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive latent frames `[start, start + n)` with their embeddings and parts.

    `embeddings` is float32 [n, D], finite, no row zero. `parts` maps a part's name to n payloads, one per
    frame; the part "latent" is required and each of its payloads is `spec.latent_bytes` long. `named` has
    float32 [n, named_dims[name]] for exactly the names of the spec. `metadata` and `unix_ms` hold for every
    frame of the block and can be filtered by; `unix_ms` 0 is the time at which the block is kept.
    """

    start: int
    embeddings: Embeddings
    parts: Mapping[str, Sequence[Buffer]]
    named: Mapping[str, Embeddings] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    unix_ms: int = 0

    @property
    def span(self) -> Span:
        return Span(self.start, self.start + len(self.embeddings))


@dataclass(frozen=True, slots=True)
class Policy:
    """How candidates become hits; without any field set, the k best.

    `min_gap_frames`: chosen frames of one video lie so far apart, greedily from the best. `mmr_lambda` in
    [0, 1]: maximal marginal relevance. `min_score`: candidates below it are not chosen. `pinned_frames` of
    the video itself are chosen whatever their score, first and in this order, and take at most `max_pinned`
    of the k hits (None: as many as there are). `memory_service.select` has the formulas.
    """

    min_gap_frames: int = 0
    mmr_lambda: float | None = None
    min_score: float | None = None
    pinned_frames: tuple[int, ...] = ()
    max_pinned: int | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which frames may be candidates: `metadata` equal for each key, unix_ms in [after, before)."""

    metadata: Mapping[str, str] = field(default_factory=dict)
    after_unix_ms: int | None = None
    before_unix_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Term:
    """One further term of a score: `weight` times the cosine of `embedding` and the frame's of that name."""

    name: str
    embedding: Embeddings
    weight: float


@dataclass(frozen=True, slots=True)
class ScopeVideo:
    """One video of a scope; `eligible` None is the query's."""

    key: VideoKey
    eligible: Span | None = None


@dataclass(frozen=True, slots=True)
class Scope:
    """Where to search: these `videos` and no others, or, with `pool`, every video of the pool.

    All have the embedding dimension and encoder of the video that is asked; with `pool` others are passed
    over.
    """

    videos: tuple[ScopeVideo, ...] = ()
    pool: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """One search in one video.

    Exactly one of `embedding` (float32 [D], finite, not zero) and `frame` (a kept frame whose embedding is
    the query) is given; in `advance` neither means the last frame of the appended block. Hits come from
    `eligible`, which may reach past the end of the video, and pass `filter`. The score is
    `weight` * cosine(query, embedding) plus the weighted cosines of `terms`.
    """

    k: int
    eligible: Span
    embedding: Embeddings | None = None
    frame: int | None = None
    policy: Policy = Policy()
    filter: Filter = Filter()
    terms: tuple[Term, ...] = ()
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Hit:
    """One retrieved frame. `score` is the cosine of query and stored embedding, higher is nearer.

    With terms it is the weighted sum. `pinned`: chosen because the policy pins it.
    """

    handle: Handle
    score: float
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Appended:
    """Answer to an append. `duplicate`: the same bytes were already there, nothing was written."""

    state: VideoState
    duplicate: bool


@dataclass(frozen=True, slots=True)
class Found:
    """Answer to a search: one best-first list of hits per query, at most k each; equal scores older first."""

    state: VideoState
    hits: tuple[tuple[Hit, ...], ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """The payload of one handle. Buffers may be views of mapped files: valid while referenced, read-only."""

    handle: Handle
    embedding: Embeddings
    parts: Mapping[str, Buffer]
    named: Mapping[str, Embeddings] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    unix_ms: int = 0


@dataclass(frozen=True, slots=True)
class ReelExtent:
    """Bytes of the file at `path`, relative to the data directory; the right file has this inode number."""

    path: str
    inode: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Advanced:
    """Answer to advance: the block is kept, `hits` answer the query over the history that includes it.

    `frames` are the payloads of those hits whose handle was not in `known`, in the order of the hits.
    """

    appended: Appended
    hits: tuple[Hit, ...]
    frames: tuple[Frame, ...]


@dataclass(frozen=True, slots=True)
class Retrieval:
    """One logged search: what was asked, from how many, what was chosen and how long it took."""

    key: VideoKey
    epoch: int
    length: int
    query_frame: int | None
    eligible: Span
    k: int
    policy: str
    frames: tuple[int, ...]
    scores: tuple[float, ...]
    search_us: int
    unix_ms: int
    videos: tuple[VideoKey, ...] = ()
    """The video of each frame, where the scope was wider than one video."""
    num_candidates: int = 0
    """Frames that were eligible and passed the filter."""
    runner_up_frames: tuple[int, ...] = ()
    runner_up_scores: tuple[float, ...] = ()
    """The best candidates that were not chosen, a few: what it was close to. Empty under a wider scope."""


class EventKind(StrEnum):
    """What can happen to a video."""

    WATCHING = "watching"
    CREATED = "created"
    APPENDED = "appended"
    RETRIEVED = "retrieved"
    FORKED = "forked"
    TRUNCATED = "truncated"
    SEALED = "sealed"
    IMPORTED = "imported"
    DROPPED = "dropped"
    EXPIRED = "expired"
    FENCED = "fenced"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. WATCHING comes first and LOST stands for `lost` events that were dropped.

    `state` is the state after it, where the video still is; `retrieval` comes with RETRIEVED.
    """

    kind: EventKind
    unix_ms: int
    key: VideoKey | None = None
    state: VideoState | None = None
    retrieval: Retrieval | None = None
    lost: int = 0


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What is serving: version, index in use, limits, and what is open and used; 0 is no limit.

    `local_path`: payloads may be handed over through files. `durability`: what an append without `sync` waits
    for, "sync", "group" or "none".
    """

    version: str
    index: str
    max_message_bytes: int
    max_k: int
    max_queries: int
    hot_videos: int
    uptime_s: float
    max_hits: int = 0
    local_path: bool = False
    durability: str = "group"
    num_bytes: int = 0
    max_bytes: int = 0
    num_videos: int = 0
    max_videos: int = 0
    index_bytes: int = 0
    max_index_bytes: int = 0
