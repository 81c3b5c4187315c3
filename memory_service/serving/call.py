"""One call to the memory, from the moment it has its thread until its answer is with the caller."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from memory_service.cancellation import Cancellation
from memory_service.errors import Cancelled, InvalidArgument, ServiceError
from memory_service.security.access import authorize, subject
from memory_service.security.tokens import Token
from memory_service.serving.admission import InflightBytes, Receivers, host_of
from memory_service.serving.exchange import COUNTED, Exchange
from memory_service.serving.observer import Observer
from memory_service.serving.request_log import log_request
from memory_service.serving.stream_shares import StreamShares
from memory_service.serving.turns import Turns
from memory_service.wire.status import to_status

_NO_DEADLINE_S = 1e7
"""gRPC tells a call without a deadline as one in some hundred years."""

Send = Callable[[bytes | None], None]
"""Sends one message of a stream, or with None the status that the context has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What all calls of a server share."""

    turns: Turns
    inflight: InflightBytes
    receivers: Receivers
    streams: StreamShares
    calls: "set[Call]"
    """Those that are open. Adding to a set and discarding from it are atomic."""
    observer: Observer | None
    idle_s: float
    """Longest wait for a caller to send or to read."""
    stream_idle_s: float
    """The same where a caller may have nothing to send or to read for long."""


class Call:
    """One call. Its own thread uses it, but for `end`, `stalled`, `cancel` and `closed`."""

    __slots__ = (
        "_began",
        "_bytes_in",
        "_bytes_out",
        "_closed",
        "_common",
        "_context",
        "_ended",
        "_exchange",
        "_finished",
        "_held_bytes",
        "_idle_until",
        "_lock",
        "_pool",
        "_receiving",
        "_send",
        "_timeout_s",
        "_turn_since",
        "_video",
        "cancellation",
        "method",
        "patient",
        "token",
    )

    def __init__(
        self,
        method: str,
        context: grpc.ServicerContext,
        token: Token | None,
        common: Common,
        *,
        patient: bool,
    ) -> None:
        """`token` is None where the server has none; `patient` calls may idle for `stream_idle_s`."""
        self.method = method
        self.token = token
        self.patient = patient
        remaining_s = context.time_remaining()
        self._timeout_s = remaining_s if remaining_s is not None and remaining_s < _NO_DEADLINE_S else None
        self.cancellation = Cancellation(timeout_s=self._timeout_s, active=context.is_active)
        self._context = context
        self._common = common
        self._lock = threading.Lock()
        self._send: Send | None = None
        self._receiving = self._ended = self._finished = self._closed = False
        self._idle_until: float | None = None
        self._turn_since: float | None = None
        self._held_bytes = self._bytes_in = self._bytes_out = 0
        self._pool = self._video = ""
        counted = COUNTED.get(method)
        self._exchange = None if counted is None else Exchange(counted, self._report, common.observer)
        self._began = time.perf_counter()
        if common.observer is not None:
            common.observer.began(method)

    def answers_with(self, send: Send) -> None:
        """The call answers with a stream: what `send` is given."""
        self._send = send

    def receive(self, messages: Iterator[bytes]) -> bytes:
        """The caller's first message. Raises what ended the call, InvalidArgument, Overloaded."""
        self._common.inflight.check()
        caller = host_of(self.peer) if self.token is None else self.token.id
        self._common.receivers.enter(caller)
        self._idle_until = time.monotonic() + self._common.idle_s
        try:
            data = self._next(messages)
        finally:
            self._idle_until = None
            self._common.receivers.leave(caller)
        if data is None:
            raise InvalidArgument("the call has no request", field="request", expected="one message")
        self._take(len(data))
        return data

    def receive_next(self, messages: Iterator[bytes]) -> bytes | None:
        """The caller's next message of a stream, or None after the last.

        Gives back the turn and the bytes of the one before. Raises what ended the call, Overloaded.
        """
        self.pause()
        self._release(0)
        patient = self.patient and self._bytes_in > 0
        with self._lock:
            self.cancellation.check()
            self._receiving = True
            self._idle_until = self._limit(patient=patient)
        try:
            data = self._next(messages)
        finally:
            with self._lock:
                self._receiving = False
                self._idle_until = None
        if data is not None:
            if self._exchange is not None:
                self._exchange.begin(len(data))
            self._take(len(data))
        return data

    def admit(self, request: Any) -> None:
        """Let a decoded request pass if the caller may make it. Raises PermissionDenied, Overloaded."""
        if self.token is not None:
            authorize(self.method, request, self.token)
        if not self._pool:
            pool, self._video = subject(self.method, request)
            if pool:
                self._common.streams.enter(self.method, pool)
            self._pool = pool

    def work(self) -> None:
        """Have a turn to be at work, waiting for it if need be. Raises Overloaded, what ended the call."""
        if self._turn_since is None and self._pool:
            self._common.turns.enter(self._pool, self.cancellation)
            self._turn_since = time.perf_counter()
        self.cancellation.check()

    def pause(self) -> None:
        """Give the turn back."""
        if self._turn_since is not None:
            seconds, self._turn_since = time.perf_counter() - self._turn_since, None
            self._common.turns.leave(self._pool, seconds)

    def send(self, data: bytes) -> None:
        """Send one message of a stream; waits while its caller does not read. Raises what ended the call."""
        assert self._send is not None
        self.pause()
        self._bytes_out += len(data)
        self._common.inflight.add(len(data))
        self._idle_until = self._limit(patient=self.patient)
        try:
            self._send(data)
        finally:
            self._idle_until = None
            self._common.inflight.add(-len(data))
        if self._exchange is not None:
            self._exchange.end(len(data))
        self.cancellation.check()

    def answer(self, data: bytes) -> None:
        """The one message of the answer: gRPC sends it, and it is held until `closed`."""
        self.pause()
        self._bytes_out += len(data)
        self._release(len(data))
        self._idle_until = self._limit(patient=False)

    def finish(self, status: str = "OK", error: ServiceError | None = None) -> None:
        """Log the call, once, at its end; then a stream's status is sent, unless `end` has sent one."""
        self.pause()
        if self._pool:
            self._common.streams.leave(self.method, self._pool)
        seconds, field = time.perf_counter() - self._began, error.field if error is not None else ""
        if self._exchange is None:
            self._report(self.method, status, seconds, self._bytes_in, self._bytes_out, field)
        else:
            self._exchange.end(0, status, field)
            self._report(self.method, status, seconds, 0, 0, field)
        self.cancellation.forget()
        with self._lock:
            self._finished = True
            self._close(error)
            if self._closed or error is not None or self._send is not None:
                self._release(0)

    def end(self, error: ServiceError) -> None:
        """End the call from without: at once where it waits for its caller, else at its next safe point."""
        self.cancellation.end(error)
        with self._lock:
            if self._receiving:
                self._close(error)

    def stalled(self, now: float) -> bool:
        """Whether it has waited for its caller longer than it may; `now` as of time.monotonic()."""
        return self._idle_until is not None and now > self._idle_until

    def cancel(self) -> None:
        """Hang up on the caller."""
        self._idle_until = None
        self._context.cancel()

    def closed(self) -> None:
        """The answer is with the caller, or the caller is gone: nothing is held for it any more."""
        self._common.calls.discard(self)
        self._idle_until = None
        with self._lock:
            self._closed = True
            if self._finished:
                self._release(0)
                return
        self.cancellation.end(Cancelled("the caller is gone"))

    @property
    def peer(self) -> str:
        """Where the call comes from, as gRPC says it."""
        return str(self._context.peer())

    def _next(self, messages: Iterator[bytes]) -> bytes | None:
        try:
            return next(messages)
        except StopIteration:
            self.cancellation.check()
            return None
        except grpc.RpcError as exc:
            self.cancellation.check()
            raise Cancelled("the caller is gone") from exc

    def _take(self, num_bytes: int) -> None:
        self._bytes_in += num_bytes
        self._common.inflight.take(num_bytes)
        self._held_bytes = num_bytes

    def _report(
        self, method: str, status: str, seconds: float, bytes_in: int, bytes_out: int, field: str
    ) -> None:
        log_request(
            method,
            status,
            seconds,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            peer=self._context.peer,
            token=self.token,
            subject=(self._pool, self._video),
            timeout_s=self._timeout_s if method == self.method else None,
            field=field,
        )
        if self._common.observer is not None:
            self._common.observer.finished(method, status, seconds, bytes_in, bytes_out)

    def _close(self, error: ServiceError | None) -> None:
        """Send the status of a stream; under the lock, as it can be sent only once."""
        if self._ended or self._send is None:
            return
        self._ended = True
        if error is not None:
            status = to_status(error)
            self._context.set_code(status.code)
            self._context.set_details(status.details)
            self._context.set_trailing_metadata(status.trailing_metadata)
        self._send(None)

    def _release(self, num_bytes: int) -> None:
        """Hold so many bytes from now on."""
        change, self._held_bytes = num_bytes - self._held_bytes, num_bytes
        if change:
            self._common.inflight.add(change)

    def _limit(self, *, patient: bool) -> float:
        return time.monotonic() + (self._common.stream_idle_s if patient else self._common.idle_s)
