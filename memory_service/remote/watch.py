"""Events of a server, as they come."""

from typing import Self

import grpc

from memory_service import wire
from memory_service.remote.connection import Connection, first_message
from memory_service.types import Event
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.status import from_rpc_error


class RemoteWatch:
    """An iterator of events; `close` ends it from any thread. The first one has come when it is made.

    Raises ServiceError when it is made and from `next`.
    """

    def __init__(self, connection: Connection, request: pb.WatchRequest) -> None:
        self._closed = False
        self._stream, first = connection.open(
            lambda: connection.start(connection.stub.Watch, request), first_message
        )
        self._first: pb.WatchResponse | None = first

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        if self._closed:
            raise StopIteration
        response, self._first = self._first, None
        try:
            return wire.event_from_proto((response or next(self._stream)).event)
        except grpc.RpcError as exc:
            if self._closed:
                raise StopIteration from None
            raise from_rpc_error(exc) from exc

    def close(self) -> None:
        """End it; idempotent."""
        self._closed = True
        self._stream.cancel()
