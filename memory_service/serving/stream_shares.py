"""Streams that are open, by class and pool: one pool leaves a quarter of each class to the others."""

import threading
from collections import Counter
from collections.abc import Mapping

from memory_service.serving.admission import LANES, Lane, overloaded

_RETRY_MS = 1000


class StreamShares:
    """Counts streams from their first message, which names the pool, to their end. Safe for threads."""

    def __init__(self, lanes: Mapping[Lane, int]) -> None:
        """`lanes` has how many streams of each class may be open; classes that it lacks are free."""
        self._most = {lane: max(1, most - most // 4) for lane, most in lanes.items()}
        self._open: Counter[tuple[Lane, str]] = Counter()
        self._lock = threading.Lock()

    def enter(self, method: str, pool: str) -> None:
        """Count one more. Raises Overloaded where the pool has its share."""
        lane = LANES.get(method, Lane.CALLS)
        if lane not in self._most:
            return
        with self._lock:
            if self._open[lane, pool] >= self._most[lane]:
                raise overloaded(
                    f"pool {pool} has {self._most[lane]} {lane.replace('_', ' ')} open",
                    expected=f"at most {self._most[lane]} of one pool at a time",
                    retry_after_ms=_RETRY_MS,
                )
            self._open[lane, pool] += 1

    def leave(self, method: str, pool: str) -> None:
        """One that was counted has ended."""
        lane = LANES.get(method, Lane.CALLS)
        if lane not in self._most:
            return
        with self._lock:
            self._open[lane, pool] -= 1
            if not self._open[lane, pool]:
                del self._open[lane, pool]
