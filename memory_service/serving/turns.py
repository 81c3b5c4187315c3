"""Whose call is at work: a bounded number at a time, pools in turn, no pool with all of it."""

import threading
from collections import deque

from memory_service.cancellation import Cancellation
from memory_service.errors import DeadlineExceeded
from memory_service.serving.admission import overloaded

_SHORTEST_RETRY_MS, _LONGEST_RETRY_MS = 20, 5_000
_SMOOTHING = 0.05
"""Weight of the newest call in the mean time that a call is at work."""


class _Waiter:
    __slots__ = ("granted", "ready")

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.granted = False


class Turns:
    """Turns to be at work, with one queue per pool and the queues served round-robin. Safe for threads.

    One pool holds at most three quarters of the turns and of the places to wait, so that another pool's call
    finds a turn free, or is next.
    """

    def __init__(self, *, max_running: int, max_waiting: int) -> None:
        self._max_running = max_running
        self._max_waiting = max_waiting
        self._lock = threading.Lock()
        self._running: dict[str, int] = {}
        self._waiting: dict[str, deque[_Waiter]] = {}
        self._num_running = 0
        self._num_waiting = 0
        self._mean_s = 0.0

    @property
    def running(self) -> int:
        """Calls that are at work."""
        return self._num_running

    @property
    def waiting(self) -> int:
        """Calls that wait for their turn."""
        return self._num_waiting

    def enter(self, pool: str, cancellation: Cancellation) -> None:
        """Wait for a turn, which `leave` gives back.

        Raises Overloaded when too many wait, and what ends the call while it does.
        """
        with self._lock:
            if pool not in self._waiting and self._may_run(pool):
                self._start(pool)
                return
            waiter = self._queued(pool)
        with cancellation.waking(waiter.ready.set):
            waiter.ready.wait(cancellation.remaining_s)
        with self._lock:
            if waiter.granted:
                return
            self._forget(pool, waiter)
        cancellation.check()
        raise DeadlineExceeded("the deadline was over before it was the call's turn")

    def leave(self, pool: str, seconds: float) -> None:
        """Give back a turn that was held for so long."""
        with self._lock:
            self._mean_s += _SMOOTHING * (seconds - self._mean_s)
            self._num_running -= 1
            self._running[pool] -= 1
            if not self._running[pool]:
                del self._running[pool]
            self._grant()

    def _may_run(self, pool: str) -> bool:
        mine = self._running.get(pool, 0)
        return self._num_running < self._max_running and mine < _share(self._max_running)

    def _start(self, pool: str) -> None:
        self._num_running += 1
        self._running[pool] = self._running.get(pool, 0) + 1

    def _queued(self, pool: str) -> _Waiter:
        mine = len(self._waiting.get(pool, ()))
        if self._num_waiting >= self._max_waiting or mine >= _share(self._max_waiting):
            whose = "all pools" if self._num_waiting >= self._max_waiting else "this pool"
            raise overloaded(
                f"{self._num_waiting} calls wait for their turn, {mine} of this pool",
                expected=f"fewer calls of {whose} at a time",
                retry_after_ms=self._retry_after_ms(),
            )
        waiter = _Waiter()
        self._waiting.setdefault(pool, deque()).append(waiter)
        self._num_waiting += 1
        return waiter

    def _grant(self) -> None:
        """Give the free turn to the pool that has waited longest for one, if it may have it."""
        pool = next((pool for pool in self._waiting if self._may_run(pool)), None)
        if pool is None:
            return
        queue = self._waiting.pop(pool)
        waiter = queue.popleft()
        if queue:
            self._waiting[pool] = queue  # now the last in line
        self._num_waiting -= 1
        self._start(pool)
        waiter.granted = True
        waiter.ready.set()

    def _forget(self, pool: str, waiter: _Waiter) -> None:
        queue = self._waiting[pool]
        queue.remove(waiter)
        if not queue:
            del self._waiting[pool]
        self._num_waiting -= 1

    def _retry_after_ms(self) -> int:
        """When those who wait now should be done."""
        expected_ms = 1e3 * self._mean_s * (self._num_waiting + 1) / self._max_running
        return round(min(max(expected_ms, _SHORTEST_RETRY_MS), _LONGEST_RETRY_MS))


def _share(total: int) -> int:
    """What one pool may have of it."""
    return total - total // 4
