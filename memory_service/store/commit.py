"""Group commit: one thread that makes every changed reel durable within a fixed time."""

import logging
import threading
import time

from memory_service.errors import ServiceError
from memory_service.store.reel_file import ReelFile
from memory_service.workers import Worker

_log = logging.getLogger(__name__)

_PERIOD_S = 0.5
"""Longest time without a sign of life of a thread that has nothing to do."""


class GroupCommit:
    """Commits each reel given to `mark` within about `interval_s` seconds, or never. Safe for threads.

    A commit that fails poisons its reel, which says so to its next writer; other reels go on.
    """

    def __init__(self, interval_s: float | None) -> None:
        """Without an interval there is no thread, and reels are left to whoever commits or closes them."""
        self._interval_s = interval_s
        self._changed: dict[ReelFile, float] = {}
        self._committing: dict[ReelFile, float] = {}
        self._wake = threading.Condition()
        self._closing = False
        self._beat = time.monotonic()
        self._thread: threading.Thread | None = None
        if interval_s is not None:
            self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
            self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether what is marked will be committed; without an interval there is nothing that could die."""
        return self._thread is None or self._thread.is_alive()

    @property
    def workers(self) -> tuple[Worker, ...]:
        """Its thread, for a watchdog."""
        if self._thread is None:
            return ()
        period_s = _PERIOD_S + (self._interval_s or 0.0)
        return (Worker(self._thread.name, self._thread.is_alive(), self._beat, period_s),)

    @property
    def oldest_s(self) -> float:
        """How long the reel that waits longest has been waiting, seconds; 0 when nothing waits."""
        with self._wake:
            since = [*self._changed.values(), *self._committing.values()]
        return time.monotonic() - min(since) if since else 0.0

    def mark(self, reel: ReelFile) -> None:
        """Have `reel` committed soon."""
        if self._thread is None:
            return
        with self._wake:
            if not self._changed:
                self._wake.notify()
            self._changed.setdefault(reel, time.monotonic())

    def close(self) -> None:
        """Commit what is marked and end the thread."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._beat = time.monotonic()
                if not self._wake.wait_for(lambda: self._changed or self._closing, _PERIOD_S):
                    continue
                if not self._changed:
                    return
                if not self._closing:
                    self._wake.wait_for(lambda: self._closing, self._interval_s)
                self._committing, self._changed = self._changed, {}
            self._commit_all()
            self._committing = {}  # and no reel is referred to: one that is dropped gives its space back

    def _commit_all(self) -> None:
        started = time.perf_counter()
        for reel in self._committing:
            self._beat = time.monotonic()
            if reel.closed:
                continue
            try:
                reel.commit()
            except ServiceError as exc:
                _log.error("commit failed path=%s reason=%s", reel.path, exc)
        ms = 1e3 * (time.perf_counter() - started)
        _log.debug("committed reels=%d ms=%.1f", len(self._committing), ms)
