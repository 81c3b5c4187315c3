"""What a connection may cost: their number, the size of headers and messages, calls that nobody announced."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from callers import call, error_of
from samples import KEY, SPEC

from memory_service import wire
from memory_service.config import ServiceConfig
from memory_service.server import ENVELOPE_BYTES, Server
from memory_service.v1 import memory_pb2 as pb

GET = pb.GetVideoRequest(key=wire.key_to_proto(KEY))
MAX_CONNECTIONS = 8
MAX_MESSAGE_BYTES = 1 << 20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    config = ServiceConfig(
        data_dir=tmp_path / "data",
        address="127.0.0.1:0",
        max_connections=MAX_CONNECTIONS,
        max_message_bytes=MAX_MESSAGE_BYTES,
        max_metadata_bytes=4096,
    )
    running = Server(config)
    running.engine.create_video(KEY, SPEC)
    running.start()
    yield running
    running.stop()


def closed_by_peer(connection: socket.socket, within_s: float) -> bool:
    connection.settimeout(within_s)
    try:
        while data := connection.recv(4096):
            assert data
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


def test_connections(server: Server) -> None:
    host, _, port = server.address.rpartition(":")
    with grpc.insecure_channel(server.address) as channel:
        call(channel, "GetVideo", GET)
        idle = [socket.create_connection((host, int(port))) for _ in range(4 * MAX_CONNECTIONS)]
        try:
            time.sleep(0.5)
            over = [one for one in idle if closed_by_peer(one, 0.1)]
            assert len(over) >= 3 * MAX_CONNECTIONS
            assert error_of(channel, "GetVideo", GET) is None
        finally:
            for one in idle:
                one.close()
        time.sleep(0.5)
        with grpc.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)]) as later:
            assert error_of(later, "GetVideo", GET) is None


def test_a_connection_that_says_nothing_is_closed(server: Server) -> None:
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        assert closed_by_peer(connection, 30)


@pytest.mark.parametrize("num_bytes", [5_000, 100_000])
def test_headers(server: Server, num_bytes: int) -> None:
    with grpc.insecure_channel(server.address) as channel:
        ask = channel.unary_unary("/memory_service.v1.MemoryService/ServerInfo", bytes, bytes)
        with pytest.raises(grpc.RpcError) as caught:
            ask(b"", timeout=20, metadata=(("x-much", "x" * num_bytes),))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]
        assert ask(b"", timeout=20, metadata=(("x-little", "x" * 100),))


@pytest.mark.parametrize("over", [-1000, ENVELOPE_BYTES + 1])
def test_messages(server: Server, over: int) -> None:
    with grpc.insecure_channel(server.address, options=[("grpc.max_send_message_length", -1)]) as channel:
        ask = channel.unary_unary("/memory_service.v1.MemoryService/GetVideo", bytes, bytes)
        with pytest.raises(grpc.RpcError) as caught:
            ask(b"\x00" * (MAX_MESSAGE_BYTES + over), timeout=20)
        refused_by_grpc = grpc.StatusCode.RESOURCE_EXHAUSTED
        expected = refused_by_grpc if over > 0 else grpc.StatusCode.INVALID_ARGUMENT
        assert caught.value.code() is expected  # type: ignore[attr-defined]
        assert error_of(channel, "GetVideo", GET) is None
        until = time.monotonic() + 10
        while server.load.open_calls:  # those that were answered just now
            assert time.monotonic() < until
            time.sleep(0.01)
        assert server.load.inflight_bytes == 0


def test_a_method_that_nobody_has(server: Server) -> None:
    with grpc.insecure_channel(server.address) as channel:
        for path in ("/memory_service.v1.MemoryService/Format", "/elsewhere.Service/Get", "/"):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary(path, bytes, bytes)(b"", timeout=20)
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED  # type: ignore[attr-defined]
