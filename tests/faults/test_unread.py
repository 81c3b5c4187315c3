"""Clients that ask for frames and do not read them: everybody else is served."""

import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from samples import KEY, embeddings, handle
from serving import ServerProcess

from memory_service import wire
from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.errors import Overloaded
from memory_service.memory import Memory
from memory_service.types import Block, VideoSpec
from memory_service.v1 import memory_pb2 as pb
from memory_service.v1.memory_pb2_grpc import MemoryServiceStub
from memory_service.wire.status import from_rpc_error

NUM_STREAMS = 64
MAX_FETCHES = ServiceConfig.max_read_streams * 3 // 4
"""One pool's share."""
SPEC = VideoSpec(8, "float32", (1 << 18,), "tests/sha256:00")
QUICKLY_S = 5.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", "127.0.0.1:0") as running:
        yield running


@pytest.fixture
def memory(server: ServerProcess) -> Iterator[Memory]:
    """A memory with one video of three frames of a megabyte each."""
    with MemoryClient(server.address) as client:
        client.create_video(KEY, SPEC)
        client.append(KEY, Block(0, embeddings(0), {"latent": [bytes(SPEC.latent_bytes)] * 3}))
        yield client


@pytest.fixture
def unread(server: ServerProcess, memory: Memory) -> Iterator[list[grpc.Call]]:
    """Streams far larger than what the connection buffers."""
    handles = [wire.handle_to_proto(handle(memory, frame)) for frame in (0, 1, 2)]
    with grpc.insecure_channel(server.address) as channel:
        stub = MemoryServiceStub(channel)  # type: ignore[no-untyped-call]
        yield [stub.Fetch(pb.FetchRequest(handles=handles * 100)) for _ in range(NUM_STREAMS)]


def refused(streams: list[grpc.Call]) -> list[grpc.Call]:
    """The streams that were refused, once all of them have been begun or refused."""
    deadline = time.monotonic() + QUICKLY_S
    while time.monotonic() < deadline:
        ended = [stream for stream in streams if stream.done()]  # type: ignore[attr-defined]
        if len(ended) >= NUM_STREAMS - MAX_FETCHES:
            return ended
        time.sleep(0.05)
    raise AssertionError("streams wait for each other")


def test_health_and_other_calls_are_answered(
    server: ServerProcess, memory: Memory, unread: list[grpc.Call]
) -> None:
    time.sleep(3)  # until every stream waits for its client
    began = time.monotonic()
    with grpc.insecure_channel(server.address) as channel:
        check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=QUICKLY_S)
    assert check.status == health_pb2.HealthCheckResponse.SERVING
    assert memory.get_video(KEY).state.length == 3
    assert time.monotonic() - began < QUICKLY_S
    assert not all(stream.done() for stream in unread)  # type: ignore[attr-defined]


def test_more_are_refused_until_some_end(memory: Memory, unread: list[grpc.Call]) -> None:
    over = refused(unread)
    assert len(over) == NUM_STREAMS - MAX_FETCHES
    for stream in over:
        assert isinstance(stream, grpc.RpcError)
        error = from_rpc_error(stream)
        assert type(error) is Overloaded
        assert str(MAX_FETCHES) in error.expected or str(ServiceConfig.max_read_streams) in error.expected
    for stream in unread:
        stream.cancel()  # type: ignore[attr-defined]
    assert [frame.handle.frame for frame in memory.fetch([handle(memory, 2)])] == [2]
