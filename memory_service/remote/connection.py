"""The way to a server: one connection, and calls with a deadline that are tried again while it is away."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from operator import methodcaller
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from memory_service.config import UNIX, is_loopback
from memory_service.errors import DeadlineExceeded, InvalidArgument, Overloaded, ServiceError, Unavailable
from memory_service.remote.advancing import AdvanceStreams
from memory_service.security.tls import ClientTLS
from memory_service.v1 import memory_pb2 as pb
from memory_service.v1.memory_pb2_grpc import MemoryServiceStub
from memory_service.wire.frame_messages import AdvanceAnswer, FetchAnswer
from memory_service.wire.status import from_rpc_error

SERVICE: str = pb.DESCRIPTOR.services_by_name["MemoryService"].full_name

OPTIONS = [
    # The server holds the limits and says which; a client's own would only hide them.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A connection of one's own: clients of one process do not queue behind each other.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    # A restarted server is found again within a second, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A server that is gone without a word is noticed, also by streams that wait for hours.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
]

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 1.0

Answer = TypeVar("Answer")


class Connection:
    """A channel to "host:port" or "unix:/path"; connects when it is first used. Safe for use by threads.

    `metadata` goes with every call: the token. `stays_here` is whether its bytes never leave the machine.
    `advance` and `fetch` are the stub's, but for their answers, which stay as they arrived.
    """

    def __init__(
        self,
        address: str,
        timeout_s: float,
        *,
        token: str | None = None,
        tls: ClientTLS | None = None,
        insecure_token: bool = False,
    ) -> None:
        """Raises InvalidArgument where a token would leave the machine in clear, unless `insecure_token`."""
        if token is not None:
            _check_token(token)
            if tls is None and not insecure_token and not _stays_here(address):
                raise InvalidArgument(
                    f"a token would be sent to {address} unencrypted",
                    field="token",
                    expected="tls, a loopback or UNIX address; or insecure_token, on a trusted network",
                )
        self.timeout_s = timeout_s
        self.closed = False
        self.metadata = () if token is None else (("authorization", f"Bearer {token}"),)
        if tls is None:
            self._channel = grpc.insecure_channel(address, options=OPTIONS)
        else:
            options = [*OPTIONS, *tls.options()]
            self._channel = grpc.secure_channel(address, tls.credentials(), options=options)
        self.stays_here = _stays_here(address)
        self.stub = MemoryServiceStub(self._channel)  # type: ignore[no-untyped-call]
        encode = methodcaller("SerializeToString")  # of a message, or of one that goes around its payloads
        self.append = self._channel.unary_unary(f"/{SERVICE}/Append", encode, pb.AppendResponse.FromString)
        self.advance = AdvanceStreams(
            self._channel.stream_stream(f"/{SERVICE}/AdvanceStream", encode, AdvanceAnswer),
            self._channel.unary_unary(f"/{SERVICE}/Advance", encode, AdvanceAnswer),
            timeout_s,
        )
        self.fetch = self._channel.unary_stream(
            f"/{SERVICE}/Fetch", pb.FetchRequest.SerializeToString, FetchAnswer
        )

    def call(
        self,
        method: Callable[..., Any],
        request: Message,
        recover: Callable[[ServiceError], Any] | None = None,
        within_s: float | None = None,
    ) -> Any:
        """One answer to one request; `method` is one of the stub's. Raises ServiceError; see `repeat`."""
        return self.repeat(
            lambda seconds: method(request, timeout=seconds, metadata=self.metadata),
            recover=recover,
            within_s=within_s,
        )

    def repeat(
        self,
        attempt: Callable[[float], Answer],
        *,
        recover: Callable[[ServiceError], Answer] | None = None,
        within_s: float | None = None,
    ) -> Answer:
        """`attempt(seconds left)`, again after each UNAVAILABLE and OVERLOADED until the timeout is over.

        `within_s` is what is left of it where some has been spent before.

        Only for what may take effect twice, or whose `recover` can tell: it is given the error of an attempt
        that came after one whose outcome is unknown, and returns the answer of that one or raises the error.
        Raises the ServiceError that the last attempt's status stands for; what trying again cannot mend at
        once.
        """
        deadline = time.monotonic() + (self.timeout_s if within_s is None else within_s)
        unknown = False
        for pause_s in pauses():
            try:
                return attempt(deadline - time.monotonic())
            except ValueError as exc:
                raise _closed(exc) from exc
            except grpc.RpcError as exc:
                error = from_rpc_error(exc)
                if unknown and recover is not None and not isinstance(error, Unavailable | Overloaded):
                    return recover(error)
                wait_s = pause_before(error, pause_s)
                if wait_s is None or time.monotonic() + wait_s >= deadline:
                    raise error from exc
                unknown = unknown or isinstance(error, Unavailable)
            time.sleep(wait_s)
        raise AssertionError("pauses never end")

    def open(self, start: Callable[[], Any], first: Callable[[Any], Answer]) -> tuple[Any, Answer]:
        """A call that may last as long as it likes, but what it begins with, `first(call)`, comes in time.

        `start` makes the call; it is made again like that of `repeat` until `first` has returned. Raises
        ServiceError.
        """

        def attempt(seconds: float) -> tuple[Any, Answer]:
            call = start()
            late = threading.Event()

            def give_up() -> None:
                late.set()
                call.cancel()

            timer = threading.Timer(max(seconds, 0.0), give_up)
            timer.daemon = True
            timer.start()
            try:
                return call, first(call)
            except grpc.RpcError as exc:
                if late.is_set():
                    raise DeadlineExceeded(f"nothing came within {self.timeout_s} s") from exc
                raise
            finally:
                timer.cancel()

        return self.repeat(attempt)

    def start(self, method: Callable[..., Any], request: Any) -> Any:
        """A call without a deadline. Raises Unavailable when the connection has been closed."""
        try:
            return method(request, metadata=self.metadata)
        except ValueError as exc:
            raise _closed(exc) from exc

    def close(self) -> None:
        """Hang up; idempotent."""
        self.closed = True
        self.advance.close()
        self._channel.close()


def pauses() -> Iterator[float]:
    """Seconds between attempts: doubling, each cut at random by up to half to keep clients out of step."""
    pause_s = FIRST_PAUSE_S
    while True:
        yield pause_s * random.uniform(0.5, 1.0)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


def pause_before(error: ServiceError, pause_s: float) -> float | None:
    """Seconds before an attempt after this error, at least `pause_s`; None where another would not help."""
    if isinstance(error, Overloaded):
        return max(pause_s, error.retry_after_ms / 1000)
    return pause_s if isinstance(error, Unavailable) else None


def _closed(exc: ValueError) -> Unavailable:
    """What gRPC raises for a closed channel, as an error of the memory."""
    return Unavailable(f"the client is closed: {exc}")


def first_message(stream: Any) -> Any:
    """What a stream begins with. Raises RpcError, Unavailable where it ends instead."""
    for message in stream:
        return message
    raise Unavailable("the server ended a stream before it began")


def _stays_here(address: str) -> bool:
    """True for addresses whose bytes never leave the machine."""
    return address.startswith(UNIX) or is_loopback(address.rpartition(":")[0])


def _check_token(token: str) -> None:
    """What a header cannot carry would fail every call with a message about metadata."""
    if not token or not token.isascii() or not token.isprintable() or token != token.strip():
        raise InvalidArgument("the token cannot be a header", field="token", expected="printable ASCII")
