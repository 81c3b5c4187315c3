"""Calls to a server as any client may make them: from the stub alone, with a token or without."""

from collections.abc import Iterator
from typing import Any

import grpc
from raw_requests import METHODS

from memory_service.errors import ServiceError
from memory_service.v1.memory_pb2_grpc import MemoryServiceStub
from memory_service.wire.status import from_rpc_error

TIMEOUT_S = 20.0


def bearer(token: str | None) -> tuple[tuple[str, str], ...]:
    """Metadata of a call."""
    return () if token is None else (("authorization", f"Bearer {token}"),)


def call(channel: grpc.Channel, method: str, *requests: Any, token: str | None = None) -> list[Any]:
    """All answers to a call. Raises ServiceError."""
    function = getattr(MemoryServiceStub(channel), method)  # type: ignore[no-untyped-call]
    argument: Any = iter(requests) if METHODS[method].client_streaming else requests[0]
    try:
        answer = function(argument, timeout=TIMEOUT_S, metadata=bearer(token))
        return list(answer) if METHODS[method].server_streaming else [answer]
    except grpc.RpcError as exc:
        raise from_rpc_error(exc) from exc


def first_answer(channel: grpc.Channel, method: str, request: Any, token: str | None = None) -> Any:
    """The first answer of a stream that is then hung up on. Raises ServiceError."""
    function = getattr(MemoryServiceStub(channel), method)  # type: ignore[no-untyped-call]
    stream: Iterator[Any] = function(request, timeout=TIMEOUT_S, metadata=bearer(token))
    try:
        return next(stream)
    except grpc.RpcError as exc:
        raise from_rpc_error(exc) from exc
    finally:
        stream.cancel()  # type: ignore[attr-defined]


def error_of(
    channel: grpc.Channel, method: str, *requests: Any, token: str | None = None
) -> ServiceError | None:
    """What a call was refused with, or None."""
    try:
        if method == "Watch":  # ends only when it is hung up on
            first_answer(channel, method, requests[0], token)
        else:
            call(channel, method, *requests, token=token)
    except ServiceError as error:
        return error
    return None
