"""How long the disk takes: every fdatasync of a reel in this process, counted."""

import os
import threading
import time
from collections.abc import Sequence
from itertools import accumulate

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper ends of the classes of durations, seconds; one more class has no end."""


class Durations:
    """Counts of durations by class, and their sum. Safe for threads; one `add` costs about a microsecond."""

    def __init__(self, bounds_s: Sequence[float]) -> None:
        self.bounds_s = tuple(bounds_s)
        self._counts = [0] * (len(self.bounds_s) + 1)
        self._sum_s = 0.0
        self._lock = threading.Lock()

    def add(self, duration_s: float) -> None:
        """Count one."""
        place = sum(bound < duration_s for bound in self.bounds_s)
        with self._lock:
            self._counts[place] += 1
            self._sum_s += duration_s

    def totals(self) -> tuple[list[int], float]:
        """For each bound and for infinity the number of durations up to it, and the sum of all in seconds."""
        with self._lock:
            return list(accumulate(self._counts)), self._sum_s


SYNCS = Durations(BOUNDS_S)
"""Of this process, whatever memory a reel belongs to: it is the disk that is measured."""


def fdatasync(fd: int) -> None:
    """os.fdatasync, counted in `SYNCS` whether it succeeds or not. Raises OSError."""
    started = time.perf_counter()
    try:
        os.fdatasync(fd)
    finally:
        SYNCS.add(time.perf_counter() - started)
