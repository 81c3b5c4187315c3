"""Too much at once: it is refused at once and says so, and whoever is let in is served."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from callers import call, error_of
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from samples import KEY, SPEC, block
from serving import ServerProcess

from memory_service import cancellation, wire
from memory_service.config import ServiceConfig
from memory_service.engine import MemoryEngine
from memory_service.errors import Cancelled, DeadlineExceeded, Overloaded, ServiceError
from memory_service.server import Server
from memory_service.types import Handle, VideoInfo, VideoKey
from memory_service.v1 import memory_pb2 as pb
from memory_service.v1.memory_pb2_grpc import MemoryServiceStub
from memory_service.wire import bulk
from memory_service.wire.status import from_rpc_error

SOON_S = 10.0
GET = pb.GetVideoRequest(key=wire.key_to_proto(KEY))

Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts one server with the video KEY."""
    servers: list[Server] = []

    def start(**options: Any) -> Server:
        config = ServiceConfig(data_dir=tmp_path / "data", address="127.0.0.1:0", drain_s=1.0, **options)
        servers.append(Server(config))
        servers[0].engine.create_video(KEY, SPEC)
        servers[0].start()
        return servers[0]

    yield start
    for server in servers:
        server.stop()


class Block:
    """Makes calls of GetVideo stay at work until they are let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = threading.Event()
        self.at_work: list[VideoKey] = []
        get_video = MemoryEngine.get_video

        def slow(engine: MemoryEngine, key: VideoKey) -> VideoInfo:
            self.at_work.append(key)
            assert self.go_on.wait(SOON_S)
            return get_video(engine, key)

        monkeypatch.setattr(MemoryEngine, "get_video", slow)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Block]:
    held = Block(monkeypatch)
    yield held
    held.go_on.set()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def stub_of(channel: grpc.Channel) -> MemoryServiceStub:
    return MemoryServiceStub(channel)  # type: ignore[no-untyped-call]


def error(pending: Any) -> ServiceError:
    """What a call that was begun ends with."""
    with pytest.raises(grpc.RpcError) as caught:
        pending.result(timeout=SOON_S)
    return from_rpc_error(caught.value)


def append_request(start: int, pool: str = KEY.pool) -> pb.AppendRequest:
    request = pb.AppendRequest(key=pb.VideoKey(pool=pool, video=KEY.video))
    bulk.put_block(block(start), request.block)
    return request


def test_beyond_the_queue_is_refused_at_once_with_a_hint(serve: Serve, held: Block) -> None:
    server = serve(num_threads=2, max_waiting=4)
    with grpc.insecure_channel(server.address) as channel:
        stub = stub_of(channel)
        pending = [stub.GetVideo.future(GET) for _ in range(2 + 3)]  # a pool's share: 2 at work, 3 wait
        until(lambda: server.load.waiting == 3)
        began = time.monotonic()
        with pytest.raises(grpc.RpcError) as caught:
            stub.GetVideo(GET, timeout=SOON_S)
        assert time.monotonic() - began < SOON_S / 2
        refused = from_rpc_error(caught.value)
        assert isinstance(refused, Overloaded)
        assert refused.retry_after_ms > 0
        retry = error_details_pb2.RetryInfo()
        status = rpc_status.from_call(caught.value)
        assert any(packed.Unpack(retry) for packed in status.details)
        assert retry.retry_delay.ToMilliseconds() == refused.retry_after_ms
        held.go_on.set()
        assert [one.result(timeout=SOON_S).video.key.video for one in pending] == [KEY.video] * 5
    until(lambda: server.load.open_calls == 0)
    assert (server.load.at_work, server.load.waiting, server.load.inflight_bytes) == (0, 0, 0)


def test_another_pool_finds_its_turn(serve: Serve, held: Block) -> None:
    """One pool has all that it may have, and more wants in; another is served as if it were alone."""
    server = serve(num_threads=4, max_waiting=16)
    server.engine.create_video(VideoKey("other", KEY.video), SPEC)
    with grpc.insecure_channel(server.address) as channel:
        stub = stub_of(channel)
        flood = [stub.GetVideo.future(GET) for _ in range(100)]
        until(lambda: server.load.waiting == 12)
        assert len(held.at_work) == 3
        for step in range(10):
            began = time.monotonic()
            call(channel, "Append", append_request(3 * step, "other"))
            assert time.monotonic() - began < 1.0
        held.go_on.set()
        for one in flood:
            assert one.code() is None or one.code() in (
                grpc.StatusCode.OK,
                grpc.StatusCode.RESOURCE_EXHAUSTED,
            )


def test_a_deadline_that_passes_in_the_queue_starts_nothing(serve: Serve, held: Block) -> None:
    server = serve(num_threads=1, max_waiting=8)
    with grpc.insecure_channel(server.address) as channel:
        stub = stub_of(channel)
        first = stub.GetVideo.future(GET)
        until(lambda: len(held.at_work) == 1)
        late = stub.Append.future(append_request(0), timeout=0.3)
        assert isinstance(error(late), DeadlineExceeded)
        until(lambda: server.load.waiting == 0)
        held.go_on.set()
        first.result(timeout=SOON_S)
        assert call(channel, "GetVideo", GET)[0].video.state.length == 0


def test_a_caller_who_leaves_the_queue_starts_nothing(serve: Serve, held: Block) -> None:
    server = serve(num_threads=1, max_waiting=8)
    with grpc.insecure_channel(server.address) as channel:
        stub = stub_of(channel)
        first = stub.GetVideo.future(GET)
        until(lambda: len(held.at_work) == 1)
        leaving = stub.Append.future(append_request(0))
        until(lambda: server.load.waiting == 1)
        leaving.cancel()
        until(lambda: server.load.waiting == 0)
        held.go_on.set()
        first.result(timeout=SOON_S)
        assert call(channel, "GetVideo", GET)[0].video.state.length == 0


def test_health_is_answered_when_everything_is_full(serve: Serve, held: Block) -> None:
    server = serve(num_threads=1, max_waiting=1)
    with grpc.insecure_channel(server.address) as channel:
        pending = [stub_of(channel).GetVideo.future(GET) for _ in range(40)]
        until(lambda: len(held.at_work) == 1)
        check = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SOON_S)
        assert check.status == health_pb2.HealthCheckResponse.SERVING
        assert not all(one.done() for one in pending)


def appends(request: pb.AppendStreamRequest, go_on: threading.Event) -> Iterator[pb.AppendStreamRequest]:
    yield request
    go_on.wait(SOON_S)


def test_streams_beyond_their_number_are_refused_and_others_are_not(serve: Serve) -> None:
    server = serve(max_append_streams=2, max_watchers=1)
    first = pb.AppendStreamRequest(key=wire.key_to_proto(KEY))
    bulk.put_block(block(0), first.block)
    done = threading.Event()
    with grpc.insecure_channel(server.address) as channel:
        stub = stub_of(channel)
        streams = [stub.AppendStream(appends(first, done)) for _ in range(2)]
        for stream in streams:
            assert next(stream).state.length == 3
        assert isinstance(error_of(channel, "AppendStream", first), Overloaded)
        watching = stub.Watch(pb.WatchRequest(pool=KEY.pool))
        next(watching)
        assert isinstance(error_of(channel, "Watch", pb.WatchRequest(pool=KEY.pool)), Overloaded)
        assert error_of(channel, "GetVideo", GET) is None
        done.set()
        for stream in streams:
            assert list(stream) == []
        watching.cancel()
        until(lambda: server.load.open_calls == 0)
        assert error_of(channel, "AppendStream", first) is None
        assert error_of(channel, "Watch", pb.WatchRequest(pool=KEY.pool)) is None


def test_bytes_in_flight_are_bounded(serve: Serve, held: Block) -> None:
    """Blocks that wait for their turn hold their bytes; more of them are refused."""
    server = serve(num_threads=1, max_waiting=100, max_message_bytes=1 << 20, max_inflight_bytes=2 << 20)
    key = pb.VideoKey(pool="other", video="wide")
    request = pb.AppendRequest(key=key)
    bulk.put_block(block(0), request.block)
    request.block.parts.append(pb.Part(name="preview", payloads=[bytes(300_000)] * 3))
    with grpc.insecure_channel(server.address) as channel:
        stub = stub_of(channel)
        first = stub.GetVideo.future(GET)
        until(lambda: len(held.at_work) == 1)
        waiting = [stub.Append.future(request) for _ in range(2)]
        until(lambda: server.load.waiting == 2)
        assert server.load.inflight_bytes > 1_800_000
        refused = error_of(channel, "Append", request)
        assert isinstance(refused, Overloaded)
        assert "bytes" in refused.message
        assert server.load.inflight_bytes < 2 << 20
        held.go_on.set()
        first.result(timeout=SOON_S)
        for one in waiting:
            error(one)  # there is no such video
        until(lambda: server.load.open_calls == 0)
    assert server.load.inflight_bytes == 0


def test_a_call_that_is_cancelled_is_known_to_be(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs long asks whether anybody still waits for it, and stops."""
    stopped: list[Exception] = []

    def long(_engine: MemoryEngine, _key: VideoKey) -> VideoInfo:
        while True:
            try:
                cancellation.check()
            except ServiceError as exc:
                stopped.append(exc)
                raise
            time.sleep(0.01)

    monkeypatch.setattr(MemoryEngine, "get_video", long)
    server = serve()
    with grpc.insecure_channel(server.address) as channel:
        leaving = stub_of(channel).GetVideo.future(GET)
        until(lambda: server.load.at_work == 1)
        leaving.cancel()
        until(lambda: server.load.at_work == 0)
        assert isinstance(error(stub_of(channel).GetVideo.future(GET, timeout=0.2)), DeadlineExceeded)
        until(lambda: server.load.at_work == 0)
    assert [type(one) for one in stopped][:1] == [Cancelled]
    assert type(stopped[1]) in (DeadlineExceeded, Cancelled)


NUM_ANNOUNCED, BLOCK_BYTES = 24, 8 << 20


def test_what_waits_for_a_thread_is_not_received(tmp_path: Path) -> None:
    """The one thread waits for a request that does not come; blocks of megabytes wait for the thread."""
    options = ["--num-threads", "1", "--max-waiting", "0", "--idle", "60", "--drain", "0"]
    request = append_request(0)
    request.block.parts.append(pb.Part(name="preview", payloads=[bytes(BLOCK_BYTES // 3)] * 3))
    go_on = threading.Event()
    with (
        ServerProcess(tmp_path / "data", f"unix:{tmp_path}/socket", *options) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        call(channel, "ServerInfo", pb.ServerInfoRequest())
        mute = channel.stream_unary("/memory_service.v1.MemoryService/GetVideo", bytes, bytes)
        holding = mute.future(iter(lambda: go_on.wait(SOON_S) or b"", b""))
        time.sleep(0.5)
        before = server.rss_bytes
        waiting = [stub_of(channel).Append.future(request) for _ in range(NUM_ANNOUNCED)]
        time.sleep(3)
        grown = server.rss_bytes - before
        print(f"{NUM_ANNOUNCED} blocks of {BLOCK_BYTES >> 20} MiB wait: the server grew by {grown >> 10} KiB")
        assert not any(one.done() for one in waiting)
        assert grown < NUM_ANNOUNCED * BLOCK_BYTES / 8
        for one in (holding, *waiting):
            one.cancel()
        go_on.set()


def test_a_fetch_over_many_videos_stops(tmp_path: Path) -> None:
    engine = MemoryEngine(tmp_path / "data")
    engine.create_video(KEY, SPEC)
    epoch = engine.append(KEY, block(0)).state.epoch
    with cancellation.Cancellation(timeout_s=0.0).current(), pytest.raises(DeadlineExceeded):
        engine.fetch([Handle(KEY, epoch, 0)])
    assert len(engine.fetch([Handle(KEY, epoch, 0)])) == 1
    engine.close()
