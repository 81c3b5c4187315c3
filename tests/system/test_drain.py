"""The end of a server: who is told what, in which order, and how long it takes."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from callers import call, error_of
from grpc_health.v1 import health_pb2, health_pb2_grpc
from samples import KEY, SPEC, block
from serving import ServerProcess

from memory_service import wire
from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.engine import MemoryEngine
from memory_service.errors import ServiceError, Unavailable
from memory_service.server import Server
from memory_service.types import VideoInfo, VideoKey
from memory_service.v1 import memory_pb2 as pb
from memory_service.v1.memory_pb2_grpc import MemoryServiceStub
from memory_service.wire import bulk
from memory_service.wire.status import from_rpc_error

SOON_S = 15.0
GET = pb.GetVideoRequest(key=wire.key_to_proto(KEY))
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def append_stream_request(start: int) -> pb.AppendStreamRequest:
    request = pb.AppendStreamRequest(key=wire.key_to_proto(KEY))
    bulk.put_block(block(start), request.block)
    return request


def blocks(go_on: threading.Event, number: int = 1) -> Iterator[pb.AppendStreamRequest]:
    """Some blocks, and then a writer who thinks."""
    for i in range(number):
        yield append_stream_request(3 * i)
    go_on.wait(SOON_S)


def end_of(stream: Iterator[object]) -> ServiceError:
    with pytest.raises(grpc.RpcError) as caught:
        for _ in stream:
            pass
    return from_rpc_error(caught.value)


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_streams_end_as_unavailable_and_what_was_answered_is_kept(
    tmp_path: Path, go_on: threading.Event
) -> None:
    """A server as it is run, with a writer, a watcher and a health watcher who would stay for ever."""
    with ServerProcess(tmp_path / "data", f"unix:{tmp_path}/socket", "--drain", "30") as server:
        with MemoryClient(server.address) as memory:
            memory.create_video(KEY, SPEC)
        with grpc.insecure_channel(server.address) as channel:
            stub = MemoryServiceStub(channel)  # type: ignore[no-untyped-call]
            appending = stub.AppendStream(blocks(go_on, 2))
            assert [next(appending).state.length, next(appending).state.length] == [3, 6]
            watching = stub.Watch(pb.WatchRequest(pool=KEY.pool))
            next(watching)
            health = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            assert next(health).status == SERVING
            began = time.monotonic()
            server.send(signal.SIGTERM)
            for stream in (appending, watching):
                error = end_of(stream)
                assert type(error) is Unavailable
                assert "draining" in error.message
            assert next(health).status == NOT_SERVING
            assert server.wait() == 0
            assert time.monotonic() - began < 10, "it waited for streams that never end"
    assert "Traceback" not in server.log.read_text()
    engine = MemoryEngine.open_read_only(tmp_path / "data")
    assert (engine.get_video(KEY).state.length, engine.get_video(KEY).state.durable) == (6, 6)
    engine.close()


class Slow:
    """A verb that takes until it is let go, or until its call is to stop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, stoppable: bool) -> None:
        self.go_on, self.at_work = threading.Event(), threading.Event()
        get_video = MemoryEngine.get_video

        def slow(engine: MemoryEngine, key: VideoKey) -> VideoInfo:
            from memory_service import cancellation

            self.at_work.set()
            while not self.go_on.wait(0.01):
                if stoppable:
                    cancellation.check()
            return get_video(engine, key)

        monkeypatch.setattr(MemoryEngine, "get_video", slow)


def serving(folder: Path, drain_s: float) -> Server:
    server = Server(ServiceConfig(data_dir=folder / "data", address="127.0.0.1:0", drain_s=drain_s))
    server.engine.create_video(KEY, SPEC)
    server.start()
    return server


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_no_more_are_let_in_while_those_that_run_finish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Slow(monkeypatch, stoppable=False)
    server = serving(tmp_path, drain_s=30)
    with grpc.insecure_channel(server.address) as channel, grpc.insecure_channel(server.address) as other:
        call(other, "ServerInfo", pb.ServerInfoRequest())
        running = MemoryServiceStub(channel).GetVideo.future(GET)  # type: ignore[no-untyped-call]
        assert slow.at_work.wait(SOON_S)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        until(lambda: isinstance(error_of(other, "ServerInfo", pb.ServerInfoRequest()), Unavailable))
        assert stopping.is_alive()
        slow.go_on.set()
        assert running.result(timeout=SOON_S).video.key.video == KEY.video
        stopping.join(SOON_S)
        assert not stopping.is_alive()


def test_the_drain_ends_and_what_can_stop_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, stoppable=True)
    server = serving(tmp_path, drain_s=0.5)
    with grpc.insecure_channel(server.address) as channel:
        running = MemoryServiceStub(channel).GetVideo.future(GET)  # type: ignore[no-untyped-call]
        assert slow.at_work.wait(SOON_S)
        began = time.monotonic()
        assert server.stop(), "every call has ended"
        assert 0.4 < time.monotonic() - began < 5
        with pytest.raises(grpc.RpcError):
            running.result(timeout=SOON_S)


def test_a_second_signal_makes_it_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch, stoppable=True)
    server = serving(tmp_path, drain_s=600)
    with grpc.insecure_channel(server.address) as channel:
        MemoryServiceStub(channel).GetVideo.future(GET).add_done_callback(lambda _: None)  # type: ignore[no-untyped-call]
        assert slow.at_work.wait(SOON_S)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        time.sleep(0.3)
        assert stopping.is_alive()
        server.hurry()
        stopping.join(SOON_S)
        assert not stopping.is_alive()


def test_two_signals_to_a_server_as_it_is_run(tmp_path: Path, go_on: threading.Event) -> None:
    """An import whose bytes do not come may finish within the drain; the second signal ends it."""

    def requests() -> Iterator[pb.ImportVideoRequest]:
        yield pb.ImportVideoRequest(key=wire.key_to_proto(KEY))
        go_on.wait(SOON_S)

    with (
        ServerProcess(tmp_path / "data", f"unix:{tmp_path}/socket", "--drain", "600") as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        stub = MemoryServiceStub(channel)  # type: ignore[no-untyped-call]
        importing = stub.ImportVideo.future(requests())
        call(channel, "ServerInfo", pb.ServerInfoRequest())
        time.sleep(0.5)
        server.send(signal.SIGTERM)
        time.sleep(1)
        assert not importing.done()
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        assert importing.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE)
    assert "Traceback" not in server.log.read_text()
    assert not list((tmp_path / "data").rglob("*.reel"))
