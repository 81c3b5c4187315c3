"""The way to a server: one connection, and calls with a deadline that are tried again while it is away."""

import random
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from memory_service.errors import Unavailable
from memory_service.status import from_rpc_error
from memory_service.v1.memory_pb2_grpc import MemoryServiceStub

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
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 1.0

Answer = TypeVar("Answer")


class Connection:
    """A channel to "host:port" or "unix:/path"; connects when it is first used. Safe for use by threads."""

    def __init__(self, address: str, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._channel = grpc.insecure_channel(address, options=OPTIONS)
        self.stub = MemoryServiceStub(self._channel)  # type: ignore[no-untyped-call]

    def call(self, method: Callable[..., Any], request: Message) -> Any:
        """One answer to one request; `method` is one of the stub's. Raises ServiceError."""
        return self.repeat(lambda seconds: method(request, timeout=seconds))

    def repeat(self, attempt: Callable[[float], Answer]) -> Answer:
        """`attempt(seconds left)`, again after each UNAVAILABLE until the timeout is over.

        Only for what may take effect twice. Raises the ServiceError that the last attempt's status stands
        for; anything but Unavailable at once.
        """
        deadline = time.monotonic() + self._timeout_s
        for pause_s in pauses():
            try:
                return attempt(deadline - time.monotonic())
            except ValueError as exc:  # what gRPC raises for a closed channel
                raise Unavailable(f"the client is closed: {exc}") from exc
            except grpc.RpcError as exc:
                error = from_rpc_error(exc)
                if not isinstance(error, Unavailable) or time.monotonic() + pause_s >= deadline:
                    raise error from exc
            time.sleep(pause_s)
        raise AssertionError("pauses never end")

    def close(self) -> None:
        """Hang up; idempotent."""
        self._channel.close()


def pauses() -> Iterator[float]:
    """Seconds between attempts: doubling, each cut at random by up to half to keep clients out of step."""
    pause_s = FIRST_PAUSE_S
    while True:
        yield pause_s * random.uniform(0.5, 1.0)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
