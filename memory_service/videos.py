"""The videos of one memory: opened on first use, one at a time each, closed together."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from types import TracebackType

from memory_service.errors import Fenced, NotFound, ServiceError, Unavailable
from memory_service.events import Events
from memory_service.index.base import Index
from memory_service.pooling.expiry import Expiry
from memory_service.pooling.listing import Listing
from memory_service.pooling.quota import Account, Ledger
from memory_service.pooling.shares import SharedReel, Shares
from memory_service.pooling.slots import Slot, Slots
from memory_service.store.commit import GroupCommit
from memory_service.store.files import FileStore
from memory_service.store.scan import Recovery
from memory_service.types import EventKind, VideoInfo, VideoKey
from memory_service.video import Video

_log = logging.getLogger(__name__)


class Use:
    """One use of a video, for a `with`; a class, as a generator would cost a call several microseconds."""

    __slots__ = ("_key", "_slot", "_video", "_videos")

    def __init__(self, videos: "Videos", key: VideoKey) -> None:
        self._videos = videos
        self._key = key

    def __enter__(self) -> Video:
        self._slot, self._video = self._videos.enter(self._key)
        return self._video

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._videos.leave(self._key, self._slot, self._video, exc)


class Videos:
    """Open and cold videos of one store. Safe for threads; opening one video does not hold up another.

    How many stay open, and which is closed for the next, `slots` knows. Every byte and video is booked in
    `ledger`, and what happens to a video is published in `events`.
    """

    def __init__(
        self,
        store: FileStore,
        index: Index,
        commit: GroupCommit | None,
        *,
        slots: Slots,
        ledger: Ledger,
        shares: Shares,
        expiry: Expiry,
        events: Events,
        entered: Callable[[str, bool], AbstractContextManager[None]],
    ) -> None:
        """`commit` is None where nothing is ever written; `entered` holds a pool, made or not."""
        self._store = store
        self._index = index
        self._commit = commit
        self._ledger = ledger
        self._shares = shares
        self._expiry = expiry
        self._events = events
        self._entered = entered
        self._slots = slots
        self.recoveries: list[Recovery] = []
        self._listing = Listing(slots, store, ledger, self.recoveries, read_only=commit is None)

    def use(self, key: VideoKey) -> "Use":
        """The video, opened and verified if it was cold; it stays open, and does not expire, in the `with`.

        Entering raises NotFound, DataLoss, Unavailable.
        """
        return Use(self, key)

    def enter(self, key: VideoKey) -> tuple[Slot, Video]:
        """The slot, counting one more user, and its video."""
        pinned = self._slots.pin(key)
        if pinned is not None and (self._commit is not None or not pinned[1].outdated):
            return pinned
        if pinned is not None:
            self._slots.unpin(key, *pinned)
        with self._slots.locked(key) as slot:
            if self._commit is None and slot.video is not None:
                self._close_idle(key, slot)
            self._opened(key, slot)
            pinned = self._slots.pin(key)
        self._cool()
        if pinned is None:
            raise Unavailable("the memory is closing")
        return pinned

    def leave(self, key: VideoKey, slot: Slot, video: Video, failure: BaseException | None) -> None:
        """One user less, who ended with `failure`, if with any."""
        try:
            if isinstance(failure, Fenced):
                with suppress(ServiceError):
                    self._events.publish(EventKind.FENCED, key, video.info().state)
        finally:
            self._expiry.touch(key)
            if self._slots.unpin(key, slot, video):
                self._cool(keep=key)

    def get_or_make(
        self,
        key: VideoKey,
        kind: EventKind,
        num_bytes: int,
        make: Callable[[], None],
        shared: Sequence[SharedReel] = (),
        *,
        booked_bytes: int = 0,
    ) -> tuple[VideoInfo, bool]:
        """The video that is there under `key`, or else the one whose files `make` brings into being.

        `num_bytes` is what its own reel will hold, `booked_bytes` how many of them the caller has booked:
        they are the video's once `make` has returned. `shared` are the reels of others, `kind` is the event.
        A pool that is not there is made. Returns the video and whether it is new. Raises Exhausted and what
        `make` raises: there is no video then.
        """
        with self._entered(key.pool, True), self._slots.locked(key) as slot:
            try:
                video, new = self._opened(key, slot), False
            except NotFound:
                self._shares.link(key, shared)
                try:
                    with self._ledger.booked(key.pool, num_bytes - booked_bytes, 1):
                        make()
                except BaseException:
                    self._shares.unlink(key)
                    raise
                try:
                    video, new = self._opened(key, slot, num_bytes), True
                except BaseException:  # a fork of damaged frames, say: then there is none
                    self._drop(key, slot, None, EventKind.DROPPED)
                    self._store.settle_drop(key)
                    raise
            there = video.info()
            self._expiry.touch(key)
            if new:
                self._events.publish(kind, key, there.state)
        self._cool()
        return there, new

    def create(self, info: VideoInfo) -> tuple[VideoInfo, bool]:
        """The video that is there under the key of `info`, or else an empty one as `info` describes it."""
        num_bytes = self._store.new_bytes(info)
        return self.get_or_make(info.key, EventKind.CREATED, num_bytes, lambda: self._store.create(info))

    def drop(self, key: VideoKey) -> None:
        """Forget a video, readable or not. Raises NotFound, Unavailable.

        It may be gone when this raises Unavailable, but for a loss of power. NotFound is durable: whoever
        tries again takes it for success.
        """
        with self._entered(key.pool, False), self._slots.locked(key) as slot:
            try:
                self._drop(key, slot, slot.video, EventKind.DROPPED)
                self._slots.clear(key, slot)
            except NotFound:
                self._store.settle_drop(key)
                raise
            self._store.settle_drop(key)

    def drop_all(self, pool: str) -> None:
        """Forget all videos of a pool, readable or not; for good as soon as its directory is.

        Raises Unavailable.
        """
        for key in self._store.keys(pool):
            with suppress(NotFound), self._slots.locked(key) as slot:
                self._drop(key, slot, slot.video, EventKind.DROPPED, durably=False)
                self._slots.clear(key, slot)

    def expire(self, key: VideoKey, due: Callable[[], bool]) -> bool:
        """Drop a video that nobody is using and that is still `due`. Returns whether it is gone.

        A loss of power may bring it back, with its full time to live; forks go for good, with their links.
        Raises Unavailable.
        """
        with self._entered(key.pool, False), self._slots.locked(key) as slot:
            was_open = slot.video is not None
            video = self._slots.empty(key, slot)
            if was_open and video is None:
                return False
            try:
                if not due():
                    return False
                durably = self._shares.is_fork(key)
                self._drop(key, slot, video, EventKind.EXPIRED, durably=durably)
                video = None
                if durably:
                    self._store.settle_drop(key)
            except NotFound:
                self._expiry.forget(key)
                return True
            finally:
                if video is not None:
                    self._slots.put_back(key, slot, video, closable=not video.failed)
        _log.warning("video expired pool=%s video=%s", key.pool, key.video)
        return True

    def touch(self, key: VideoKey) -> bool:
        """Keep a video alive, cold or not. Returns whether it is there."""
        with self._slots.locked(key) as slot:
            try:
                if slot.video is None:
                    self._store.stat(key)
            except NotFound:
                return False
            self._expiry.touch(key)
            return True

    def list(self, pool: str, after: str, limit: int | None) -> Sequence[VideoInfo]:
        """The first `limit` videos of a pool behind `after`, by name; see `Listing`."""
        return self._listing.page(pool, after, limit)

    def keys(self, pool: str) -> Sequence[VideoKey]:
        """All videos of a pool by name, readable or not."""
        self.check_open()
        return list(self._store.keys(pool))

    def open_videos(self) -> Sequence[Video]:
        """Those that are open at this moment. It uses none of them: they cool and expire as if not seen."""
        return self._slots.open_videos()

    @property
    def opened(self) -> int:
        """Videos opened so far, the new ones too."""
        return self._slots.opened

    @property
    def cooled(self) -> int:
        """Videos closed so far to make room."""
        return self._slots.cooled

    def close(self) -> None:
        """Close all; every verb raises Unavailable from now on. Raises what closing a video raises."""
        failures: list[ServiceError] = []
        for slot in self._slots.close().values():
            with slot.lock:
                video, slot.video = slot.video, None
                try:
                    if video is not None:
                        video.close()
                except ServiceError as exc:
                    failures.append(exc)
        if self._commit is not None:
            self._commit.close()
        self._store.close()
        if failures:
            raise failures[0]

    def check_open(self) -> None:
        """Raises Unavailable once the memory is closed."""
        self._slots.check_open()

    def _cool(self, keep: VideoKey | None = None) -> None:
        """Close idle videos until the budgets are kept, or nothing but `keep` and videos in use is left."""
        while (key := self._slots.next_to_close(keep)) is not None:
            try:
                with self._slots.locked(key) as slot:
                    self._close_idle(key, slot)
            except Unavailable:
                return  # the memory is closing, and closes them all

    def _close_idle(self, key: VideoKey, slot: Slot) -> None:
        """Close a video unless it is in use again, or its last frames cannot be made durable."""
        video = self._slots.empty(key, slot)
        if video is None:
            return
        try:
            video.commit()
        except ServiceError as exc:
            _log.error("video kept open pool=%s video=%s reason=%s", key.pool, key.video, exc)
            self._slots.put_back(key, slot, video, closable=False)
            return
        try:
            video.close()
        except ServiceError as exc:  # everything in it is durable: only space was not given back
            _log.error("video closed badly pool=%s video=%s reason=%s", key.pool, key.video, exc)
        self._slots.cooled += 1
        self._settle_account(key, slot)

    def _opened(self, key: VideoKey, slot: Slot, num_bytes: int | None = None) -> Video:
        """The video of a slot, opened if it was cold; `num_bytes` are booked for it, None: its size."""
        if slot.video is None:
            if num_bytes is None:
                num_bytes = self._store.stat(key).st_size
            if self._commit is not None:
                slot.account = Account(self._ledger, key.pool, num_bytes)
            try:
                video = self._open(key, slot.account)
            except BaseException:
                self._index.drop(key)
                self._settle_account(key, slot)
                raise
            self._slots.fill(key, slot, video)
            return video
        return slot.video

    def _open(self, key: VideoKey, account: Account | None) -> Video:
        reel, found = self._store.open(key, account)
        try:
            bases = self._store.bases(key, found)
            mark = None if self._commit is None else self._commit.mark
            video = Video(reel, found, self._index, mark, self._events, bases)
        except BaseException:
            reel.abandon()
            raise
        if found.recovery is not None:
            self.recoveries.append(found.recovery)
        return video

    def _drop(
        self, key: VideoKey, slot: Slot, video: Video | None, kind: EventKind, *, durably: bool = True
    ) -> None:
        """Drop what is under a locked slot, as `FileStore.drop` does: `video` if it is open, or its files."""
        stat = self._store.stat(key)
        num_bytes = stat.st_size
        if video is None:
            self._store.drop(key, durably=durably)
            self._ledger.correct(key.pool, -num_bytes, -1)
        else:
            kept = self._shares.is_shared(stat.st_ino)
            num_bytes = video.drop(lambda: self._store.drop(key, durably=durably), kept=kept)
            self._settle_account(key, slot)
            self._ledger.correct(key.pool, 0, -1)
        self._shares.unlink(key)
        self._shares.orphan(stat.st_ino, num_bytes)
        self._expiry.forget(key)
        self._events.publish(kind, key)

    def _settle_account(self, key: VideoKey, slot: Slot) -> None:
        """Book a video that is not open any more with the size of its file."""
        if slot.account is not None:
            try:
                num_bytes = self._store.stat(key).st_size
            except NotFound:
                num_bytes = 0
            slot.account.settle(num_bytes, mark_due=False)
            slot.account = None
