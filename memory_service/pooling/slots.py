"""The places of videos that are open, or being opened, created or dropped: a lock each, and who is inside."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from memory_service.errors import Unavailable
from memory_service.pooling.hot import HotSet
from memory_service.pooling.quota import Account
from memory_service.types import VideoKey
from memory_service.video import Video


class Slot:
    """The place of one video; its lock serialises opening, creating, dropping and cooling.

    `users` are inside a verb of the video; `account` has its bytes while it is open.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.video: Video | None = None
        self.account: Account | None = None
        self.users = 0


class Slots:
    """All slots. Safe for threads; its own lock is held for moments, never while a disk is waited for."""

    def __init__(self, hot: HotSet) -> None:
        """`hot` is told of every use."""
        self._hot = hot
        self._slots: dict[VideoKey, Slot] = {}
        self._lock = threading.Lock()
        self._closed = False
        self.opened = 0
        self.cooled = 0

    @contextmanager
    def locked(self, key: VideoKey) -> Iterator[Slot]:
        """The locked slot of a video; it is forgotten again when it is left without a video."""
        while True:
            with self._lock:
                self.check_open()
                slot = self._slots.setdefault(key, Slot())
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

    def pin(self, key: VideoKey) -> tuple[Slot, Video] | None:
        """One user more of a video that is open; None for one that is not."""
        with self._lock:
            slot = self._slots.get(key)
            if slot is None or slot.video is None:
                return None
            slot.users += 1
            self._hot.use(key)
            return slot, slot.video

    def unpin(self, key: VideoKey, slot: Slot, video: Video) -> bool:
        """One user less. Returns whether what is open exceeds a budget now."""
        with self._lock:
            slot.users -= 1
            if not slot.users and slot.video is video and not self._closed:
                self._hot.rest(key, video.memory_bytes, closable=not video.failed)
            return self._hot.exceeded

    def fill(self, key: VideoKey, slot: Slot, video: Video) -> None:
        """A video that was opened, into its locked slot. Nobody uses it yet."""
        with self._lock:
            slot.video = video
            self.opened += 1
            self._hot.use(key)
            self._hot.rest(key, video.memory_bytes, closable=True)

    def empty(self, key: VideoKey, slot: Slot) -> Video | None:
        """The video of a locked slot, open to nobody from now on; None if there is none or it is used."""
        with self._lock:
            if slot.users:
                self._hot.use(key)
                return None
            video, slot.video = slot.video, None
            self._hot.close(key)
            return video

    def clear(self, key: VideoKey, slot: Slot) -> None:
        """A locked slot whose video was dropped, whoever still uses it."""
        with self._lock:
            slot.video = None
            self._hot.close(key)

    def put_back(self, key: VideoKey, slot: Slot, video: Video, *, closable: bool) -> None:
        """Undo `empty`."""
        with self._lock:
            slot.video = video
            self._hot.use(key)
            self._hot.rest(key, video.memory_bytes, closable=closable)

    def next_to_close(self, keep: VideoKey | None) -> VideoKey | None:
        """The idle video that the hot set lets go of next, if any."""
        with self._lock:
            return self._hot.next_to_close(keep)

    def open_videos(self) -> Sequence[Video]:
        """Those that are open at this moment; none of them is used by this."""
        with self._lock:
            return [slot.video for slot in self._slots.values() if slot.video is not None]

    def check_open(self) -> None:
        """Raises Unavailable once the memory is closed."""
        if self._closed:
            raise Unavailable("the memory is closed")

    def close(self) -> Mapping[VideoKey, Slot]:
        """Let nobody in any more; returns the slots that there were."""
        with self._lock:
            self._closed = True
            slots, self._slots = self._slots, {}
            for key in slots:
                self._hot.close(key)
            return slots
