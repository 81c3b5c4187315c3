"""Advances over streams that stay open, one per video: a call is set up once and not for every block.

A stream only ever saves time. What is wrong with a request is the same on one as in a call. Whatever else
goes wrong, an answer that does not come included, ends the stream, and the same request goes as a call of its
own, which has the deadline and gives the error: an advance may take effect twice.
"""

import threading
import time
from collections.abc import Callable, Sequence
from math import inf
from queue import SimpleQueue
from typing import Any, TypeAlias

import grpc

from memory_service.remote.stream import Stream
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.frame_messages import AdvanceAnswer

Metadata: TypeAlias = Sequence[tuple[str, str]]
LocalStreams: TypeAlias = Callable[[str, Metadata], Stream | None]
"""A new stream over the socket of a local session, None where there is none."""

_Name: TypeAlias = tuple[str, str]
"""Pool and video."""

_MOST_STREAMS = 8
"""Streams that one client has open; blocks of other videos go as calls."""

_IDLE_S = 10.0
"""Until a stream without a question is ended: it takes a thread here and one there, and room of others."""

_OPEN_AGAIN_S = 5.0
"""Pause after a stream that gave no answer at all: the server has no room for it, or does not know them."""

_ABOUT_THE_REQUEST = frozenset(
    (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.DATA_LOSS,
    )
)
"""Statuses that only the memory gives, having looked at the request: no proxy, and no stream that is idle."""

_LOOKS_PER_TIMEOUT = 8
_LONGEST_LOOK_S = 0.25
"""How often streams are looked at that may be idle, or whose answer may be overdue."""


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
        self._streams: dict[_Name, Stream] = {}
        self._open_from = -inf
        self._closing = threading.Event()
        self._guard: threading.Thread | None = None
        self.local_stream: LocalStreams = lambda _session, _metadata: None

    def __call__(self, request: pb.AdvanceRequest, *, timeout: float, metadata: Metadata) -> AdvanceAnswer:
        """The answer to a request, which nobody changes meanwhile. Raises RpcError."""
        name = request.key.pool, request.key.video
        deadline = time.monotonic() + timeout
        stream = self._taken(name, request, metadata, deadline)
        if stream is not None:
            try:
                answer = stream.ask(request)
            finally:
                self._give_back(name, stream)
            if answer is not None:
                return answer
        return self._unary(request, timeout=deadline - time.monotonic(), metadata=metadata)

    def close(self) -> None:
        """End all streams; idempotent."""
        with self._lock:
            self._open_from = inf
            for stream in self._streams.values():
                stream.end()
            self._streams.clear()
            guard, self._guard = self._guard, None
        self._closing.set()
        if guard is not None:
            guard.join()

    def _taken(
        self, name: _Name, request: pb.AdvanceRequest, metadata: Metadata, deadline: float
    ) -> Stream | None:
        """The stream of a video, for this caller alone; None where there is to be none."""
        now = time.monotonic()
        # Two looks before the deadline, so that there is time left for the call of its own.
        until = deadline - 2 * self._look_s
        with self._lock:
            stream = self._streams.get(name)
            if until <= now or (stream is not None and stream.busy):
                return None
            if stream is None or not stream.alive:
                self._streams.pop(name, None)
                stream = self._opened(request, metadata, now)
                if stream is None:
                    return None
                self._streams[name] = stream
            stream.busy, stream.until = True, until
            return stream

    def _opened(self, request: pb.AdvanceRequest, metadata: Metadata, now: float) -> Stream | None:
        """A new stream, and somebody who looks after it; None where there is to be none."""
        if now < self._open_from or len(self._streams) >= _MOST_STREAMS:
            return None
        try:
            if self._guard is None:
                guard = threading.Thread(target=self._look, name="advance-guard", daemon=True)
                guard.start()
                self._guard = guard
            local = self.local_stream(request.local_session, metadata) if request.local_session else None
            return _GrpcStream(self._open, metadata) if local is None else local
        except (ValueError, RuntimeError):  # the channel is closed, or no thread is to be had
            return None

    def _give_back(self, name: _Name, stream: Stream) -> None:
        now = time.monotonic()
        with self._lock:
            stream.busy, stream.until = False, now + _IDLE_S
            if not stream.answered:
                self._open_from = max(self._open_from, now + _OPEN_AGAIN_S)
            if not stream.alive and self._streams.get(name) is stream:
                del self._streams[name]

    def _look(self) -> None:
        """End streams that nobody uses, and those whose answer is overdue: a stream has no deadline."""
        while not self._closing.wait(self._look_s):
            now = time.monotonic()
            with self._lock:
                for name, stream in list(self._streams.items()):
                    overdue = now > stream.until
                    if overdue:
                        stream.end()
                    if (overdue or not stream.busy) and not stream.alive:
                        del self._streams[name]
                if not self._streams:
                    self._guard = None
                    return


class _GrpcStream(Stream):
    """One call of AdvanceStream."""

    def __init__(self, open_stream: Callable[..., Any], metadata: Metadata) -> None:
        """Raises ValueError where the channel is closed, RuntimeError where no thread can be started."""
        super().__init__()
        requests: SimpleQueue[pb.AdvanceRequest | None] = SimpleQueue()
        self._requests = requests
        self._call = open_stream(iter(requests.get, None), metadata=metadata)
        # Whoever ends the call: gRPC's thread that waits for requests has to hear of it.
        if not self._call.add_callback(lambda: requests.put(None)):
            requests.put(None)

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return bool(self._call.is_active())

    def ask(self, request: pb.AdvanceRequest) -> AdvanceAnswer | None:
        """The answer to a request; None where the stream ends instead: then nothing is known about it.

        Raises RpcError for what is wrong with the request.
        """
        answer: AdvanceAnswer | None = None
        try:
            self._requests.put(request)
            answer = next(self._call, None)
            self.answered = self.answered or answer is not None
        except grpc.RpcError:
            if self._call.code() in _ABOUT_THE_REQUEST:
                self.answered = True
                raise
        finally:
            if answer is None:
                self.end()
        return answer

    def end(self) -> None:
        """Hang up; idempotent."""
        self._call.cancel()
