"""Whether the call that runs in this thread should stop: asked at safe points, told to whoever waits.

The engine asks here and so need not know what a call is. Outside of a call nothing ever stops.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from memory_service.errors import Cancelled, DeadlineExceeded, ServiceError


class Cancellation:
    """The end of one call before its time. Safe for threads."""

    __slots__ = ("_active", "_error", "_lock", "_wakers", "deadline")

    def __init__(self, *, timeout_s: float | None = None, active: Callable[[], bool] = lambda: True) -> None:
        """`timeout_s` is what is left of the call's deadline, `active` says whether its caller is there."""
        self.deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._active = active
        self._lock = threading.Lock()
        self._error: ServiceError | None = None
        self._wakers: list[Callable[[], None]] = []

    @property
    def remaining_s(self) -> float | None:
        """Seconds until the deadline, at least 0; None where there is none."""
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)

    def check(self) -> None:
        """Raises what ended the call, DeadlineExceeded or Cancelled; nothing while it may go on."""
        if self._error is not None:
            raise self._error
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise DeadlineExceeded("the call's deadline is over; it stopped at a safe point")
        if not self._active():
            raise Cancelled("the caller is gone")

    def end(self, error: ServiceError) -> None:
        """Let `check` raise `error` from now on, and wake who waits. The first error counts."""
        with self._lock:
            if self._error is None:
                self._error = error
            wakers = list(self._wakers)
        for wake in wakers:
            wake()

    def forget(self) -> None:
        """The call is over, and nothing of it is kept through this, which its context keeps.

        A call that its own context refers to would live on, with its messages, until garbage is collected.
        """
        self._active = _gone

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Inside the `with`, `wake` is called when the call should stop; by another thread, so be quick."""
        with self._lock:
            self._wakers.append(wake)
            ended = self._error is not None
        if ended:
            wake()
        try:
            yield
        finally:
            with self._lock:
                self._wakers.remove(wake)

    def begin(self) -> None:
        """From now on this is the call that runs in this context, until another begins."""
        _current.set(self)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Inside the `with`, this is the call that runs in this context."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


def _gone() -> bool:
    return False


_current: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)


def check() -> None:
    """Raises Cancelled, DeadlineExceeded or Unavailable when the call of this thread should stop.

    For loops over many videos or frames; never between the first and the last byte of a write.
    """
    cancellation = _current.get()
    if cancellation is not None:
        cancellation.check()


@contextmanager
def waking(wake: Callable[[], None]) -> Iterator[None]:
    """Inside the `with`, `wake` is called when the call of this thread should stop; then `check` raises."""
    cancellation = _current.get()
    if cancellation is None:
        yield
        return
    with cancellation.waking(wake):
        yield
