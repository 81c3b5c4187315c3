"""OpenTelemetry traces of calls, sent by OTLP. Loaded only by a server that is told where to send them.

A span of each call, named after its method, continues the caller's trace where the call's metadata have a
W3C `traceparent`. Attributes say which pool, how many frames came, how many hits went, which error it was.
A stream whose requests count as calls has a span of each, and none of its own, which could last for hours.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import memory_service
from memory_service.errors import ServiceError
from memory_service.serving.exchange import COUNTED
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.framing import split
from memory_service.wire.status import CODES, reason

Handler = Any
"""A grpc.RpcMethodHandler, whose stubs make every member optional."""

_PLAIN = "http://"

_EXPORT_TIMEOUT_S = 3
"""Longest try to send spans; a server that stops waits for one."""


class TracingInterceptor(grpc.ServerInterceptor):
    """Stands inside the interceptor that turns errors into statuses, so that it sees messages and errors."""

    def __init__(self, service: str, exporter: SpanExporter) -> None:
        """`service` is the full name of the gRPC service; others pass untouched."""
        resource = Resource.create(
            {"service.name": "reverie-memory", "service.version": memory_service.__version__}
        )
        self._provider = TracerProvider(resource=resource)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("memory_service", memory_service.__version__)
        self._propagator = TraceContextTextMapPropagator()
        self._service = service
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
        return self._traced(method.removeprefix(self._prefix), handler)

    def close(self) -> None:
        """Send what is left, within the exporter's timeout."""
        self._provider.shutdown()

    def _traced(self, method: str, handler: Handler) -> Handler:
        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        requests, responses = handler.request_streaming, handler.response_streaming

        def single(request: Any, context: grpc.ServicerContext) -> Any:
            behaviour = handler.stream_unary if requests else handler.unary_unary
            with self._span(method, context) as span:
                response = behaviour(_seen(request, span, many=requests), context)
                if isinstance(response, bytes):
                    _note_encoded(span, method, response)
                else:
                    _note_response(span, response)
                return response

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            behaviour = handler.stream_stream if requests else handler.unary_stream
            with self._span(method, context) as span:
                count = 0
                try:
                    for response in behaviour(_seen(request, span, many=requests), context):
                        count += 1
                        yield response
                finally:
                    span.set_attribute("reverie.responses", count)

        if method in COUNTED:
            counted = self._each_traced(COUNTED[method], handler.stream_stream)
            return grpc.stream_stream_rpc_method_handler(counted, **codec)
        if responses:
            make = grpc.stream_stream_rpc_method_handler if requests else grpc.unary_stream_rpc_method_handler
            return make(stream, **codec)
        make = grpc.stream_unary_rpc_method_handler if requests else grpc.unary_unary_rpc_method_handler
        return make(single, **codec)

    def _each_traced(self, method: str, behaviour: Handler) -> Handler:
        """A stream that is answered request by request, each as a call of `method`."""

        def exchange(requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
            spans: list[Span] = []
            with ExitStack() as answering:

                def begun() -> Iterator[Any]:
                    for request in requests:
                        spans.append(answering.enter_context(self._span(method, context)))
                        _note_request(spans[0], request)
                        yield request
                        del request

                for response in behaviour(begun(), context):
                    _note_encoded(spans.pop(), method, response)
                    answering.close()
                    yield response
                    del response

        return exchange

    @contextmanager
    def _span(self, method: str, context: grpc.ServicerContext) -> Iterator[Span]:
        carrier = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        span = self._tracer.start_span(
            f"{self._service}/{method}",
            self._propagator.extract(carrier),
            SpanKind.SERVER,
            {"rpc.system": "grpc", "rpc.service": self._service, "rpc.method": method},
        )
        try:
            yield span
        except ServiceError as error:
            _note_error(span, error)
            raise
        except Exception as error:
            span.record_exception(error)
            span.set_status(StatusCode.ERROR, type(error).__name__)
            raise
        finally:
            span.end()


def otlp(endpoint: str) -> SpanExporter:
    """An exporter to a collector, "http://host:4317" in plain text, "https://host:4317" with TLS."""
    insecure = endpoint.startswith(_PLAIN)
    return OTLPSpanExporter(endpoint=endpoint, insecure=insecure, timeout=_EXPORT_TIMEOUT_S)


def _seen(request: Any, span: Span, *, many: bool) -> Any:
    """The request, or the stream of them, noted as it passes."""
    if not many:
        _note_request(span, request)
        return request
    return _noted(request, span)


def _noted(requests: Iterator[Any], span: Span) -> Iterator[Any]:
    count = frames = 0
    try:
        for number, request in enumerate(requests):
            if number == 0:
                _note_request(span, request)
            count, frames = count + 1, frames + _num_frames(request)
            yield request
    finally:
        span.set_attributes({"reverie.requests": count, "reverie.frames": frames})


def _note_request(span: Span, request: Any) -> None:
    key = getattr(request, "key", None)
    pool = getattr(key, "pool", "") or getattr(request, "pool", "")
    if pool:
        span.set_attribute("reverie.pool", pool)
    if video := getattr(key, "video", ""):
        span.set_attribute("reverie.video", video)
    if frames := _num_frames(request):
        span.set_attribute("reverie.frames", frames)
    if queries := len(getattr(request, "queries", ())):
        span.set_attribute("reverie.queries", queries)
    if handles := len(getattr(request, "handles", ())):
        span.set_attribute("reverie.handles", handles)


def _num_frames(request: Any) -> int:
    """Number of frames of the request's block."""
    parts = getattr(getattr(request, "block", None), "parts", ())
    return max((len(part.payloads) or len(part.local) for part in parts), default=0)


def _note_response(span: Span, response: Any) -> None:
    hits = getattr(response, "hits", None)
    if hits is None and hasattr(response, "results"):
        hits = [hit for found in response.results for hit in found.hits]
    if hits is not None:
        span.set_attribute("reverie.hits", len(hits))
    if getattr(response, "duplicate", False):
        span.set_attribute("reverie.duplicate", True)


def _note_encoded(span: Span, method: str, response: bytes) -> None:
    """The answer to Advance comes encoded, put together around its payloads."""
    if method != "Advance":
        return
    fields = pb.AdvanceResponse.DESCRIPTOR.fields_by_name
    hits, frames = fields["hits"].number, fields["frames"].number
    _, taken = split(memoryview(response), frozenset((hits, frames)))
    counts = Counter(number for number, _ in taken)
    span.set_attributes({"reverie.hits": counts[hits], "reverie.frames_sent": counts[frames]})


def _note_error(span: Span, error: ServiceError) -> None:
    span.set_attributes(
        {
            "rpc.grpc.status_code": CODES[type(error)].value[0],
            "error.type": reason(type(error)),
            "reverie.field": error.field,
        }
    )
    span.set_status(StatusCode.ERROR, str(error))
