"""Callers that neither send nor read: they are hung up on, and what they held is free again."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from callers import error_of
from samples import KEY, SPEC, block, embeddings, latents

from memory_service import wire
from memory_service.config import ServiceConfig
from memory_service.errors import Overloaded
from memory_service.server import Server
from memory_service.types import Block, VideoKey, VideoSpec
from memory_service.v1 import memory_pb2 as pb
from memory_service.v1.memory_pb2_grpc import MemoryServiceStub
from memory_service.wire import bulk

IDLE_S = 1.0
SOON_S = 15.0
GET = pb.GetVideoRequest(key=wire.key_to_proto(KEY))
ALONE = [("grpc.use_local_subchannel_pool", 1)]
"""A connection of its own."""
WIDE = VideoKey("pool", "wide")
WIDE_SPEC = VideoSpec(8, "float32", (1 << 18,), "tests/sha256:00")
"""Frames of a megabyte."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    config = ServiceConfig(
        data_dir=tmp_path / "data",
        address="127.0.0.1:0",
        num_threads=2,
        max_waiting=4,
        max_read_streams=2,
        max_append_streams=2,
        max_imports=1,
        idle_s=IDLE_S,
        stream_idle_s=5 * IDLE_S,
        drain_s=1.0,
    )
    running = Server(config)
    running.engine.create_video(KEY, SPEC)
    running.engine.create_video(WIDE, WIDE_SPEC)
    running.engine.append(WIDE, Block(0, embeddings(0), {"latent": [bytes(WIDE_SPEC.latent_bytes)] * 3}))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as opened:
        yield opened


def until(holds: Callable[[], bool], seconds: float = SOON_S) -> float:
    """How long it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() < began + seconds
        time.sleep(0.01)
    return time.monotonic() - began


def fetches(server: Server, number: int) -> pb.FetchRequest:
    epoch = server.engine.get_video(WIDE).state.epoch
    handle = pb.Handle(key=wire.key_to_proto(WIDE), epoch=epoch, frame=0)
    return pb.FetchRequest(handles=[handle] * number)


def silence(go_on: threading.Event) -> Iterator[Any]:
    """A request that never comes."""
    go_on.wait(SOON_S)
    yield from ()


def copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextmanager
def from_another_host(address: str) -> Iterator[str]:
    """An address whose one connection comes to `address` from 127.0.0.2."""
    host, _, port = address.rpartition(":")
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def relay() -> None:
            near, _ = listening.accept()
            far = socket.create_connection((host, int(port)), source_address=("127.0.0.2", 0))
            with near, far:
                back = threading.Thread(target=copy, args=(far, near))
                back.start()
                copy(near, far)
                back.join()

        relaying = threading.Thread(target=relay)
        relaying.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        relaying.join()


@pytest.mark.parametrize("method", ["GetVideo", "Append", "Advance"])
def test_a_call_without_its_request(
    server: Server, channel: grpc.Channel, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    """However many connections a host has, without tokens it is one caller."""
    go_on = threading.Event()
    path = f"/memory_service.v1.MemoryService/{method}"
    with grpc.insecure_channel(server.address, options=ALONE) as second:
        mute = [
            each.stream_unary(path, request_serializer=bytes, response_deserializer=bytes)
            for each in (channel, second)
        ]
        pending = [mute[i % 2].future(silence(go_on)) for i in range(20)]
        until(lambda: sum(one.done() for one in pending) == 15)
        # A caller knows that it was refused before the thread that said so is free again.
        until(lambda: server.load.lanes["calls"].running == 5)  # three quarters of the threads
        with (
            from_another_host(server.address) as address,
            grpc.insecure_channel(address, options=ALONE) as other,
        ):
            began = time.monotonic()
            assert error_of(other, "GetVideo", GET) is None
            assert time.monotonic() - began < IDLE_S
        assert until(lambda: all(one.done() for one in pending)) < 5 * IDLE_S
    assert until(lambda: server.load.lanes["calls"].running == 0) < 5 * IDLE_S
    codes = [one.code() for one in pending]
    assert codes.count(grpc.StatusCode.CANCELLED) == 5
    assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 15
    assert caplog.text.count(f"caller idle, hung up method={method}") == 5
    assert error_of(channel, "GetVideo", GET) is None
    go_on.set()


def test_a_fetch_that_nobody_reads(
    server: Server, channel: grpc.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    stub = MemoryServiceStub(channel)  # type: ignore[no-untyped-call]
    unread = [stub.Fetch(fetches(server, 200)) for _ in range(2)]
    until(lambda: server.load.lanes["read_streams"].running == 2)
    assert isinstance(error_of(channel, "Fetch", fetches(server, 1)), Overloaded)
    until(lambda: server.load.lanes["read_streams"].running == 0)
    assert caplog.text.count("caller idle, hung up method=Fetch") == 2
    assert server.load.inflight_bytes == 0
    assert error_of(channel, "Fetch", fetches(server, 3)) is None
    for stream in unread:
        with pytest.raises(grpc.RpcError):
            list(stream)


def test_a_fetch_that_is_read_slowly_is_let_be(server: Server, channel: grpc.Channel) -> None:
    """What counts is the time without any progress, not the time in all."""
    stub = MemoryServiceStub(channel)  # type: ignore[no-untyped-call]
    began, frames = time.monotonic(), 0
    for _ in stub.Fetch(fetches(server, 40)):
        frames += 1
        time.sleep(0.08)
    assert frames == 40
    assert time.monotonic() - began > 2 * IDLE_S


def test_an_import_that_stops(server: Server, channel: grpc.Channel) -> None:
    go_on = threading.Event()
    first = pb.ImportVideoRequest(key=pb.VideoKey(pool="pool", video="imported"))

    def requests() -> Iterator[pb.ImportVideoRequest]:
        yield first
        go_on.wait(SOON_S)

    pending = MemoryServiceStub(channel).ImportVideo.future(requests())  # type: ignore[no-untyped-call]
    until(lambda: server.load.lanes["imports"].running == 1)
    until(lambda: server.load.lanes["imports"].running == 0)
    assert pending.code() is grpc.StatusCode.CANCELLED
    assert [video.key.video for video in server.engine.list_videos("pool")] == ["video", "wide"]
    go_on.set()


def test_a_writer_may_think_for_longer(channel: grpc.Channel) -> None:
    """Between two blocks of a stream lies the time in which a block is generated."""

    def requests() -> Iterator[pb.AppendStreamRequest]:
        for start in (0, 3):
            request = pb.AppendStreamRequest(key=wire.key_to_proto(KEY))
            bulk.put_block(block(start), request.block)
            yield request
            time.sleep(2 * IDLE_S)

    stub = MemoryServiceStub(channel)  # type: ignore[no-untyped-call]
    assert [answer.state.length for answer in stub.AppendStream(requests())] == [3, 6]


class Stalling:
    """A TCP connection's way to the server that lets requests through, and from some moment on no answers."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.stalled = threading.Event()
        self._sockets: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for one in self._sockets:
            one.close()

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        upstream = socket.create_connection(self._server)
        self._sockets += [client, upstream]
        threading.Thread(target=self._copy, args=(client, upstream, False), daemon=True).start()
        threading.Thread(target=self._copy, args=(upstream, client, True), daemon=True).start()

    def _copy(self, source: socket.socket, sink: socket.socket, stalls: bool) -> None:
        try:
            while data := source.recv(1 << 16):
                if stalls and self.stalled.is_set():
                    return
                sink.sendall(data)
        except OSError:
            return


def test_answers_that_nobody_reads_are_held_no_longer(server: Server, channel: grpc.Channel) -> None:
    """One answer per call, megabytes each, to a small question of a peer whose window is shut."""
    previews = {"latent": latents(0), "preview": [bytes(1 << 20)] * 3}
    server.engine.append(KEY, Block(0, embeddings(0), previews))
    request = pb.AdvanceRequest(key=wire.key_to_proto(KEY))
    request.query.CopyFrom(pb.Query(k=3, eligible=pb.Span(stop=3)))
    bulk.put_block(block(3), request.block)
    way = Stalling(server.address)
    try:
        with grpc.insecure_channel(way.address) as stalling:
            stub = MemoryServiceStub(stalling)  # type: ignore[no-untyped-call]
            stub.GetVideo(GET, timeout=SOON_S)
            way.stalled.set()
            pending = [stub.Advance.future(request) for _ in range(6)]
            until(lambda: server.load.inflight_bytes > 3 << 20)
            assert error_of(channel, "GetVideo", GET) is None
            # What the kernel has been given is held until it gives up on the peer, which takes it 20 s.
            until(lambda: server.load.open_calls == 0, 60)
            assert server.load.inflight_bytes == 0
            assert not any(one.done() and one.code() is grpc.StatusCode.OK for one in pending)
    finally:
        way.close()
