"""What every call to the memory passes through: decoding, errors turned into statuses, one log line."""

import logging
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from memory_service.call import Call, Observer
from memory_service.errors import Cancelled, Internal, InvalidArgument, ServiceError
from memory_service.status import to_status

_log = logging.getLogger(__name__)

Behaviour: TypeAlias = Callable[[Any, grpc.ServicerContext], Any]
Handler: TypeAlias = Any
"""A grpc.RpcMethodHandler, whose stubs make every member optional."""


class RequestInterceptor(grpc.ServerInterceptor):
    """Wraps each method of one service; health and reflection pass untouched.

    Messages are decoded and encoded here with the (de)serialisers of the method's handler and not by gRPC, so
    that bytes that are no message end as INVALID_ARGUMENT like every other bad request, and so that their
    size is known to the log. A method that takes one message is served as one that takes a stream of them:
    gRPC then leaves it to this module when to receive it.
    """

    def __init__(self, service: str, observer: Observer | None = None) -> None:
        self._prefix = f"/{service}/"
        self._observer = observer

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(self._prefix):
            return handler
        name = method.removeprefix(self._prefix)
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(self._streaming(name, handler))
        return grpc.stream_unary_rpc_method_handler(self._single(name, handler))

    def _single(self, method: str, handler: Handler) -> Behaviour:
        """One response."""
        behaviour = handler.stream_unary if handler.request_streaming else handler.unary_unary

        def run(messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
            call = Call(method, context, self._observer)
            try:
                response = behaviour(_requests(handler, messages, call), context)
                encoded: bytes = handler.response_serializer(response)
            except Exception as exc:
                _refuse(call, exc, context)
            call.sends(len(encoded))
            call.finish("OK")
            return encoded

        return run

    def _streaming(self, method: str, handler: Handler) -> Behaviour:
        """A stream of responses."""
        behaviour = handler.stream_stream if handler.request_streaming else handler.unary_stream

        def run(messages: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            call = Call(method, context, self._observer)
            try:
                for response in behaviour(_requests(handler, messages, call), context):
                    encoded: bytes = handler.response_serializer(response)
                    call.sends(len(encoded))
                    yield encoded
            except GeneratorExit:  # the client is gone
                call.finish("CANCELLED")
                raise
            except Exception as exc:
                _refuse(call, exc, context)
            call.finish("OK")

        return run


def _requests(handler: Handler, messages: Iterator[bytes], call: Call) -> Any:
    """The request, or an iterator of requests, decoded."""
    decoded = _decoded(handler, messages, call)
    if handler.request_streaming:
        return decoded
    for request in decoded:
        return request
    raise InvalidArgument("the call has no request", field="request", expected="one message")


def _decoded(handler: Handler, messages: Iterator[bytes], call: Call) -> Iterator[Any]:
    while True:
        try:
            data = next(messages)
        except StopIteration:
            return
        except grpc.RpcError as exc:
            raise Cancelled("the caller is gone") from exc
        call.receives(len(data))
        try:
            request = handler.request_deserializer(data)
        except DecodeError as exc:
            raise InvalidArgument(
                f"the request is no valid message: {exc}", field="request", expected="the method's message"
            ) from exc
        yield request


def _refuse(call: Call, exc: Exception, context: grpc.ServicerContext) -> NoReturn:
    if isinstance(exc, ServiceError):
        error = exc
    else:
        _log.error("unexpected error", exc_info=exc)
        error = Internal("internal error; the server's log has the traceback")
    status = to_status(error)
    call.finish(status.code.name, error)
    context.abort_with_status(status)
    raise AssertionError("abort_with_status raises")
