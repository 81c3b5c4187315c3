"""The videos of one memory: opened on first use, one at a time each, closed together."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count

from memory_service.errors import DataLoss, NotFound, ServiceError, Unavailable
from memory_service.index.base import Index
from memory_service.reel import Kind
from memory_service.store.commit import GroupCommit
from memory_service.store.files import FileStore
from memory_service.store.scan import Recovery, Scan
from memory_service.types import VideoInfo, VideoKey, VideoState
from memory_service.video import Video

_log = logging.getLogger(__name__)


class _Slot:
    """The place of one video; its lock serialises opening, creating, dropping and cooling.

    `users` are inside a verb of the video; `turn` grows with each use.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.video: Video | None = None
        self.users = 0
        self.turn = 0


class Videos:
    """Open and cold videos of one store. Safe for threads; opening one video does not hold up another.

    About `max_hot` videos stay open, which bounds open files and memory: the one that was used the longest
    ago is closed for the next, and opened again when it is asked for.
    """

    def __init__(self, store: FileStore, index: Index, commit: GroupCommit | None, *, max_hot: int) -> None:
        """`commit` is None where nothing is ever written."""
        self._store = store
        self._max_hot = max_hot
        self._turns = count(1)
        self._index = index
        self._commit = commit
        self._slots: dict[VideoKey, _Slot] = {}
        self._lock = threading.Lock()
        self._closed = False
        self.recoveries: list[Recovery] = []

    @property
    def hot(self) -> int:
        """Number of videos that are open."""
        return sum(slot.video is not None for slot in list(self._slots.values()))

    @contextmanager
    def use(self, key: VideoKey) -> Iterator[Video]:
        """The video, opened and verified if it was cold; it stays open inside the `with`.

        Raises NotFound, DataLoss, Unavailable.
        """
        slot, video = self._pinned(key)
        try:
            yield video
        finally:
            with self._lock:
                slot.users -= 1

    def get_or_create(self, info: VideoInfo) -> VideoInfo:
        """The video that is there under the key of `info`, or else the one that `info` describes."""
        with self._slot(info.key) as slot:
            try:
                video = self._opened(info.key, slot)
            except NotFound:
                self._store.create(info)
                video = self._opened(info.key, slot)
            there = video.info()
        self._cool()
        return there

    def drop(self, key: VideoKey) -> None:
        """Forget a video, readable or not. Raises NotFound, Unavailable."""
        with self._slot(key) as slot:
            if slot.video is None:
                self._store.drop(key)
            else:
                slot.video.drop(lambda: self._store.drop(key))
                slot.video = None

    def list(self, pool: str) -> Sequence[VideoInfo]:
        """Videos of a pool by name; what cannot be read is logged and left out.

        Cold ones stay cold, but for those that a crash left with frames to be made durable.
        """
        self.check_open()
        return [info for key in self._store.keys(pool) if (info := self._glance(key)) is not None]

    def close(self) -> None:
        """Close all; every verb raises Unavailable from now on. Raises what closing a video raises."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            slots, self._slots = self._slots, {}
        failures: list[ServiceError] = []
        for slot in slots.values():
            with slot.lock:
                try:
                    if slot.video is not None:
                        slot.video.close()
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
                slot.turn = next(self._turns)
                return slot, slot.video
        with self._slot(key) as slot:
            video = self._opened(key, slot)
            with self._lock:
                slot.users += 1
        self._cool()
        return slot, video

    def _cool(self) -> None:
        """Close idle videos, the longest unused first, until at most `max_hot` are open or all are in use."""
        while self.hot > self._max_hot and (key := self._idle()) is not None:
            with self._slot(key) as slot:
                with self._lock:
                    video = slot.video
                    if video is None or slot.users:
                        continue
                    slot.video = None
                try:
                    video.commit()
                    video.close()
                except ServiceError as exc:
                    _log.error("video kept open pool=%s video=%s reason=%s", key.pool, key.video, exc)
                    slot.video = video

    def _idle(self) -> VideoKey | None:
        """The video that was used the longest ago, unless its reel has failed: that must not be forgotten."""
        with self._lock:
            turns = {
                key: slot.turn
                for key, slot in self._slots.items()
                if slot.video is not None and not slot.users and not slot.video.failed
            }
        return min(turns, key=turns.__getitem__, default=None)

    def _opened(self, key: VideoKey, slot: _Slot) -> Video:
        if slot.video is None:
            reel, found = self._store.open(key)
            if found.recovery is not None:
                self.recoveries.append(found.recovery)
            mark = None if self._commit is None else self._commit.mark
            slot.video = Video(reel, found, self._index, mark)
            slot.turn = next(self._turns)
        return slot.video

    def _glance(self, key: VideoKey) -> VideoInfo | None:
        try:
            with self._slot(key) as slot:
                if slot.video is not None:
                    return slot.video.info()
                info, found = self._store.peek(key)
                there = replace(info, state=_state(info.state.epoch, found))
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


def _state(epoch: int, found: Scan) -> VideoState:
    """Where a cold video stands."""
    blocks = [record for record in found.records if record.prefix.kind == Kind.BLOCK]
    return VideoState(
        epoch=epoch,
        length=sum(record.header["n"] for record in blocks),
        durable=sum(record.header["n"] for record in blocks if record.end <= found.durable),
    )
