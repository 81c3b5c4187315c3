"""The memory in one process: `Memory` on local reels, without a server."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Self

import memory_service
from memory_service import cancellation
from memory_service.boundary.checks import check_whole
from memory_service.boundary.validate import (
    check_block,
    check_fork,
    check_handles,
    check_id,
    check_key,
    check_parts,
    check_spec,
)
from memory_service.boundary.validate_pools import check_keys, check_list, check_pool_spec
from memory_service.boundary.validate_search import check_page, check_queries, check_query, check_scope
from memory_service.durability import Durability, durability_level
from memory_service.errors import AlreadyExists, NotFound, Unavailable
from memory_service.events import Events, Watcher
from memory_service.histories.epochs import new_epoch
from memory_service.histories.forks import Forks
from memory_service.histories.stored_frame import StoredFrame
from memory_service.histories.transfer import Transfer
from memory_service.index.base import load_index
from memory_service.limits import Limits
from memory_service.pooling.expiry import Expiry
from memory_service.pooling.hot import HotSet
from memory_service.pooling.pools import Pools
from memory_service.pooling.quota import Ledger
from memory_service.pooling.shares import Shares
from memory_service.pooling.slots import Slots
from memory_service.search.wide_search import search_wide
from memory_service.store.commit import GroupCommit
from memory_service.store.files import FileStore
from memory_service.store.pool_files import PoolFiles
from memory_service.store.scan import Recovery
from memory_service.types import (
    Advanced,
    Appended,
    Block,
    Buffer,
    Found,
    Frame,
    Handle,
    Hit,
    PoolInfo,
    PoolSpec,
    Query,
    Retrieval,
    Scope,
    ServerInfo,
    VideoInfo,
    VideoKey,
    VideoSpec,
    VideoState,
)
from memory_service.videos import Videos
from memory_service.vitals import Vitals, examine
from memory_service.workers import Worker


class MemoryEngine:
    """`Memory` in process. Safe for threads; videos do not wait for each other.

    A video is opened, verified and indexed by the first call that needs it; until then it costs nothing.
    """

    def __init__(
        self,
        data_dir: str | PathLike[str],
        *,
        index: str = "flat",
        limits: Limits | None = None,
        durability: str = Durability.GROUP,
        commit_interval_s: float = 0.1,
        extent_bytes: int = 4 << 20,
        max_hot_videos: int = 256,
        max_index_bytes: int = 256 << 20,
        max_bytes: int = 0,
        max_videos: int = 0,
        max_pools: int = 10_000,
        default_pool: PoolSpec | None = None,
        max_watchers: int = 64,
        clock: Callable[[], float] = time.monotonic,
        read_only: bool = False,
    ) -> None:
        """Open the memory in `data_dir`, creating the directory.

        `durability` names a level of `Durability`, `commit_interval_s` is the longest that a kept frame stays
        without fdatasync at the level "group", `extent_bytes` how much file a video gets at a time,
        `max_hot_videos` how many stay open when idle, `max_index_bytes` of indexes and tables. `max_bytes`
        and `max_videos` hold for all pools together, `max_pools` is how many there may be, `default_pool`
        holds for each that nobody creates by name; 0 is no limit. `clock` is the steady one of expiry. Raises
        Busy when another process has the directory, InvalidArgument for an unknown index or level,
        Unavailable.
        """
        self.limits = limits or Limits()
        self._index = load_index(index)
        self._read_only = read_only
        default_pool = default_pool or PoolSpec()
        check_pool_spec(default_pool, "default_pool.")
        check_pool_spec(PoolSpec(max_bytes, max_videos), "")
        check_whole(max_pools, "max_pools")
        level = durability_level(durability)
        store = FileStore(Path(data_dir), extent_bytes=extent_bytes, read_only=read_only)
        self._durability = str(level)
        self._sync_always = level is Durability.SYNC
        interval_s = None if level is Durability.NONE else commit_interval_s
        self._commit = None if read_only else GroupCommit(interval_s)
        self._events = Events(max_watchers=max_watchers)
        self._ledger = Ledger(max_bytes=max_bytes, max_videos=max_videos, default=default_pool)
        self._shares = Shares(self._ledger)
        self._hot = HotSet(max_videos=max_hot_videos, max_bytes=max_index_bytes)
        self._expiry = Expiry(store.keys, lambda key, due: self._videos.expire(key, due), clock=clock)
        self._videos = Videos(
            store,
            self._index,
            self._commit,
            slots=Slots(self._hot),
            ledger=self._ledger,
            shares=self._shares,
            expiry=self._expiry,
            events=self._events,
            entered=lambda pool, make: self._pools.entered(pool, make=make),
        )
        try:
            self._pools = Pools(
                PoolFiles(Path(data_dir)),
                self._ledger,
                self._expiry,
                self._shares,
                default=default_pool,
                max_pools=max_pools,
                hot=self._hot.share,
                read_only=read_only,
            )
        except BaseException:
            self._videos.close()
            raise
        self._forks = Forks(self._videos, store)
        self._transfer = Transfer(self._videos, store, self._ledger, self.limits)
        if not read_only:
            self._expiry.start()
        self._started = time.monotonic()

    @classmethod
    def open_read_only(cls, data_dir: str | PathLike[str], *, index: str = "flat") -> Self:
        """Open a directory for inspection: takes no lock and changes nothing, logs no retrieval.

        A video is seen as it is when it is asked for. Verbs that write raise Unavailable.
        """
        return cls(data_dir, index=index, read_only=True)

    @property
    def recoveries(self) -> Sequence[Recovery]:
        """Torn tails found in the videos opened so far."""
        return tuple(self._videos.recoveries)

    @property
    def events(self) -> Events:
        """What happens in this memory, for whoever wants to count it."""
        return self._events

    def workers(self) -> Sequence[Worker]:
        """The threads in the background. All of them must live as long as the memory is open."""
        if self._commit is None:
            return ()
        return (*self._commit.workers, self._expiry.worker)

    def vitals(self, recent: Sequence[Retrieval] = ()) -> Vitals:
        """The state of what is open, for metrics; `recent` retrievals are looked at for their redundancy.

        A walk over the open videos that uses none of them.
        """
        oldest_s = self._commit.oldest_s if self._commit is not None else 0.0
        return examine(self._videos, oldest_s, recent)

    def create_pool(self, pool: str, spec: PoolSpec) -> PoolInfo:
        """See `Memory.create_pool`."""
        self._check_writable()
        check_id(pool, "pool")
        check_pool_spec(spec)
        return self._pools.create(pool, spec)

    def get_pool(self, pool: str) -> PoolInfo:
        """See `Memory.get_pool`."""
        self._videos.check_open()
        check_id(pool, "pool")
        return self._pools.get(pool)

    def list_pools(self) -> Sequence[PoolInfo]:
        """See `Memory.list_pools`. What cannot be read is logged and left out."""
        self._videos.check_open()
        return self._pools.list()

    def update_pool(self, pool: str, spec: PoolSpec) -> PoolInfo:
        """See `Memory.update_pool`."""
        self._check_writable()
        check_id(pool, "pool")
        check_pool_spec(spec)
        return self._pools.update(pool, spec)

    def drop_pool(self, pool: str, *, with_videos: bool = False) -> None:
        """See `Memory.drop_pool`."""
        self._check_writable()
        check_id(pool, "pool")
        self._pools.drop(pool, (lambda: self._videos.drop_all(pool)) if with_videos else None)

    def create_video(self, key: VideoKey, spec: VideoSpec) -> VideoInfo:
        """See `Memory.create_video`."""
        self._check_writable()
        check_key(key)
        check_spec(spec, self.limits)
        plain = VideoSpec(
            int(spec.embedding_dim),
            spec.latent_dtype,
            tuple(map(int, spec.latent_shape)),
            spec.encoder_id,
            dict(spec.metadata),
            {name: int(dim) for name, dim in spec.named_dims.items()},
        )
        epoch = new_epoch()
        new = VideoInfo(key, plain, VideoState(epoch, 0, 0), time.time_ns() // 1_000_000)
        there, _ = self._videos.create(new)
        if there.spec != plain:
            raise AlreadyExists(
                f"video {key} is there with another spec",
                field="spec",
                expected=str(there.spec),
            )
        return there

    def get_video(self, key: VideoKey) -> VideoInfo:
        """See `Memory.get_video`."""
        check_key(key)
        with self._videos.use(key) as video:
            return video.info()

    def list_videos(self, pool: str, *, after: str = "", limit: int | None = None) -> Sequence[VideoInfo]:
        """See `Memory.list_videos`. What cannot be read is logged and left out."""
        check_id(pool, "pool")
        check_list(after, limit)
        return self._videos.list(pool, after, limit)

    def drop_video(self, key: VideoKey) -> None:
        """See `Memory.drop_video`."""
        self._check_writable()
        check_key(key)
        self._videos.drop(key)

    def fork_video(
        self,
        parent: VideoKey,
        key: VideoKey,
        *,
        length: int | None = None,
        epoch: int | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> VideoInfo:
        """See `Memory.fork_video`."""
        self._check_writable()
        check_key(parent, "parent")
        check_key(key)
        check_fork(length, metadata or {}, self.limits)
        return self._forks.fork(parent, key, length, epoch, metadata)

    def truncate_video(self, key: VideoKey, length: int, *, epoch: int | None = None) -> VideoInfo:
        """See `Memory.truncate_video`."""
        self._check_writable()
        check_key(key)
        check_whole(length, "length")
        with self._videos.use(key) as video:
            return video.truncate(length, epoch=epoch)

    def seal_video(self, key: VideoKey, *, epoch: int | None = None) -> VideoInfo:
        """See `Memory.seal_video`."""
        self._check_writable()
        check_key(key)
        with self._videos.use(key) as video:
            return video.seal(epoch=epoch)

    def export_video(self, key: VideoKey) -> Iterator[bytes]:
        """See `Memory.export_video`."""
        check_key(key)
        yield from self._transfer.exported(key)

    def import_video(
        self, key: VideoKey, reel: Iterable[Buffer], *, expected: VideoSpec | None = None
    ) -> VideoInfo:
        """See `Memory.import_video`."""
        self._check_writable()
        check_key(key)
        return self._transfer.imported(key, reel, expected)

    def heartbeat(self, keys: Sequence[VideoKey]) -> Sequence[VideoKey]:
        """See `Memory.heartbeat`."""
        self._videos.check_open()
        check_keys(keys, self.limits)
        return [key for key in keys if not self._videos.touch(key)]

    def watch(self, pool: str, video: str = "") -> Watcher:
        """See `Memory.watch`. Watching begins with the call; `close`, from any thread, ends it."""
        self._videos.check_open()
        check_id(pool, "pool")
        if video:
            check_id(video, "video")
        return self._events.watch(pool, video)

    def append(
        self, key: VideoKey, block: Block, *, epoch: int | None = None, sync: bool = False
    ) -> Appended:
        """See `Memory.append`."""
        self._check_writable()
        check_key(key)
        with self._videos.use(key) as video:
            check_block(block, video.spec, self.limits)
            return video.append(block, epoch=epoch, sync=sync or self._sync_always)

    def append_stream(
        self, key: VideoKey, blocks: Iterable[Block], *, epoch: int | None = None, sync: bool = False
    ) -> Iterator[Appended]:
        """See `Memory.append_stream`."""
        for block in blocks:
            yield self.append(key, block, epoch=epoch, sync=sync)

    def search(
        self, key: VideoKey, queries: Sequence[Query], *, scope: Scope | None = None, log: bool = True
    ) -> Found:
        """See `Memory.search`."""
        check_key(key)
        with self._videos.use(key) as video:
            check_queries(queries, video.spec, self.limits)
            if scope is None:
                return video.search(queries, log=log)
            check_scope(scope, self.limits)
            return search_wide(self._videos, video, queries, scope, self.limits, log=log)

    def fetch(self, handles: Sequence[Handle], parts: Sequence[str] = ()) -> Sequence[Frame]:
        """See `Memory.fetch`."""
        stored = self.fetch_stored(handles, parts)
        return [frame.verified(f"handles[{number}]") for number, frame in enumerate(stored)]

    def fetch_stored(self, handles: Sequence[Handle], parts: Sequence[str] = ()) -> list[StoredFrame]:
        """As `fetch`, but the frames are as they lie in their reels, not yet verified."""
        self._videos.check_open()
        check_handles(handles, self.limits)
        check_parts(parts, self.limits)
        by_video: dict[VideoKey, list[tuple[int, Handle]]] = {}
        for number, handle in enumerate(handles):
            by_video.setdefault(handle.key, []).append((number, handle))
        stored: dict[int, StoredFrame] = {}
        for key, numbered in by_video.items():
            cancellation.check()
            try:
                with self._videos.use(key) as video:
                    frames = video.stored(numbered, parts)
            except NotFound as exc:
                if exc.field == "key":
                    exc.field = f"handles[{numbered[0][0]}].key"
                raise
            stored.update(zip((number for number, _ in numbered), frames, strict=True))
        return [stored[number] for number in range(len(handles))]

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
        """See `Memory.advance`."""
        appended, hits, stored = self.advance_stored(key, block, query, known=known, epoch=epoch, sync=sync)
        return Advanced(appended, hits, tuple(frame.verified("query") for frame in stored))

    def advance_stored(
        self,
        key: VideoKey,
        block: Block,
        query: Query,
        *,
        known: Collection[Handle] = (),
        epoch: int | None = None,
        sync: bool = False,
    ) -> tuple[Appended, tuple[Hit, ...], list[StoredFrame]]:
        """As `advance`, but the frames are as they lie in their reels, not yet verified."""
        self._check_writable()
        check_key(key)
        with self._videos.use(key) as video:
            check_block(block, video.spec, self.limits)
            check_query(query, video.spec, self.limits, "query", may_lack_vector=True)
            sync = sync or self._sync_always
            return video.advance(block, query, known=known, epoch=epoch, sync=sync)

    def retrievals(
        self, key: VideoKey, *, start: int = 0, limit: int | None = None, newest_first: bool = False
    ) -> Sequence[Retrieval]:
        """See `Memory.retrievals`."""
        check_key(key)
        check_page(start, limit)
        with self._videos.use(key) as video:
            return video.retrievals(start, limit, newest_first=newest_first)

    def info(self) -> ServerInfo:
        """See `Memory.info`."""
        used = self._pools.total()
        return ServerInfo(
            version=memory_service.__version__,
            index=self._index.name,
            max_message_bytes=self.limits.max_message_bytes,
            max_k=self.limits.max_k,
            max_queries=self.limits.max_queries,
            hot_videos=len(self._hot),
            uptime_s=time.monotonic() - self._started,
            max_hits=self.limits.max_hits,
            durability=self._durability,
            num_bytes=used.num_bytes,
            max_bytes=self._ledger.whole.max_bytes,
            num_videos=used.num_videos,
            max_videos=self._ledger.whole.max_videos,
            index_bytes=self._hot.num_bytes,
            max_index_bytes=self._hot.max_bytes,
        )

    def close(self) -> None:
        """See `Memory.close`. Raises what the last commit of a video raises."""
        self._expiry.close()
        self._events.close()
        self._videos.close()

    def _check_writable(self) -> None:
        if self._read_only:
            raise Unavailable("the memory is open for reading only")
