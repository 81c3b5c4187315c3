"""What every call to the memory passes through: decoding, errors turned into statuses, one log line."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from memory_service.errors import Internal, InvalidArgument, ServiceError
from memory_service.status import to_status

log = logging.getLogger("memory_service.requests")

Behaviour: TypeAlias = Callable[[Any, grpc.ServicerContext], Any]
Handler: TypeAlias = Any
"""A grpc.RpcMethodHandler, whose stubs make every member optional."""


class _Request:
    """One call while it runs, for its log line."""

    def __init__(self, method: str, num_bytes: int) -> None:
        self._method = method.rpartition("/")[2]
        self._num_bytes_in = num_bytes
        self._began = time.perf_counter()
        self.num_bytes_out = 0

    def log(self, status: str, error: ServiceError | None = None) -> None:
        log.info(
            "method=%s status=%s ms=%.2f bytes_in=%d bytes_out=%d%s",
            self._method,
            status,
            (time.perf_counter() - self._began) * 1e3,
            self._num_bytes_in,
            self.num_bytes_out,
            f" field={error.field!r}" if error is not None and error.field else "",
        )


class RequestInterceptor(grpc.ServerInterceptor):
    """Wraps each method of one service; health and reflection pass untouched.

    Requests are decoded here and not by gRPC, so that bytes that are no message end as INVALID_ARGUMENT like
    every other bad request, and so that their size is known to the log.
    """

    def __init__(self, service: str) -> None:
        self._prefix = f"/{service}/"

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(self._prefix):
            return handler
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(_streaming(method, handler))
        return grpc.unary_unary_rpc_method_handler(_single(method, handler))


def _single(method: str, handler: Handler) -> Behaviour:
    def call(data: bytes, context: grpc.ServicerContext) -> bytes:
        request = _Request(method, len(data))
        try:
            response = handler.unary_unary(_decode(handler, data), context)
            encoded: bytes = handler.response_serializer(response)
        except Exception as exc:
            _refuse(request, exc, context)
        request.num_bytes_out = len(encoded)
        request.log("OK")
        return encoded

    return call


def _streaming(method: str, handler: Handler) -> Behaviour:
    def call(data: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        request = _Request(method, len(data))
        try:
            for response in handler.unary_stream(_decode(handler, data), context):
                encoded: bytes = handler.response_serializer(response)
                request.num_bytes_out += len(encoded)
                yield encoded
        except GeneratorExit:  # the client is gone
            request.log("CANCELLED")
            raise
        except Exception as exc:
            _refuse(request, exc, context)
        request.log("OK")

    return call


def _decode(handler: Handler, data: bytes) -> Any:
    try:
        return handler.request_deserializer(data)
    except DecodeError as exc:
        raise InvalidArgument(
            f"the request is no valid message: {exc}", field="request", expected="the method's message"
        ) from exc


def _refuse(request: _Request, exc: Exception, context: grpc.ServicerContext) -> NoReturn:
    if isinstance(exc, ServiceError):
        error = exc
    else:
        logging.getLogger(__name__).error("unexpected error", exc_info=exc)
        error = Internal("internal error; the server's log has the traceback")
    status = to_status(error)
    request.log(status.code.name, error)
    context.abort_with_status(status)
    raise AssertionError("abort_with_status raises")
