"""Watches every background thread; when one has died, the server says that it does not serve any more."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from memory_service.workers import Worker

_log = logging.getLogger(__name__)

GRACE_S = 10.0
"""How much later than its period a sign of life may come: a disk that hangs for seconds is no death yet."""


class Watchdog:
    """Asks each interval whether all background threads are well; one that is not is logged once.

    `changed` is called with whether all are, from the watchdog's thread, whenever the answer has changed. The
    watchdog's own thread is looked at by whoever asks for `well`.
    """

    def __init__(
        self,
        workers: Callable[[], Sequence[Worker]],
        changed: Callable[[bool], None],
        *,
        interval_s: float = 1.0,
        grace_s: float = GRACE_S,
    ) -> None:
        self._workers = workers
        self._changed = changed
        self._interval_s = interval_s
        self._grace_s = grace_s
        self._ill: frozenset[str] = frozenset()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._reported = False
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    @property
    def worker(self) -> Worker:
        """Its own thread."""
        return Worker(self._thread.name, self._thread.is_alive(), self._beat, self._interval_s)

    @property
    def well(self) -> bool:
        """Whether all threads are well, the watchdog's own among them; says so once if that one is not."""
        if self._thread.is_alive() and self._beats():
            self._reported = False
            return not self._ill
        with self._lock:
            if not self._reported and not self._stop.is_set():
                self._reported = True
                _log_ill(self.worker)
        return False

    @property
    def ill(self) -> frozenset[str]:
        """Names of the threads that were not well when last asked."""
        return self._ill

    def close(self) -> None:
        """End its thread; idempotent."""
        self._stop.set()
        self._thread.join()

    def look(self, now: float) -> None:
        """Ask about all threads; `now` as of time.monotonic().

        Where the look before is long past, the whole process stood still: then nobody can have shown a sign
        of life, and nothing is asked until the next look.
        """
        stood_still = now - self._beat >= self._interval_s + self._grace_s / 2
        self._beat = now
        if stood_still:
            return
        workers = self._workers()
        ill = {worker.name: worker for worker in workers if not _well(worker, now, self._grace_s)}
        for name in sorted(ill.keys() - self._ill):
            _log_ill(ill[name])
        for name in sorted(self._ill - ill.keys()):
            _log.warning("background thread is well again thread=%s", name)
        changed = bool(ill) != bool(self._ill)
        self._ill = frozenset(ill)
        if changed:
            self._changed(not ill)

    def _beats(self) -> bool:
        """Whether the thread shows signs of life; after the process stood still it gets time for one."""
        until = time.monotonic() + 2 * self._interval_s
        while not _well(self.worker, time.monotonic(), self._grace_s):
            if time.monotonic() >= until:
                return False
            time.sleep(self._interval_s / 20)
        return True

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.look(time.monotonic())


def _well(worker: Worker, now: float, grace_s: float) -> bool:
    return worker.alive and now - worker.beat <= worker.period_s + grace_s


def _log_ill(worker: Worker) -> None:
    reason = "it hangs" if worker.alive else "it died"
    silent_s = time.monotonic() - worker.beat
    _log.error(
        "background thread is not well thread=%s reason=%r silent_s=%.1f", worker.name, reason, silent_s
    )
