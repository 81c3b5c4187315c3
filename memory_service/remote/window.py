"""Blocks on their way: taken from the caller's iterable, and not acknowledged yet."""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from memory_service.v1 import memory_pb2 as pb


@dataclass(frozen=True, slots=True)
class Pending:
    """A block that ends at frame `stop`, in its request, and the bytes of its vectors and payloads."""

    request: pb.AppendStreamRequest
    num_bytes: int
    stop: int


class Window:
    """A bounded queue that is read from its first element again by each attempt to send it.

    One thread adds, one sends, one acknowledges; each waits for the others here.
    """

    def __init__(self, max_blocks: int, max_bytes: int) -> None:
        """At least one block is let in, whatever its size."""
        self._max_blocks = max_blocks
        self._max_bytes = max_bytes
        self._pending: deque[Pending] = deque()
        self._num_bytes = 0
        self._acknowledged = 0
        self._finished = False
        self._closed = False
        self._progress = 0.0
        self._waiting_since: float | None = None
        self._changed = threading.Condition()

    @property
    def num_bytes(self) -> int:
        return self._num_bytes

    @property
    def first(self) -> Pending | None:
        """The oldest block."""
        with self._changed:
            return self._pending[0] if self._pending else None

    def add(self, pending: Pending) -> bool:
        """Put a block at the end once there is room for it; False when the window has been closed."""

        def has_room() -> bool:
            full = len(self._pending) >= self._max_blocks
            large = self._num_bytes + pending.num_bytes > self._max_bytes
            return self._closed or not self._pending or not (full or large)

        with self._changed:
            self._changed.wait_for(has_room)
            if self._closed:
                return False
            if not self._pending:
                self._progress = time.monotonic()
            self._pending.append(pending)
            self._num_bytes += pending.num_bytes
            self._changed.notify_all()
        return True

    def finish(self) -> None:
        """Nothing more will be added."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def close(self) -> None:
        """Let `add` wait no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def wait(self) -> bool:
        """Wait for a block to send; False when all have been acknowledged and no more will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._finished)
            return bool(self._pending)

    def sending(self, over: threading.Event) -> Iterator[Pending]:
        """All blocks from the oldest on, each as soon as it is there, until the attempt is `over`."""
        with self._changed:
            number = self._acknowledged
        while (pending := self._get(number, over)) is not None:
            yield pending
            number += 1

    def wake(self) -> None:
        """Have `sending` notice that its attempt is over."""
        with self._changed:
            self._changed.notify_all()

    def acknowledge(self) -> Pending:
        """Take out the oldest block: the server has kept it."""
        with self._changed:
            pending = self._pending.popleft()
            self._num_bytes -= pending.num_bytes
            self._acknowledged += 1
            self._progress = time.monotonic()
            self._changed.notify_all()
        return pending

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside the `with`, somebody waits for an acknowledgement."""
        self._waiting_since = time.monotonic()
        try:
            yield
        finally:
            self._waiting_since = None

    def waited_s(self) -> float:
        """How long somebody has waited for the acknowledgement that is due next; 0 where nobody does."""
        with self._changed:
            since = self._waiting_since
            if since is None or not self._pending:
                return 0.0
            return time.monotonic() - max(since, self._progress)

    def _get(self, number: int, over: threading.Event) -> Pending | None:
        """Block `number` of all that were ever added, once it is there; None when it will not be sent."""

        def there() -> bool:
            return number < self._acknowledged + len(self._pending)

        with self._changed:
            self._changed.wait_for(lambda: there() or self._finished or over.is_set())
            if over.is_set() or not there():
                return None
            return self._pending[number - self._acknowledged]
