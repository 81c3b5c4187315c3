"""The values and the one protocol that generators, client and engine share.

Shapes: D embedding dimension, n frames of a block, k hits of a query. Spans are half-open and count latent
frames. Payloads are opaque bytes: the memory never interprets a latent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

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

    @property
    def latent_bytes(self) -> int:
        """Size of one latent frame in bytes."""
        return int(np.prod(self.latent_shape)) * LATENT_DTYPES[self.latent_dtype]


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
class VideoInfo:
    """A video, its spec and its state. `created_unix_ms` is wall-clock time."""

    key: VideoKey
    spec: VideoSpec
    state: VideoState
    created_unix_ms: int


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive latent frames `[start, start + n)` with their embeddings and parts.

    `embeddings` is float32 [n, D], finite, no row zero. `parts` maps a part's name to n payloads, one per
    frame; the part "latent" is required and each of its payloads is `spec.latent_bytes` long.
    """

    start: int
    embeddings: Embeddings
    parts: Mapping[str, Sequence[Buffer]]

    @property
    def span(self) -> Span:
        return Span(self.start, self.start + len(self.embeddings))


@dataclass(frozen=True, slots=True)
class Query:
    """One search in one video.

    Exactly one of `embedding` (float32 [D], finite, not zero) and `frame` (a kept frame whose embedding is
    the query) is given; in `advance` neither means the last frame of the appended block. Hits come from
    `eligible`, which may reach past the end of the video.
    """

    k: int
    eligible: Span
    embedding: Embeddings | None = None
    frame: int | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """One retrieved frame. `score` is the cosine of query and stored embedding, higher is nearer."""

    handle: Handle
    score: float


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


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What is serving: version, index in use, limits, and what is open."""

    version: str
    index: str
    max_message_bytes: int
    max_k: int
    max_queries: int
    hot_videos: int
    uptime_s: float


class Memory(Protocol):
    """The verbs of the memory. `MemoryEngine` runs them in process, `MemoryClient` over gRPC.

    Both are safe for concurrent use by threads and raise only `memory_service.errors.ServiceError`.
    """

    def create_video(self, key: VideoKey, spec: VideoSpec) -> VideoInfo:
        """Create a video. The same spec again gives the video that is there.

        Raises AlreadyExists when the video is there with another spec, InvalidArgument on a bad id or spec.
        """

    def get_video(self, key: VideoKey) -> VideoInfo:
        """Raises NotFound."""

    def list_videos(self, pool: str) -> Sequence[VideoInfo]:
        """All videos of a pool, by name; a pool without videos is empty."""

    def drop_video(self, key: VideoKey) -> None:
        """Forget a video and all its frames; its handles are stale from now on. Raises NotFound."""

    def append(
        self, key: VideoKey, block: Block, *, epoch: int | None = None, sync: bool = False
    ) -> Appended:
        """Append one block, exactly once and in order.

        When this returns, the block survives a crash of the serving process; with `sync` also a loss of
        power. The same block again is a duplicate and changes nothing. `epoch` fences: the call fails when
        the video has moved on to another. Raises OutOfOrder on a gap, AlreadyExists where other bytes hold
        these frames, Fenced, NotFound, InvalidArgument, TooLarge.
        """

    def search(self, key: VideoKey, queries: Sequence[Query], *, log: bool = True) -> Found:
        """The k nearest eligible frames of each query; sees everything appended before.

        `log` writes each retrieval to the video's log. Raises NotFound, InvalidArgument, TooLarge.
        """

    def fetch(self, handles: Sequence[Handle], parts: Sequence[str] = ()) -> Sequence[Frame]:
        """Payloads in the order of the handles, checksums verified. Empty `parts` means all parts.

        Raises NotFound for a stale or unknown handle or a part that the frame lacks, DataLoss.
        """

    def advance(
        self,
        key: VideoKey,
        block: Block,
        query: Query,
        *,
        known: Sequence[Handle] = (),
        epoch: int | None = None,
        sync: bool = False,
    ) -> Advanced:
        """Append `block`, then search for the next one: the hot path, one round trip per block.

        `known` are the handles whose payload the caller already holds. Raises what append and search raise.
        """

    def retrievals(self, key: VideoKey) -> Sequence[Retrieval]:
        """The retrieval log of a video, oldest first. Raises NotFound."""

    def info(self) -> ServerInfo:
        """What is serving, and its limits."""

    def close(self) -> None:
        """Make everything durable and release all resources; idempotent."""
