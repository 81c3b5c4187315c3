"""Traces by OTLP, as a collector receives them; the collector here is a gRPC server of its own."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from opentelemetry.proto.trace.v1.trace_pb2 import Status as SpanStatus
from samples import ALL, KEY, SPEC, block, query

from memory_service import wire
from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.errors import InvalidArgument, NotFound, OutOfOrder
from memory_service.server import Server
from memory_service.types import Query, VideoKey
from memory_service.v1 import memory_pb2 as pb
from memory_service.v1.memory_pb2_grpc import MemoryServiceStub

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps all spans that it is sent."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, str]] = []

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ARG002, N802
        for group in request.resource_spans:
            self.resources.append({one.key: one.value.string_value for one in group.resource.attributes})
            for scope in group.scope_spans:
                self.spans.extend(scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()


@pytest.fixture
def collector() -> Iterator[tuple[Collector, str]]:
    server = grpc.server(ThreadPoolExecutor(1))
    collector = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield collector, f"http://127.0.0.1:{port}"
    server.stop(0).wait()


def attributes(span: Span) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in span.attributes}


def test_each_call_is_a_span(collector: tuple[Collector, str], tmp_path: Path) -> None:
    received, endpoint = collector
    server = Server(ServiceConfig(data_dir=tmp_path, address="127.0.0.1:0", otlp_endpoint=endpoint))
    server.start()
    with MemoryClient(server.address, cache_bytes=0) as memory:
        memory.create_video(KEY, SPEC)
        advanced = memory.advance(KEY, block(0), Query(3, ALL))
        with pytest.raises(InvalidArgument):
            memory.advance(KEY, block(3), Query(0, ALL))
        memory.search(KEY, [query(k=2, like=0), query(k=1, like=1)])
        memory.fetch([hit.handle for hit in advanced.hits])
        list(memory.append_stream(KEY, [block(3), block(6)]))
        with pytest.raises(OutOfOrder):
            memory.append(KEY, block(30))
        with pytest.raises(NotFound):
            memory.get_video(VideoKey("pool", "nobody"))
    with grpc.insecure_channel(server.address) as channel:
        stub = MemoryServiceStub(channel)
        request = pb.GetVideoRequest(key=wire.key_to_proto(KEY))
        stub.GetVideo(request, metadata=[("traceparent", f"00-{TRACE_ID}-{CALLER}-01")])
    server.stop()

    spans: dict[str, list[Span]] = {}
    for span in received.spans:
        assert span.kind == Span.SPAN_KIND_SERVER
        assert span.name.startswith("memory_service.v1.MemoryService/")
        assert span.end_time_unix_nano >= span.start_time_unix_nano > 0
        spans.setdefault(span.name.rpartition("/")[2], []).append(span)
    assert received.resources[0]["service.name"] == "reverie-memory"

    advance, invalid = spans["Advance"]  # each on a stream, which has no span of its own
    assert "AdvanceStream" not in spans
    expected = {"rpc.method": "Advance", "reverie.pool": "pool", "reverie.video": "video"}
    expected |= {"reverie.frames": 3, "reverie.hits": 3, "reverie.frames_sent": 3}
    assert expected.items() <= attributes(advance).items()
    (search,) = spans["Search"]
    assert {"reverie.queries": 2, "reverie.hits": 3}.items() <= attributes(search).items()
    (fetch,) = spans["Fetch"]
    assert {"reverie.handles": 3, "reverie.responses": 3}.items() <= attributes(fetch).items()
    (stream,) = spans["AppendStream"]
    assert {"reverie.requests": 2, "reverie.frames": 6}.items() <= attributes(stream).items()

    assert invalid.status.code == SpanStatus.STATUS_CODE_ERROR
    assert attributes(invalid)["reverie.field"] == "query.k"
    refused = spans["Append"][0]  # the client looks again whether blocks were lost
    assert refused.status.code == SpanStatus.STATUS_CODE_ERROR
    assert attributes(refused)["error.type"] == "OUT_OF_ORDER"
    missing, *_, continued = spans["GetVideo"]
    assert attributes(missing)["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert continued.status.code == SpanStatus.STATUS_CODE_UNSET
    assert (continued.trace_id.hex(), continued.parent_span_id.hex()) == (TRACE_ID, CALLER)
    assert missing.trace_id != continued.trace_id


def test_a_collector_that_is_away_harms_nobody(tmp_path: Path) -> None:
    config = ServiceConfig(data_dir=tmp_path, address="127.0.0.1:0", otlp_endpoint="http://127.0.0.1:1")
    server = Server(config)
    server.start()
    with MemoryClient(server.address) as memory:
        memory.create_video(KEY, SPEC)
        memory.append(KEY, block(0))
    server.stop()


def test_an_endpoint_without_a_scheme_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="otlp_endpoint"):
        ServiceConfig(data_dir=tmp_path, otlp_endpoint="localhost:4317")
