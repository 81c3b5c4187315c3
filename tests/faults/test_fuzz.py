"""Random requests, random bytes in requests, and random bytes instead of requests."""

import random
import socket
from contextlib import suppress
from itertools import count
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_requests import BAD_IDS, KEY, METHODS, SERVICE, Send, append_request, query, search_request, vectors
from samples import SPEC, embeddings
from serving import ServerProcess

from memory_service import errors, wire
from memory_service.errors import InvalidArgument, NotFound, ServiceError, TooLarge
from memory_service.types import VideoKey
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.status import from_rpc_error

pytestmark = pytest.mark.usefixtures("lives")

REFUSALS = (
    InvalidArgument,
    NotFound,
    TooLarge,
    errors.AlreadyExists,
    errors.OutOfOrder,
    errors.Fenced,
    errors.Sealed,
    errors.NotEmpty,
    errors.Exhausted,
    errors.DataLoss,
)
"""What a client may get for a request of its own making; anything else is a defect of the server."""


def messages(descriptor: Descriptor, depth: int = 0) -> st.SearchStrategy[Message]:
    """Messages with any subset of their fields; half of the values are plausible: they pass first checks."""
    values = {field.name: st.none() | field_values(field, depth) for field in descriptor.fields}
    known = {"key": st.just(wire.key_to_proto(KEY)), "block": st.just(append_request().block)}
    values |= {name: plausible | values[name] for name, plausible in known.items() if name in values}
    return st.fixed_dictionaries(values).map(lambda chosen: build(descriptor, chosen))


def build(descriptor: Descriptor, chosen: dict[str, Any]) -> Message:
    present = {name: value for name, value in chosen.items() if value is not None}
    message: Message = descriptor._concrete_class(**present)
    return message


def field_values(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return st.dictionaries(
            st.text(max_size=5), scalars(field.message_type.fields_by_name["value"]), max_size=3
        )
    one = messages(field.message_type, depth + 1) if field.message_type is not None else scalars(field)
    return st.lists(one, max_size=4) if field.is_repeated else one


def scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    small = st.integers(-2, 12)
    kinds = {
        FieldDescriptor.TYPE_INT32: small | st.integers(-(1 << 31), (1 << 31) - 1),
        FieldDescriptor.TYPE_INT64: small | st.integers(-(1 << 63), (1 << 63) - 1),
        FieldDescriptor.TYPE_UINT64: st.integers(0, (1 << 64) - 1),
        FieldDescriptor.TYPE_FIXED32: st.integers(0, (1 << 32) - 1),
        FieldDescriptor.TYPE_BOOL: st.booleans(),
        FieldDescriptor.TYPE_FLOAT: st.floats(width=32),
        FieldDescriptor.TYPE_DOUBLE: st.floats(),
        FieldDescriptor.TYPE_ENUM: st.integers(-1, 5),
        FieldDescriptor.TYPE_STRING: st.sampled_from(["pool", "target", "latent", *BAD_IDS])
        | st.text(max_size=9),
        FieldDescriptor.TYPE_BYTES: st.sampled_from([embeddings(0, 1).tobytes(), vectors(3, np.nan)])
        | st.binary(max_size=64),
    }
    return kinds[field.type]


def answered(send: Send, method: str, *data: bytes) -> None:
    """With an answer, or with an error that a client may get, which says what is wrong and what is right."""
    error: ServiceError | None = None
    try:
        send(method, *data)
    except ServiceError as exc:
        error = exc
    assert isinstance(error, (*REFUSALS, type(None))), error
    if error is not None:
        assert error.field, error
        assert error.expected, error


FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
READS = {
    "ExportVideo",
    "Fetch",
    "GetPool",
    "GetVideo",
    "Heartbeat",
    "ListPools",
    "ListRetrievals",
    "ListVideos",
    "Search",
    "ServerInfo",
    "Watch",
}
SCRATCH = VideoKey("scratch", "target")
"""What random writes are turned to: the history that other tests rely on is not to change."""


def turned(message: Any) -> Any:
    """The request with whatever it would write to turned to SCRATCH."""
    scratch = wire.key_to_proto(SCRATCH)
    names = {field.name for field in message.DESCRIPTOR.fields}
    if "key" in names and message.HasField("key"):
        message.key.CopyFrom(scratch if message.key == wire.key_to_proto(KEY) else message.key)
        if message.key.pool == KEY.pool:
            message.key.pool = SCRATCH.pool
    if "pool" in names and message.pool == KEY.pool:
        message.pool = SCRATCH.pool
    return message


class TestFuzz:
    @pytest.mark.parametrize("method", sorted(READS))
    def test_random_requests(self, send: Send, method: str) -> None:
        @FUZZ
        @given(messages(METHODS[method].input_type))
        def run(request: Message) -> None:
            answered(send, method, request.SerializeToString())

        run()

    @pytest.mark.parametrize("method", sorted(set(METHODS) - READS))
    def test_random_requests_that_write(self, send: Send, method: str) -> None:
        spec = wire.spec_to_proto(SPEC)
        created = pb.CreateVideoRequest(key=wire.key_to_proto(SCRATCH), spec=spec).SerializeToString()

        @FUZZ
        @given(st.lists(messages(METHODS[method].input_type), min_size=1, max_size=3))
        def run(requests: list[Any]) -> None:
            if method in {"DropVideo", "DropPool"}:
                send("CreateVideo", created)
            count = len(requests) if METHODS[method].client_streaming else 1
            answered(send, method, *(turned(one).SerializeToString() for one in requests[:count]))

        send("CreateVideo", created)
        try:
            run()
        finally:  # with whatever quota it was given
            with suppress(NotFound):
                send("DropPool", pb.DropPoolRequest(pool=SCRATCH.pool, with_videos=True).SerializeToString())

    @pytest.mark.parametrize("method", sorted(METHODS))
    def test_random_bytes(self, send: Send, method: str) -> None:
        @FUZZ
        @given(st.binary(max_size=200))
        def run(data: bytes) -> None:
            answered(send, method, data)

        run()

    @pytest.mark.parametrize("method", sorted(METHODS))
    def test_truncated_and_flipped_requests(self, send: Send, method: str) -> None:
        rng = random.Random(method)
        request = METHODS[method].input_type._concrete_class()
        if method == "Append":
            request = append_request(start=0)
        elif method == "Search":
            request = search_request(query())
        whole = request.SerializeToString()
        for _ in range(100):
            data = bytearray(whole[: rng.randint(0, len(whole))])
            for _ in range(rng.randint(0, 3)):
                if data:
                    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            answered(send, method, bytes(data))


def test_random_bytes_on_the_port(target: ServerProcess) -> None:
    host, _, port = target.address.rpartition(":")
    rng = random.Random(0)
    openings = [b"", b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00"]
    held = []
    for i in range(60):
        connection = socket.create_connection((host, int(port)), timeout=5)
        connection.sendall(openings[i % 4] + rng.randbytes(rng.choice([0, 1, 9, 100, 5000])))
        held.append(connection)
    for connection in held:
        connection.close()


def test_unknown_methods_and_services(channel: grpc.Channel) -> None:
    for path in (f"/{SERVICE.full_name}/Nothing", "/nobody.Service/Append", "/x", f"/{SERVICE.full_name}/"):
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(path)(b"", timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_headers_too_large(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/{SERVICE.full_name}/ServerInfo")(
            b"", timeout=20, metadata=[("x", "y" * 100_000)]
        )
    assert isinstance(from_rpc_error(caught.value), TooLarge)


def test_memory_stays_flat(target: ServerProcess, send: Send) -> None:
    """Thousands of refused and answered requests leave nothing behind."""
    large = append_request()
    large.block.parts.add(name="preview").payloads.extend([bytes(400_000)] * 3)
    unknown = pb.Handle(key=pb.VideoKey(pool="pool", video="NUMBER"), epoch=1)
    requests: list[Message] = [
        append_request(embeddings=vectors(3, np.nan)),
        append_request(start=99),
        large,
        search_request(query(k=0)),
        pb.GetVideoRequest(key=unknown.key),
        pb.ListVideosRequest(pool="NUMBER"),
        pb.FetchRequest(handles=[unknown]),
        pb.ServerInfoRequest(),
    ]
    encoded = [(type(r).__name__.removesuffix("Request"), r.SerializeToString()) for r in requests]
    # A name never heard before each time: names that were asked for must not be remembered.
    numbers = count(100_000)

    def resident_after(rounds: int) -> int:
        for _ in range(rounds):
            for method, data in encoded:
                answered(send, method, data.replace(b"NUMBER", b"%06d" % next(numbers)))
        return target.rss_bytes

    before = resident_after(200)
    assert resident_after(300) - before < 8 << 20
