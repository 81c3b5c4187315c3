"""What happens in the memory, told to whoever asked: listeners at once, watchers at their own pace.

Whoever changes a video publishes the event under the lock that ordered the change, so that the events of one
video come in their order. Publishing never waits: a watcher that does not keep up loses events, and is told.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Self

from memory_service.errors import Overloaded
from memory_service.types import Event, EventKind, Retrieval, VideoKey, VideoState

_log = logging.getLogger(__name__)

_RETRY_AFTER_MS = 1000

Listener = Callable[[Event], None]


class Watcher:
    """The events of one pool or one video, as an iterator; WATCHING first. `close` ends it, from any thread.

    At most `max_queued` events wait; what comes while the queue is full is dropped, and LOST stands there.
    """

    def __init__(self, pool: str, video: str, max_queued: int, closed: Callable[["Watcher"], None]) -> None:
        """`video` empty: all of the pool. `closed` is called when it has ended."""
        self._pool = pool
        self._video = video
        self._max_queued = max_queued
        self._closed = closed
        self._queue: deque[Event] = deque(
            [_event(EventKind.WATCHING, VideoKey(pool, video) if video else None)]
        )
        self._lost = 0
        self._ended = False
        self._ready = threading.Condition(threading.Lock())

    def offer(self, event: Event) -> None:
        """Queue an event that it watches for, or count it as lost; never waits."""
        key = event.key
        if key is None or key.pool != self._pool or (self._video and key.video != self._video):
            return
        with self._ready:
            if len(self._queue) >= self._max_queued:
                self._lost += 1
                return
            self._tell_lost()
            self._queue.append(event)
            self._ready.notify()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        with self._ready:
            self._ready.wait_for(lambda: self._queue or self._lost or self._ended)
            if self._ended:
                raise StopIteration
            if not self._queue:
                self._tell_lost()
            return self._queue.popleft()

    def close(self) -> None:
        """End it; idempotent. What is queued is forgotten."""
        with self._ready:
            self._ended = True
            self._queue.clear()
            self._ready.notify_all()
        self._closed(self)

    def _tell_lost(self) -> None:
        if self._lost:
            self._queue.append(_event(EventKind.LOST, lost=self._lost))
            self._lost = 0


class Events:
    """The hub of one memory. Safe for threads.

    Listeners are called by the thread that made the change, under the video's lock: they must be quick and
    must not call the memory. An error in one is logged and harms nobody else.
    """

    def __init__(self, *, max_watchers: int = 64, max_queued: int = 1024) -> None:
        self._max_watchers = max_watchers
        self._max_queued = max_queued
        self._listeners: tuple[Listener, ...] = ()
        self._watchers: tuple[Watcher, ...] = ()
        self._lock = threading.Lock()

    def publish(
        self,
        kind: EventKind,
        key: VideoKey,
        state: VideoState | None = None,
        *,
        retrieval: Retrieval | None = None,
    ) -> None:
        """Tell everybody. Costs nothing when nobody listens; never waits and raises nothing."""
        listeners, watchers = self._listeners, self._watchers
        if not listeners and not watchers:
            return
        event = _event(kind, key, state, retrieval=retrieval)
        for listener in listeners:
            try:
                listener(event)
            except Exception:
                _log.exception("listener failed event=%s pool=%s video=%s", kind, key.pool, key.video)
        for watcher in watchers:
            watcher.offer(event)

    def listen(self, listener: Listener) -> None:
        """Have `listener` called with every event from now on."""
        with self._lock:
            self._listeners += (listener,)

    def watch(self, pool: str, video: str = "") -> Watcher:
        """The events of a pool, or of one video of it, from now on. Raises Overloaded."""
        watcher = Watcher(pool, video, self._max_queued, self._forget)
        with self._lock:
            if len(self._watchers) >= self._max_watchers:
                raise Overloaded(
                    f"there are {len(self._watchers)} watchers already",
                    expected=f"at most {self._max_watchers} at a time; try again when one is done",
                    details={"retry_after_ms": str(_RETRY_AFTER_MS)},
                )
            self._watchers += (watcher,)
        return watcher

    def close(self) -> None:
        """End all watchers."""
        for watcher in self._watchers:
            watcher.close()

    def _forget(self, ended: Watcher) -> None:
        with self._lock:
            self._watchers = tuple(watcher for watcher in self._watchers if watcher is not ended)


def _event(
    kind: EventKind,
    key: VideoKey | None = None,
    state: VideoState | None = None,
    *,
    retrieval: Retrieval | None = None,
    lost: int = 0,
) -> Event:
    return Event(kind, time.time_ns() // 1_000_000, key, state, retrieval, lost)
