"""The one protocol of the memory, which the engine runs in process and the client over gRPC."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from memory_service.types import (
    Advanced,
    Appended,
    Block,
    Buffer,
    Event,
    Found,
    Frame,
    Handle,
    PoolInfo,
    PoolSpec,
    Query,
    Retrieval,
    Scope,
    ServerInfo,
    VideoInfo,
    VideoKey,
    VideoSpec,
)


class Watching(Protocol):
    """Events as they happen. `close` ends the iteration, from any thread and while another waits."""

    def __iter__(self) -> Iterator[Event]: ...

    def __next__(self) -> Event: ...

    def close(self) -> None: ...


class Memory(Protocol):
    """The verbs of the memory. `MemoryEngine` runs them in process, `MemoryClient` over gRPC.

    Both are safe for concurrent use by threads and raise only `memory_service.errors.ServiceError`.
    """

    def create_pool(self, pool: str, spec: PoolSpec) -> PoolInfo:
        """Create a pool. The same spec again gives the pool that is there.

        Raises AlreadyExists when it is there with another spec, InvalidArgument.
        """

    def get_pool(self, pool: str) -> PoolInfo:
        """Raises NotFound."""

    def list_pools(self) -> Sequence[PoolInfo]:
        """All pools, by name."""

    def update_pool(self, pool: str, spec: PoolSpec) -> PoolInfo:
        """Replace a pool's spec; a quota below what is used only refuses more.

        Raises NotFound, InvalidArgument.
        """

    def drop_pool(self, pool: str, *, with_videos: bool = False) -> None:
        """Forget a pool.

        Raises NotFound, and NotEmpty where it has videos that are not to be dropped with it.
        """

    def create_video(self, key: VideoKey, spec: VideoSpec) -> VideoInfo:
        """Create a video. The same spec again gives the video that is there.

        A pool that is not there is created with the default spec. Raises AlreadyExists when the video is
        there with another spec, InvalidArgument on a bad id or spec, Exhausted where the quota allows no
        more videos.
        """

    def get_video(self, key: VideoKey) -> VideoInfo:
        """Raises NotFound."""

    def list_videos(self, pool: str, *, after: str = "", limit: int | None = None) -> Sequence[VideoInfo]:
        """The first `limit` (None: all) videos of a pool whose names come after `after`, by name.

        A pool without videos is empty, and so is one that is not there.
        """

    def drop_video(self, key: VideoKey) -> None:
        """Forget a video and all its frames; its handles are stale from now on. Raises NotFound."""

    def fork_video(
        self,
        parent: VideoKey,
        key: VideoKey,
        *,
        length: int | None = None,
        epoch: int | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> VideoInfo:
        """A new video `key` with the first `length` frames (None: all) of `parent`, no payload copied.

        `length` is the end of a block; `epoch` fences the parent; `metadata` None is the parent's. The same
        fork again gives the one that is there. Raises InvalidArgument, NotFound, Fenced, AlreadyExists,
        Exhausted.
        """

    def truncate_video(self, key: VideoKey, length: int, *, epoch: int | None = None) -> VideoInfo:
        """Roll back to the first `length` frames and start a new epoch; durable when this returns.

        Handles of the frames that stay remain valid, those of the others are stale for ever. With `epoch`
        the same truncation again, nothing written since, changes nothing. Raises NotFound, Fenced, Sealed,
        InvalidArgument.
        """

    def seal_video(self, key: VideoKey, *, epoch: int | None = None) -> VideoInfo:
        """Let a video take no more frames and no truncation; durable, idempotent. Raises NotFound, Fenced."""

    def heartbeat(self, keys: Sequence[VideoKey]) -> Sequence[VideoKey]:
        """Keep videos alive in pools with a time to live. Returns the keys that are not there."""

    def export_video(self, key: VideoKey) -> Iterator[bytes]:
        """The video as one self-contained reel, in chunks. Raises NotFound, DataLoss."""

    def import_video(
        self, key: VideoKey, reel: Iterable[Buffer], *, expected: VideoSpec | None = None
    ) -> VideoInfo:
        """A new video from the chunks of a reel, verified as a whole before it appears, under a new epoch.

        Where `expected` is given, embedding dimensions, latent dtype and shape and encoder must be its.
        Raises AlreadyExists, InvalidArgument, DataLoss, TooLarge, Exhausted.
        """

    def append(
        self, key: VideoKey, block: Block, *, epoch: int | None = None, sync: bool = False
    ) -> Appended:
        """Append one block, exactly once and in order.

        When this returns, the block survives a crash of the serving process; with `sync` also a loss of
        power. The same block again is a duplicate and changes nothing. `epoch` fences: the call fails when
        the video has moved on to another. Raises OutOfOrder on a gap, AlreadyExists where other bytes hold
        these frames, Fenced, NotFound, InvalidArgument, TooLarge.
        """

    def append_stream(
        self, key: VideoKey, blocks: Iterable[Block], *, epoch: int | None = None, sync: bool = False
    ) -> Iterator[Appended]:
        """Append blocks one after the other; answers in their order, as they come.

        The first error ends the iteration: what was answered before is kept. Raises what append raises.
        """

    def search(
        self, key: VideoKey, queries: Sequence[Query], *, scope: Scope | None = None, log: bool = True
    ) -> Found:
        """The k best eligible frames of each query; sees everything appended before.

        `scope` None searches `key` alone. `log` writes each retrieval to the log of `key`. Raises NotFound,
        InvalidArgument, TooLarge.
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
        known: Collection[Handle] = (),
        epoch: int | None = None,
        sync: bool = False,
    ) -> Advanced:
        """Append `block`, then search for the next one: the hot path, one round trip per block.

        `known` are the handles whose payload the caller already holds. Raises what append and search raise.
        """

    def retrievals(
        self, key: VideoKey, *, start: int = 0, limit: int | None = None, newest_first: bool = False
    ) -> Sequence[Retrieval]:
        """Entries [start, start + limit) of a video's retrieval log, oldest or newest first.

        Raises NotFound.
        """

    def watch(self, pool: str, video: str = "") -> Watching:
        """What happens in a pool, or to one video of it, from now on; the first event is WATCHING.

        A slow reader loses events, which LOST counts. Raises InvalidArgument, Overloaded where there are too
        many watchers, at once and not with the first event.
        """

    def info(self) -> ServerInfo:
        """What is serving, and its limits."""

    def close(self) -> None:
        """Make everything durable and release all resources; idempotent."""
