"""What every call to the memory passes through: admission, decoding, errors turned into statuses."""

import logging
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from memory_service.errors import Internal, InvalidArgument, ServiceError
from memory_service.security.access import work_for
from memory_service.security.tokens import Token
from memory_service.serving.admission import LANES, Lane, LaneThreads
from memory_service.serving.call import Call, Send
from memory_service.serving.gate import Gate
from memory_service.serving.request_log import log_refusal
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.requests import decode
from memory_service.wire.status import to_status

_log = logging.getLogger(__name__)

Handler: TypeAlias = Any
"""A grpc.RpcMethodHandler, whose stubs make every member optional."""

Run: TypeAlias = Callable[[Iterator[bytes], Call], Any]

_WITH_BLOCK = {
    "Append": pb.AppendRequest,
    "Advance": pb.AdvanceRequest,
    "AdvanceStream": pb.AdvanceRequest,
}
"""Requests of large payloads, by method: decoded without copying these."""

_KINDS = {
    (False, False): (grpc.unary_unary_rpc_method_handler, "unary_unary"),
    (False, True): (grpc.unary_stream_rpc_method_handler, "unary_stream"),
    (True, False): (grpc.stream_unary_rpc_method_handler, "stream_unary"),
    (True, True): (grpc.stream_stream_rpc_method_handler, "stream_stream"),
}
"""By what is streamed, request and response: how gRPC makes a handler, and what it calls its behaviour."""


class RequestInterceptor(grpc.ServerInterceptor):
    """Wraps every method: calls are admitted by the gate before they get a thread, one of their lane's.

    Messages of the service are decoded and encoded here with the (de)serialisers of the method's handler
    and not by gRPC, so that bytes that are no message end as INVALID_ARGUMENT like every other bad request,
    and so that their size is known. A method that takes one message is served as one that takes a stream of
    them, and a stream of answers by a callback: it is then the call that says when to receive and to end.
    """

    def __init__(self, service: str, gate: Gate) -> None:
        self._prefix = f"/{service}/"
        self._gate = gate

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Handler | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        handler = continuation(handler_call_details)
        if handler is None:
            return None
        path, metadata = handler_call_details.method, handler_call_details.invocation_metadata or ()
        ours = path.startswith(self._prefix)
        method = path.removeprefix(self._prefix)
        try:
            if ours:
                lane = LANES.get(method, Lane.CALLS)
            else:
                lane = Lane.PROBE_STREAMS if handler.response_streaming else Lane.PROBES
            threads, token = self._gate.admit(lane, metadata)
        except ServiceError as error:
            return grpc.stream_unary_rpc_method_handler(_Refusal(self._gate, method, error))
        if not ours:
            make, kind = _KINDS[handler.request_streaming, handler.response_streaming]
            behaviour = _Foreign(self._gate, getattr(handler, kind), threads)
            return make(behaviour, handler.request_deserializer, handler.response_serializer)
        if handler.response_streaming:
            return grpc.stream_stream_rpc_method_handler(
                _Streaming(self._gate, method, handler, threads, token)
            )
        return grpc.stream_unary_rpc_method_handler(_Single(self._gate, method, handler, threads, token))


class _Refusal:
    """Tells a caller why it was not let in; nothing that it sends is received."""

    def __init__(self, gate: Gate, method: str, error: ServiceError) -> None:
        self.experimental_thread_pool = gate.refusals
        self._observer = gate.observer
        self._method = method
        self._error = error

    def __call__(self, _messages: Iterator[bytes], context: grpc.ServicerContext) -> NoReturn:
        status = to_status(self._error)
        log_refusal(self._method, status.code.name, context.peer)
        if self._observer is not None:
            self._observer.began(self._method)
            self._observer.finished(self._method, status.code.name, 0.0, 0, 0)
        context.abort_with_status(status)
        raise AssertionError("abort_with_status raises")


class _Foreign:
    """Another service's method, in the threads of its lane."""

    def __init__(self, gate: Gate, behaviour: Callable[..., Any], threads: LaneThreads) -> None:
        self.experimental_thread_pool = threads
        self._gate = gate
        self._behaviour = behaviour

    def __call__(self, request: Any, context: grpc.ServicerContext) -> Any:
        self._gate.probes.add(context)
        return self._behaviour(request, context)


class _Served:
    """One call to a method of the service; gRPC reads the attributes."""

    def __init__(
        self, gate: Gate, method: str, handler: Handler, threads: LaneThreads, token: Token | None
    ) -> None:
        self.experimental_thread_pool = threads
        self._gate = gate
        self._method = method
        self._handler = handler
        self._token = token

    def _begun(self, context: grpc.ServicerContext) -> Call:
        call = self._gate.open(self._method, context, self._token)
        call.cancellation.begin()
        work_for(self._token)
        return call

    def _request(self, messages: Iterator[bytes], call: Call) -> Any:
        """The one request, decoded, and allowed to the caller."""
        request = self._decoded(call.receive(messages))
        call.admit(request)
        return request

    def _requests(self, messages: Iterator[bytes], call: Call) -> Iterator[Any]:
        """All requests of a stream; those that are answered one by one each take a turn."""
        while (data := call.receive_next(messages)) is not None:
            request = self._decoded(data)
            del data
            call.admit(request)
            if self._handler.response_streaming:
                call.work()
            yield request
            del request  # a caller may think for long about the next one

    def _decoded(self, data: bytes) -> Any:
        try:
            kind = _WITH_BLOCK.get(self._method)
            return self._handler.request_deserializer(data) if kind is None else decode(kind, data)
        except DecodeError as exc:
            raise InvalidArgument(
                f"the request is no valid message: {exc}", field="request", expected="the method's message"
            ) from exc

    def _encoded(self, response: Any) -> bytes:
        """The bytes of an answer; a method that carries payloads has put them together itself."""
        if isinstance(response, bytes):
            return response
        encoded: bytes = self._handler.response_serializer(response)
        return encoded


class _Single(_Served):
    """One answer."""

    def __call__(self, messages: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        call = self._begun(context)
        handler = self._handler
        try:
            if handler.request_streaming:
                response = handler.stream_unary(self._requests(messages, call), context)
            else:
                request = self._request(messages, call)
                call.work()
                response = handler.unary_unary(request, context)
            encoded = self._encoded(response)
            call.answer(encoded)
        except Exception as exc:
            error = _error(exc)
            status = to_status(error)
            call.finish(status.code.name, error)
            context.abort_with_status(status)
            raise AssertionError("abort_with_status raises") from exc
        call.finish()
        return encoded


class _Streaming(_Served):
    """A stream of answers."""

    experimental_non_blocking = True

    def __call__(self, messages: Iterator[bytes], context: grpc.ServicerContext, send: Send) -> None:
        call = self._begun(context)
        call.answers_with(send)
        try:
            self._answer(messages, call, context)
            call.cancellation.check()
        except Exception as exc:
            error = _error(exc)
            call.finish(to_status(error).code.name, error)
        else:
            call.finish()

    def _answer(self, messages: Iterator[bytes], call: Call, context: grpc.ServicerContext) -> None:
        """Each answer is made in a turn of the call's, and sent outside of it."""
        if self._handler.request_streaming:
            responses = iter(self._handler.stream_stream(self._requests(messages, call), context))
        else:
            responses = iter(self._handler.unary_stream(self._request(messages, call), context))
        try:
            while True:
                if not call.patient:
                    call.work()
                response = next(responses, None)
                if response is None:
                    return
                call.send(self._encoded(response))
                del response
        finally:
            close = getattr(responses, "close", None)
            if close is not None:
                close()


def _error(exc: Exception) -> ServiceError:
    if isinstance(exc, ServiceError):
        return exc
    _log.error("unexpected error", exc_info=exc)
    return Internal("internal error; the server's log has the traceback")
