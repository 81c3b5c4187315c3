"""Group commit: a few threads that make every changed reel durable within a fixed time."""

import logging
import threading
import time
from collections import deque
from itertools import islice
from pathlib import Path

from memory_service.errors import ServiceError
from memory_service.store.reel_file import ReelFile
from memory_service.workers import Worker

_log = logging.getLogger(__name__)

_NUM_THREADS = 4
"""A disk takes several fdatasyncs together in about the time of one."""

_PERIOD_S = 0.5
"""Longest time without a sign of life of a thread that has nothing to do."""


class GroupCommit:
    """Commits each reel given to `mark` within about `interval_s` seconds, or never. Safe for threads.

    Pools take turns, reel by reel: one with thousands of changed reels does not hold up another. A commit
    that fails poisons its reel, which says so to its next writer; other reels go on.
    """

    def __init__(self, interval_s: float | None) -> None:
        """Without an interval there are no threads, and reels are left to whoever commits or closes them."""
        self._interval_s = interval_s or 0.0
        self._waiting: dict[ReelFile, float] = {}
        self._early: deque[ReelFile] = deque()
        self._due: dict[Path, deque[ReelFile]] = {}
        self._since: list[float | None] = [None] * _NUM_THREADS
        self._beats = [time.monotonic()] * _NUM_THREADS
        self._wake = threading.Condition(threading.Lock())
        self._closing = False
        self._threads: list[threading.Thread] = []
        for number in range(0 if interval_s is None else _NUM_THREADS):
            name = f"group-commit-{number}"
            self._threads.append(threading.Thread(target=self._run, args=(number,), name=name, daemon=True))
            self._threads[-1].start()

    @property
    def workers(self) -> tuple[Worker, ...]:
        """Its threads, for a watchdog."""
        return tuple(
            Worker(thread.name, thread.is_alive(), beat, _PERIOD_S)
            for thread, beat in zip(self._threads, self._beats, strict=False)
        )

    @property
    def oldest_s(self) -> float:
        """How long the reel that waits longest has been waiting, seconds; 0 when nothing waits."""
        with self._wake:
            since = [*(at for at in self._since if at is not None), *islice(self._waiting.values(), 1)]
        return time.monotonic() - min(since) if since else 0.0

    def mark(self, reel: ReelFile) -> None:
        """Have `reel` committed soon."""
        if not self._threads or reel in self._waiting:
            return  # who waits has not been looked at yet, and is committed with all that it has by then
        with self._wake:
            if reel in self._waiting:
                return
            if not self._waiting:
                self._wake.notify()
            self._waiting[reel] = time.monotonic()
            self._early.append(reel)

    def close(self) -> None:
        """Commit what is marked and end the threads."""
        with self._wake:
            self._closing = True
            self._wake.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        while (reel := self._next(number)) is not None:
            try:
                if not reel.closed:
                    reel.commit()
            except ServiceError as exc:
                _log.error("commit failed path=%s reason=%s", reel.path, exc)
            except Exception:
                _log.exception("commit failed path=%s", reel.path)
            self._since[number] = None
            del reel  # it is not referred to while nothing is to be done: a dropped one gives its space back

    def _next(self, number: int) -> ReelFile | None:
        """The reel whose turn it is, as soon as it is due; None at the end."""
        with self._wake:
            while True:
                self._beats[number] = time.monotonic()
                self._look_who_is_due()
                if self._due:
                    return self._take(number)
                if self._closing and not self._early:
                    return None
                self._wake.wait(self._pause_s())

    def _look_who_is_due(self) -> None:
        """Reels are marked in the order in which they become due."""
        now = time.monotonic()
        while self._early and (self._closing or self._waiting[self._early[0]] + self._interval_s <= now):
            reel = self._early.popleft()
            self._due.setdefault(reel.path.parent, deque()).append(reel)

    def _take(self, number: int) -> ReelFile:
        """The oldest reel of the pool whose turn it is; that pool comes last then."""
        pool = next(iter(self._due))
        reels = self._due.pop(pool)
        reel = reels.popleft()
        if reels:
            self._due[pool] = reels
        if self._due:
            self._wake.notify()
        self._since[number] = self._waiting.pop(reel)
        return reel

    def _pause_s(self) -> float:
        if not self._early:
            return _PERIOD_S
        due_s = self._waiting[self._early[0]] + self._interval_s - time.monotonic()
        return min(_PERIOD_S, max(0.0, due_s))
