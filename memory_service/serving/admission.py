"""How much the server takes on at a time: threads by class of call, bytes by all calls together.

What is full refuses at once and says when to try again; one class takes nothing from the others.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from enum import StrEnum
from typing import NamedTuple, ParamSpec, TypeVar

from memory_service.errors import Overloaded

_P = ParamSpec("_P")
_T = TypeVar("_T")

_BYTES_RETRY_MS, _RECEIVERS_RETRY_MS = 200, 1000


class Lane(StrEnum):
    """A class of calls with threads of its own."""

    CALLS = "calls"
    """One request, one answer."""
    ADVANCE_STREAMS = "advance_streams"
    APPEND_STREAMS = "append_streams"
    READ_STREAMS = "read_streams"
    IMPORTS = "imports"
    WATCHERS = "watchers"
    PROBES = "probes"
    """Health checks, which must be answered when everything else is full."""
    PROBE_STREAMS = "probe_streams"
    """Watched health, and reflection."""
    REFUSALS = "refusals"
    """Calls that were refused before they got anywhere, until they have been told so."""


LANES: Mapping[str, Lane] = {
    "AdvanceStream": Lane.ADVANCE_STREAMS,
    "AppendStream": Lane.APPEND_STREAMS,
    "Fetch": Lane.READ_STREAMS,
    "ExportVideo": Lane.READ_STREAMS,
    "ImportVideo": Lane.IMPORTS,
    "Watch": Lane.WATCHERS,
}
"""Every method that is not in it goes to CALLS."""


class LaneLoad(NamedTuple):
    """How busy one lane is."""

    running: int
    waiting: int
    num_threads: int


class LaneThreads(ThreadPoolExecutor):
    """The threads of one lane, and a bounded number of calls that wait for them. Safe for threads."""

    def __init__(
        self, lane: Lane, num_threads: int, *, max_waiting: int = 0, prepare: Callable[[], object]
    ) -> None:
        """`prepare` runs once in each thread."""
        super().__init__(num_threads, thread_name_prefix=str(lane), initializer=prepare)
        self.lane = lane
        self._num_threads = num_threads
        self.max_open = num_threads + max_waiting
        self._lock = threading.Lock()
        self._running = 0
        self._waiting = 0

    @property
    def load(self) -> LaneLoad:
        return LaneLoad(self._running, self._waiting, self._num_threads)

    @property
    def full(self) -> bool:
        """Whether one call more is to be refused."""
        return self._running + self._waiting >= self.max_open

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """See `ThreadPoolExecutor.submit`; counts the call until it is done."""

        with self._lock:
            self._waiting += 1
        return self._submit(fn, *args, **kwargs)

    def try_submit(self, fn: Callable[_P, object], /, *args: _P.args, **kwargs: _P.kwargs) -> bool:
        """As `submit`, where the lane is not full; returns whether it is not."""
        with self._lock:
            if self.full:
                return False
            self._waiting += 1
        self._submit(fn, *args, **kwargs)
        return True

    def _submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        def counted() -> _T:
            with self._lock:
                self._waiting -= 1
                self._running += 1
            try:
                return fn(*args, **kwargs)
            finally:
                with self._lock:
                    self._running -= 1

        try:
            return super().submit(counted)
        except RuntimeError:  # it was shut down
            with self._lock:
                self._waiting -= 1
            raise


class InflightBytes:
    """Bytes of messages that the server holds for its callers. Safe for threads."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._num_bytes = 0

    @property
    def num_bytes(self) -> int:
        return self._num_bytes

    def take(self, num_bytes: int) -> None:
        """Count a request, or raise Overloaded; one alone is always taken."""
        with self._lock:
            if self._num_bytes and self._num_bytes + num_bytes > self._max_bytes:
                raise self._exceeded()
            self._num_bytes += num_bytes

    def check(self) -> None:
        """Raises Overloaded where there is no room left at all, so that nothing more need be received."""
        if self._num_bytes >= self._max_bytes:
            raise self._exceeded()

    def add(self, num_bytes: int) -> None:
        """Count an answer, which exists already; or, negative, what is gone."""
        with self._lock:
            self._num_bytes += num_bytes

    def _exceeded(self) -> Overloaded:
        return overloaded(
            f"messages of {self._num_bytes} bytes are in flight",
            expected=f"at most {self._max_bytes} bytes at a time",
            retry_after_ms=_BYTES_RETRY_MS,
        )


class Receivers:
    """Calls that have a thread and wait for their request, by caller. Safe for threads.

    A request that is announced and does not come holds a thread: one caller gets three quarters of them.
    """

    def __init__(self, num_threads: int) -> None:
        self._max_each = num_threads - num_threads // 4
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}

    def enter(self, caller: str) -> None:
        """Wait for one more request, which `leave` ends. Raises Overloaded."""
        with self._lock:
            count = self._counts.get(caller, 0)
            if count < self._max_each:
                self._counts[caller] = count + 1
                return
        raise overloaded(
            f"{count} calls of this caller wait for their requests",
            expected="requests that follow their calls",
            retry_after_ms=_RECEIVERS_RETRY_MS,
        )

    def leave(self, caller: str) -> None:
        """The request is there, or will never be."""
        with self._lock:
            self._counts[caller] -= 1
            if not self._counts[caller]:
                del self._counts[caller]


def host_of(peer: str) -> str:
    """Who a caller without a token is: the host of its connections as gRPC names them, whatever their ports.

    All that come by a UNIX socket are one caller, as each could call its own end what it likes.
    """
    kind, _, _ = peer.partition(":")
    return peer.rpartition(":")[0] if kind in {"ipv4", "ipv6"} else kind


def overloaded(message: str, *, expected: str, retry_after_ms: int) -> Overloaded:
    """Too much at once; the caller may try again after the time given."""
    return Overloaded(message, expected=expected, details={"retry_after_ms": str(retry_after_ms)})
