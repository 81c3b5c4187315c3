"""One pool floods the server with searches that take long; another pool's generator goes on."""

import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from samples import embeddings
from serving import ServerProcess

from memory_service import wire
from memory_service.client import MemoryClient
from memory_service.errors import Overloaded, ServiceError
from memory_service.types import Block, Query, Span, VideoKey, VideoSpec
from memory_service.v1 import memory_pb2 as pb
from memory_service.v1.memory_pb2_grpc import MemoryServiceStub
from memory_service.wire.status import from_rpc_error

DIM = 64
SPEC = VideoSpec(DIM, "bfloat16", (1,), "tests/sha256:00")
FLOOD, QUIET = VideoKey("flood", "video"), VideoKey("quiet", "video")
NUM_FRAMES, NUM_FLOODING, NUM_STEPS = 20_480, 300, 30
EVERYTHING = Span(0, NUM_FRAMES)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", f"unix:{tmp_path}/socket") as running:
        with MemoryClient(running.address) as memory:
            rows = np.random.default_rng(0).standard_normal((NUM_FRAMES, DIM)).astype(np.float32)
            memory.create_video(FLOOD, SPEC)
            memory.create_video(QUIET, SPEC)
            for start in range(0, NUM_FRAMES, 256):
                memory.append(FLOOD, Block(start, rows[start : start + 256], {"latent": [bytes(2)] * 256}))
        yield running


def test_a_flood_of_searches_in_another_pool(server: ServerProcess) -> None:
    vectors = embeddings(0, 256, DIM)
    queries = [pb.Query(k=64, eligible=pb.Span(stop=NUM_FRAMES), embedding=row.tobytes()) for row in vectors]
    search = pb.SearchRequest(key=wire.key_to_proto(FLOOD), queries=queries, unlogged=True)
    with (
        grpc.insecure_channel(server.address) as channel,
        MemoryClient(server.address, timeout_s=60) as memory,
    ):
        stub = MemoryServiceStub(channel)  # type: ignore[no-untyped-call]
        flood = [stub.Search.future(search) for _ in range(NUM_FLOODING)]
        until = time.monotonic() + 60
        while not any(one.done() for one in flood):
            assert time.monotonic() < until
            time.sleep(0.01)
        seconds = []
        for step in range(NUM_STEPS):
            began = time.monotonic()
            block = Block(3 * step, embeddings(3 * step, 3, DIM), {"latent": [bytes(2)] * 3})
            assert memory.advance(QUIET, block, Query(3, EVERYTHING)).appended.state.length == 3 * step + 3
            seconds.append(time.monotonic() - began)
        waiting = sum(not one.done() for one in flood)
        refused: list[ServiceError] = []
        while not any(isinstance(error, Overloaded) for error in refused):
            assert time.monotonic() < until, "nobody was refused"
            time.sleep(0.01)
            refused = [from_rpc_error(one.exception()) for one in flood if one.done() and one.exception()]
        for one in flood:
            one.cancel()
    median_ms, worst_ms = 1e3 * statistics.median(seconds), 1e3 * max(seconds)
    print(
        f"Advance beside {waiting} searches of another pool: {median_ms:.0f} ms, at worst {worst_ms:.0f} ms"
    )
    assert waiting > 50, "the flood was over before the other pool was done"
    assert statistics.median(seconds) < 1.0
    assert max(seconds) < 10.0
