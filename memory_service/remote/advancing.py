"""Advances over streams that stay open, one per video: a call is set up once and not for every block.

A stream only ever saves time. Whatever goes wrong on one, an answer that does not come included, ends it, and
the same request goes as a call of its own, which has the deadline and gives the error: an advance may take
effect twice.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import inf
from queue import SimpleQueue
from typing import Any, TypeAlias

import grpc

from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.frame_messages import AdvanceAnswer

Metadata: TypeAlias = Sequence[tuple[str, str]]
_Name: TypeAlias = tuple[str, str]
"""Pool and video."""

_MOST_STREAMS = 8
"""Streams that one client has open; for another video the one used longest ago is ended."""

_OPEN_AGAIN_S = 5.0
"""Pause after a stream that gave no answer at all: the server has no room for it, or does not know them."""

_LOOKS_PER_TIMEOUT = 8
_LONGEST_LOOK_S = 0.25
"""How often streams are looked at whose answer may be overdue."""


class AdvanceStreams:
    """Called like a method of the stub. Safe for threads: a video whose stream is busy gets a call."""

    def __init__(
        self, stream: Callable[..., Any], unary: Callable[..., AdvanceAnswer], timeout_s: float
    ) -> None:
        """`stream` and `unary` are AdvanceStream and Advance; `timeout_s` the longest that one takes."""
        self._open = stream
        self._unary = unary
        self._look_s = min(_LONGEST_LOOK_S, timeout_s / _LOOKS_PER_TIMEOUT)
        self._lock = threading.Lock()
        self._idle: OrderedDict[_Name, _Stream] = OrderedDict()
        self._waiting: dict[_Stream, float] = {}
        self._open_from = -inf
        self._closing = threading.Event()
        self._guard: threading.Thread | None = None

    def __call__(self, request: pb.AdvanceRequest, *, timeout: float, metadata: Metadata) -> AdvanceAnswer:
        """The answer to a request. Raises RpcError."""
        name = request.key.pool, request.key.video
        deadline = time.monotonic() + timeout
        stream = self._taken(name, metadata)
        if stream is not None:
            # Two looks before the deadline, so that there is time left for the call of its own.
            self._waiting[stream] = deadline - 2 * self._look_s
            answer = stream.ask(request)
            del self._waiting[stream]
            self._give_back(name, stream)
            if answer is not None:
                return answer
        return self._unary(request, timeout=deadline - time.monotonic(), metadata=metadata)

    def close(self) -> None:
        """End all streams; idempotent."""
        with self._lock:
            self._open_from = inf
            streams = [*self._idle.values(), *self._waiting]
            self._idle.clear()
            guard, self._guard = self._guard, None
        self._closing.set()
        for stream in streams:
            stream.end()
        if guard is not None:
            guard.join()

    def _taken(self, name: _Name, metadata: Metadata) -> "_Stream | None":
        """The stream of a video, for this caller alone; None where there is to be none."""
        with self._lock:
            stream = self._idle.pop(name, None)
            if stream is not None and stream.alive:
                return stream
            if time.monotonic() < self._open_from:
                return None
            if self._guard is None:
                self._guard = threading.Thread(target=self._look, name="advance-guard", daemon=True)
                self._guard.start()
        try:
            return _Stream(self._open, metadata)
        except ValueError:  # the channel is closed: the call will say so
            return None

    def _give_back(self, name: _Name, stream: "_Stream") -> None:
        surplus: _Stream | None = stream
        with self._lock:
            if not stream.answered:
                self._open_from = max(self._open_from, time.monotonic() + _OPEN_AGAIN_S)
            if stream.alive and self._open_from < inf and name not in self._idle:
                self._idle[name] = stream
                surplus = self._idle.popitem(last=False)[1] if len(self._idle) > _MOST_STREAMS else None
        if surplus is not None:
            surplus.end()

    def _look(self) -> None:
        """End streams whose answer is overdue: a stream has no deadline of its own."""
        while not self._closing.wait(self._look_s):
            now = time.monotonic()
            for stream, until in list(self._waiting.items()):
                if now > until:
                    stream.end()


class _Stream:
    """One call of AdvanceStream, one question at a time."""

    def __init__(self, open_stream: Callable[..., Any], metadata: Metadata) -> None:
        """Raises ValueError where the channel is closed."""
        self.answered = False
        self._requests: SimpleQueue[pb.AdvanceRequest | None] = SimpleQueue()
        self._call = open_stream(iter(self._requests.get, None), metadata=metadata)

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return bool(self._call.is_active())

    def ask(self, request: pb.AdvanceRequest) -> AdvanceAnswer | None:
        """The answer to a request; None where the stream ends instead: then nothing is known about it."""
        self._requests.put(request)
        try:
            answer: AdvanceAnswer | None = next(self._call, None)
        except grpc.RpcError:
            answer = None
        if answer is None:
            self.end()
        else:
            self.answered = True
        return answer

    def end(self) -> None:
        """Hang up; idempotent."""
        self._requests.put(None)
        self._call.cancel()
