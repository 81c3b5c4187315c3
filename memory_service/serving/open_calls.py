"""The calls that are open: those that wait too long for their caller are ended, and all can be."""

import logging
import threading
import time
from collections.abc import Callable

from memory_service.errors import ServiceError, Unauthenticated
from memory_service.security.tokens import Token
from memory_service.serving.call import Call
from memory_service.workers import Worker

_log = logging.getLogger(__name__)

_LONGEST_PERIOD_S = 0.5


class OpenCalls:
    """Calls from their beginning until their answer is with the caller. Safe for threads.

    A thread of its own looks after them: a caller that neither sends nor reads is hung up on, which frees the
    thread and the memory that its call holds; a call whose token is no longer valid is ended.
    """

    def __init__(self, calls: set[Call], valid: Callable[[Token], bool], *, idle_s: float) -> None:
        """`calls` holds the open ones; `valid` says whether a token that let a call in still would."""
        self._valid = valid
        self._period_s = min(_LONGEST_PERIOD_S, idle_s / 4)
        self._calls = calls
        self._stop = threading.Event()
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="open-calls", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def worker(self) -> Worker:
        """Its thread, for a watchdog."""
        return Worker(self._thread.name, self._thread.is_alive(), self._beat, self._period_s)

    def end(self, error: ServiceError, which: Callable[[Call], bool] = lambda _: True) -> None:
        """End the calls for which `which` holds, each at its next safe point."""
        for call in list(self._calls):
            if which(call):
                call.end(error)

    def close(self) -> None:
        """End its thread; idempotent."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._period_s):
            self._beat = time.monotonic()
            for call in list(self._calls):
                self._look_at(call)

    def _look_at(self, call: Call) -> None:
        if call.stalled(time.monotonic()):
            _log.warning("caller idle, hung up method=%s peer=%s", call.method, call.peer)
            call.cancel()
        elif call.token is not None and not self._valid(call.token):
            call.end(Unauthenticated(f"token {call.token.id} is not valid any more", field="authorization"))
