"""The videos of one memory: opened on first use, one at a time each, closed together."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import islice

from memory_service.errors import DataLoss, Fenced, NotFound, ServiceError, Unavailable
from memory_service.events import Events
from memory_service.expiry import Expiry
from memory_service.hot import HotSet
from memory_service.index.base import Index
from memory_service.quota import Account, Ledger
from memory_service.shares import SharedReel, Shares
from memory_service.store.commit import GroupCommit
from memory_service.store.files import FileStore
from memory_service.store.scan import Recovery
from memory_service.types import EventKind, VideoInfo, VideoKey
from memory_service.video import Video

_log = logging.getLogger(__name__)


class _Slot:
    """The place of one video; its lock serialises opening, creating, dropping and cooling.

    `users` are inside a verb of the video; `account` has its bytes while it is open.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.video: Video | None = None
        self.account: Account | None = None
        self.users = 0


class Videos:
    """Open and cold videos of one store. Safe for threads; opening one video does not hold up another.

    How many stay open, and which is closed for the next, `hot` says. Every byte and video is booked in
    `ledger`, and what happens to a video is published in `events`.
    """

    def __init__(
        self,
        store: FileStore,
        index: Index,
        commit: GroupCommit | None,
        *,
        hot: HotSet,
        ledger: Ledger,
        shares: Shares,
        expiry: Expiry,
        events: Events,
        entered: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        """`commit` is None where nothing is ever written; `entered` makes a pool and holds it."""
        self._store = store
        self._index = index
        self._commit = commit
        self._hot = hot
        self._ledger = ledger
        self._shares = shares
        self._expiry = expiry
        self._events = events
        self._entered = entered
        self._slots: dict[VideoKey, _Slot] = {}
        self._lock = threading.Lock()
        self._closed = False
        self.recoveries: list[Recovery] = []
        self.opened = 0
        self.cooled = 0

    @contextmanager
    def use(self, key: VideoKey) -> Iterator[Video]:
        """The video, opened and verified if it was cold; it stays open, and does not expire, in the `with`.

        Raises NotFound, DataLoss, Unavailable.
        """
        slot, video = self._pinned(key)
        try:
            yield video
        except Fenced:
            with suppress(ServiceError):
                self._events.publish(EventKind.FENCED, key, video.info().state)
            raise
        finally:
            self._unpin(key, slot, video)

    def get_or_make(
        self,
        key: VideoKey,
        kind: EventKind,
        num_bytes: int,
        make: Callable[[], None],
        shared: Sequence[SharedReel] = (),
    ) -> tuple[VideoInfo, bool]:
        """The video that is there under `key`, or else the one whose files `make` brings into being.

        `num_bytes` is what its own reel will hold, `shared` the reels of others, `kind` the event. A pool
        that is not there is made. Returns the video and whether it is new. Raises Exhausted and what `make`
        raises: there is no video then.
        """
        with self._entered(key.pool), self._slot(key) as slot:
            try:
                video, new = self._opened(key, slot), False
            except NotFound:
                self._shares.link(key, shared)
                try:
                    with self._ledger.booked(key.pool, num_bytes, 1):
                        make()
                except BaseException:
                    self._shares.unlink(key)
                    raise
                video, new = self._opened(key, slot, num_bytes), True
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
        """Forget a video, readable or not. Raises NotFound, Unavailable."""
        with self._slot(key) as slot:
            self._drop(key, slot, EventKind.DROPPED)

    def drop_all(self, pool: str) -> None:
        """Forget all videos of a pool, readable or not. Raises Unavailable."""
        for key in self._store.keys(pool):
            with suppress(NotFound):
                self.drop(key)

    def expire(self, key: VideoKey, due: Callable[[], bool]) -> bool:
        """Drop a video that nobody is using and that is still `due`. Returns whether it is gone.

        Raises Unavailable.
        """
        try:
            with self._slot(key) as slot:
                if slot.users or not due():
                    return False
                self._drop(key, slot, EventKind.EXPIRED)
        except NotFound:
            return True
        _log.warning("video expired pool=%s video=%s", key.pool, key.video)
        return True

    def touch(self, key: VideoKey) -> bool:
        """Keep a video alive, cold or not. Returns whether it is there."""
        with self._slot(key) as slot:
            try:
                if slot.video is None:
                    self._store.stat(key)
            except NotFound:
                return False
            self._expiry.touch(key)
            return True

    def list(self, pool: str, after: str, limit: int | None) -> Sequence[VideoInfo]:
        """Videos of a pool by name; what cannot be read is logged and left out.

        Cold ones stay cold, but for those that a crash left with frames to be made durable.
        """
        self.check_open()
        found = (info for key in self._store.keys(pool, after) if (info := self._glance(key)) is not None)
        return list(islice(found, limit))

    def keys(self, pool: str) -> Sequence[VideoKey]:
        """All videos of a pool by name, readable or not."""
        self.check_open()
        return list(self._store.keys(pool))

    def open_videos(self) -> Sequence[Video]:
        """Those that are open at this moment. It uses none of them: they cool and expire as if not seen."""
        with self._lock:
            return [slot.video for slot in self._slots.values() if slot.video is not None]

    def close(self) -> None:
        """Close all; every verb raises Unavailable from now on. Raises what closing a video raises."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            slots, self._slots = self._slots, {}
        failures: list[ServiceError] = []
        for key, slot in slots.items():
            with slot.lock:
                with self._lock:
                    video, slot.video = slot.video, None
                    self._hot.close(key)
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
        if self._closed:
            raise Unavailable("the memory is closed")

    @contextmanager
    def _slot(self, key: VideoKey) -> Iterator[_Slot]:
        """The locked slot of a video; it is forgotten again when it is left without a video."""
        while True:
            with self._lock:
                self.check_open()
                slot = self._slots.setdefault(key, _Slot())
            with slot.lock:
                if self._slots.get(key) is not slot:
                    continue
                try:
                    yield slot
                finally:
                    if slot.video is None:
                        with self._lock:
                            self._slots.pop(key, None)
                return

    def _pinned(self, key: VideoKey) -> tuple[_Slot, Video]:
        """The slot, counting one more user, and its video."""
        with self._lock:
            slot = self._slots.get(key)
            if slot is not None and slot.video is not None:
                slot.users += 1
                self._hot.use(key)
                return slot, slot.video
        with self._slot(key) as slot:
            video = self._opened(key, slot)
            with self._lock:
                slot.users += 1
                self._hot.use(key)
        self._cool()
        return slot, video

    def _unpin(self, key: VideoKey, slot: _Slot, video: Video) -> None:
        """One user less; a video that has grown past its pool's share closes others."""
        self._expiry.touch(key)
        with self._lock:
            slot.users -= 1
            if slot.users or slot.video is not video:
                return
            self._hot.rest(key, video.memory_bytes, closable=not video.failed)
        self._cool(keep=key)

    def _cool(self, keep: VideoKey | None = None) -> None:
        """Close idle videos until the budgets are kept, or nothing but `keep` and videos in use is left."""
        while True:
            with self._lock:
                key = self._hot.next_to_close(keep)
            if key is None:
                return
            try:
                with self._slot(key) as slot:
                    self._close_idle(key, slot)
            except Unavailable:
                return  # the memory is closing, and closes them all

    def _close_idle(self, key: VideoKey, slot: _Slot) -> None:
        """Close a video unless it is in use again, or its last frames cannot be made durable."""
        with self._lock:
            video = slot.video
            if video is None or slot.users:
                self._hot.use(key)
                return
            slot.video = None
        try:
            video.commit()
        except ServiceError as exc:
            _log.error("video kept open pool=%s video=%s reason=%s", key.pool, key.video, exc)
            with self._lock:
                slot.video = video
                self._hot.rest(key, video.memory_bytes, closable=False)
            return
        try:
            video.close()
        except ServiceError as exc:  # everything in it is durable: only space was not given back
            _log.error("video closed badly pool=%s video=%s reason=%s", key.pool, key.video, exc)
        with self._lock:
            self.cooled += 1
            self._hot.close(key)
        self._settle_account(key, slot)

    def _opened(self, key: VideoKey, slot: _Slot, num_bytes: int | None = None) -> Video:
        """The video of a slot, opened if it was cold; `num_bytes` are booked for it, None: its size."""
        if slot.video is None:
            if num_bytes is None:
                num_bytes = self._store.stat(key).st_size
            slot.account = Account(self._ledger, key.pool, num_bytes)
            try:
                reel, found = self._store.open(key, slot.account)
            except ServiceError:
                self._settle_account(key, slot)
                raise
            if found.recovery is not None:
                self.recoveries.append(found.recovery)
            mark = None if self._commit is None else self._commit.mark
            bases = self._store.bases(key, found)
            video = Video(reel, found, self._index, mark, self._events, bases)
            with self._lock:
                self.opened += 1
                slot.video = video
                self._hot.use(key)
                if not slot.users:
                    self._hot.rest(key, video.memory_bytes, closable=True)
        return slot.video

    def _drop(self, key: VideoKey, slot: _Slot, kind: EventKind) -> None:
        """Drop the video of a locked slot."""
        stat = self._store.stat(key)
        num_bytes = stat.st_size
        if slot.video is None:
            self._store.drop(key)
            self._ledger.correct(key.pool, -num_bytes, -1)
        else:
            kept = self._shares.is_shared(stat.st_ino)
            num_bytes = slot.video.drop(lambda: self._store.drop(key), kept=kept)
            with self._lock:
                slot.video = None
                self._hot.close(key)
            self._settle_account(key, slot)
            self._ledger.correct(key.pool, 0, -1)
        self._shares.unlink(key)
        self._shares.orphan(stat.st_ino, num_bytes)
        self._expiry.forget(key)
        self._events.publish(kind, key)

    def _settle_account(self, key: VideoKey, slot: _Slot) -> None:
        """Book a video that is not open any more with the size of its file."""
        if slot.account is not None:
            try:
                num_bytes = self._store.stat(key).st_size
            except NotFound:
                num_bytes = 0
            slot.account.settle(num_bytes, mark_due=False)
            slot.account = None

    def _glance(self, key: VideoKey) -> VideoInfo | None:
        try:
            with self._slot(key) as slot:
                if slot.video is not None:
                    return slot.video.info()
                there, _ = self._store.peek(key)
                if self._commit is None or there.state.durable == there.state.length:
                    return there
                settled = self._settled(key, slot, there)
            self._cool()
            return settled
        except NotFound:
            return None
        except (DataLoss, Unavailable) as exc:
            _log.error("video left out of list pool=%s video=%s reason=%s", key.pool, key.video, exc)
            return None

    def _settled(self, key: VideoKey, slot: _Slot, there: VideoInfo) -> VideoInfo:
        """A cold video of which a former process left frames that are not durable: opening commits them."""
        try:
            return self._opened(key, slot).info()
        except ServiceError as exc:
            _log.error("video not settled pool=%s video=%s reason=%s", key.pool, key.video, exc)
            return there
