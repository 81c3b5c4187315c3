"""Time to live: videos that nobody has named for so long are dropped, by a thread of its own."""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from memory_service.errors import ServiceError
from memory_service.types import VideoKey
from memory_service.workers import Worker

_log = logging.getLogger(__name__)

_TICK_S = 0.25
_LONGEST_TICK_S = 2.0
"""A longer gap between two looks at the clock is time in which the process stood still and served no
heartbeat: it does not count. A single drop that takes longer looks the same; videos then live longer."""


@dataclass(slots=True)
class _Pool:
    """`touched` has when each video was last named, the longest ago first; all others were at `since`, None
    once there are no others."""

    ttl_s: float
    since: float | None
    touched: dict[str, float] = field(default_factory=dict)


class Expiry:
    """When each video was last named, and the thread that drops what is due. Safe for threads.

    Time is that of `clock`, a steady one, without the stretches in which the process stood still. Videos that
    were not named since the start, or since the pool got its time to live, cost nothing here.
    """

    def __init__(
        self,
        names: Callable[[str], Iterable[VideoKey]],
        expire: Callable[[VideoKey, Callable[[], bool]], bool],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`names` lists a pool. `expire` drops a video if it is idle and, asked at that moment, still due."""
        self._names = names
        self._expire = expire
        self._clock = clock
        self._stood_still_s = 0.0
        self._last_tick = clock()
        self._beat = time.monotonic()
        self._pools: dict[str, _Pool] = {}
        self._lock = threading.Lock()
        self._sweeping = threading.Lock()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="expiry", daemon=True)

    def start(self) -> None:
        """Expire from now on."""
        self._last_tick = self._clock()
        self._thread.start()

    @property
    def worker(self) -> Worker:
        """The thread, for a watchdog."""
        return Worker(self._thread.name, self._thread.is_alive(), self._beat, _TICK_S)

    def allow(self, pool: str, ttl_ms: int) -> None:
        """From now on videos of a pool live so long after they were last named; 0 is for ever."""
        with self._lock:
            if not ttl_ms:
                self._pools.pop(pool, None)
            elif pool in self._pools:
                self._pools[pool].ttl_s = ttl_ms / 1000
            else:
                self._pools[pool] = _Pool(ttl_ms / 1000, self._now())

    def touch(self, key: VideoKey) -> None:
        """A video that is there was named just now."""
        if key.pool not in self._pools:
            return
        with self._lock:
            pool = self._pools.get(key.pool)
            if pool is not None:
                pool.touched.pop(key.video, None)
                pool.touched[key.video] = self._now()

    def forget(self, key: VideoKey) -> None:
        """A video that was dropped."""
        if key.pool in self._pools:
            with self._lock:
                if pool := self._pools.get(key.pool):
                    pool.touched.pop(key.video, None)

    def sweep(self) -> None:
        """Drop what is due. The thread does so by itself; one sweep at a time."""
        with self._sweeping:
            with self._lock:
                self._now()
            for name in list(self._pools):
                for key in self._due(name):
                    if self._closing.is_set():
                        return
                    self._beat = time.monotonic()
                    self._drop(key)

    def close(self) -> None:
        """End the thread; idempotent."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._closing.wait(_TICK_S):
            self._beat = time.monotonic()
            try:
                self.sweep()
            except Exception:
                _log.exception("sweep failed, trying again")

    def _now(self) -> float:
        """The time by which videos live, under the lock: every look at the clock may find a standstill."""
        now = self._clock()
        gap = now - self._last_tick
        self._last_tick = now
        if gap > _LONGEST_TICK_S:
            self._stood_still_s += gap - _TICK_S
            _log.warning("stood still s=%.1f: nothing expires for it", gap)
        return now - self._stood_still_s

    def _due(self, name: str) -> Iterator[VideoKey]:
        """The videos of a pool that are due now."""
        with self._lock:
            pool = self._pools.get(name)
            if pool is None:
                return
            before = self._now() - pool.ttl_s
            due = []
            for video, at in pool.touched.items():
                if at > before:
                    break
                due.append(VideoKey(name, video))
            untouched = pool.since is not None and pool.since <= before
        yield from due
        if untouched:
            for key in list(self._names(name)):
                if self._is_due(key):
                    yield key
            pool.since = None

    def _is_due(self, key: VideoKey) -> bool:
        with self._lock:
            pool = self._pools.get(key.pool)
            if pool is None:
                return False
            at = pool.touched.get(key.video, pool.since)
            return at is not None and at <= self._now() - pool.ttl_s

    def _drop(self, key: VideoKey) -> None:
        try:
            dropped = self._expire(key, lambda: self._is_due(key))
        except ServiceError as exc:
            _log.error("video not expired pool=%s video=%s reason=%s", key.pool, key.video, exc)
            dropped = False
        if not dropped:
            self.touch(key)
