"""AdvanceStream as any client may use it: what a call of Advance gives, many times over one call."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

import grpc
import pytest
from callers import call, error_of
from samples import KEY, SPEC, block, embeddings
from serving import ServerProcess

from memory_service import wire
from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.engine import MemoryEngine
from memory_service.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    Overloaded,
    ServiceError,
    Unavailable,
)
from memory_service.server import Server
from memory_service.types import VideoKey
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire import bulk
from memory_service.wire.status import from_rpc_error

PATH = "/memory_service.v1.MemoryService/AdvanceStream"
LANE = "advance_streams"
SOON_S = 15.0
OTHER = VideoKey("other", KEY.video)

Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts one server with the videos KEY and OTHER."""
    servers: list[Server] = []

    def start(**options: Any) -> Server:
        given = {"drain_s": 1.0, "commit_interval_s": 0.01, **options}
        servers.append(Server(ServiceConfig(data_dir=tmp_path / "data", address="127.0.0.1:0", **given)))
        for key in (KEY, OTHER):
            servers[0].engine.create_video(key, SPEC)
        servers[0].start()
        return servers[0]

    yield start
    for server in servers:
        server.stop()


class Asking:
    """One stream, asked as often as one likes; answers are bytes."""

    def __init__(self, channel: grpc.Channel, **options: Any) -> None:
        self._requests: SimpleQueue[bytes | None] = SimpleQueue()
        stream = channel.stream_stream(PATH, bytes, bytes)
        self.call: Any = stream(iter(self._requests.get, None), **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._requests.put(None)
        self.call.cancel()

    def send(self, *requests: pb.AdvanceRequest | bytes) -> None:
        for request in requests:
            self._requests.put(request if isinstance(request, bytes) else request.SerializeToString())

    def ask(self, request: pb.AdvanceRequest) -> bytes:
        self.send(request)
        answer: bytes = next(self.call)
        return answer

    def finish(self) -> list[bytes]:
        """What is left after the last request."""
        self._requests.put(None)
        return list(self.call)

    def error(self) -> ServiceError:
        """What it ends with instead of its next answer."""
        with pytest.raises(grpc.RpcError) as caught:
            next(self.call)
        return from_rpc_error(caught.value)


def request(start: int, key: VideoKey = KEY, **changes: Any) -> pb.AdvanceRequest:
    message = pb.AdvanceRequest(key=wire.key_to_proto(key), **changes)
    bulk.put_block(block(start), message.block)
    message.query.CopyFrom(
        pb.Query(k=4, eligible=pb.Span(stop=1 << 40), embedding=embeddings(start, 1).tobytes())
    )
    return message


def length(answer: bytes) -> int:
    return pb.AdvanceResponse.FromString(answer).state.length


def until(holds: Callable[[], bool], seconds: float = SOON_S) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_answers_are_those_of_calls_byte_for_byte(serve: Serve) -> None:
    server = serve()
    with grpc.insecure_channel(server.address) as channel:
        with Asking(channel) as asking:
            asking.send(*(request(start) for start in range(0, 30, 3)))
            answers = asking.finish()
            assert asking.call.code() is grpc.StatusCode.OK
        assert [length(answer) for answer in answers] == list(range(3, 33, 3))
        assert not any(pb.AdvanceResponse.FromString(answer).duplicate for answer in answers)
        until(lambda: server.engine.get_video(KEY).state.durable == 30)
        again = [request(start, known_frames=range(start % 9)) for start in range(0, 30, 3)]
        advance = channel.unary_unary(PATH.removesuffix("Stream"), pb.AdvanceRequest.SerializeToString, bytes)
        with Asking(channel) as asking:
            assert [asking.ask(one) for one in again] == [advance(one, timeout=SOON_S) for one in again]


BAD: dict[str, pb.AdvanceRequest] = {
    "no block": pb.AdvanceRequest(key=wire.key_to_proto(KEY), query=pb.Query(k=1)),
    "no query": pb.AdvanceRequest(key=wire.key_to_proto(KEY), block=request(3).block),
    "no key": pb.AdvanceRequest(block=request(3).block, query=request(3).query),
    "a gap": request(30),
    "other bytes": pb.AdvanceRequest(key=wire.key_to_proto(KEY), block=request(0).block, query=pb.Query(k=0)),
    "an epoch gone by": request(3, epoch=99),
    "a known frame that cannot be": request(3, known_frames=[-1]),
    "a video that is not there": request(3, VideoKey(KEY.pool, "nobody")),
}


@pytest.mark.parametrize("case", BAD)
def test_an_error_is_that_of_a_call_and_ends_the_stream(serve: Serve, case: str) -> None:
    server = serve()
    with grpc.insecure_channel(server.address) as channel:
        expected = error_of(channel, "Advance", BAD[case])
        with Asking(channel) as asking:
            asking.send(BAD[case], request(0))
            error = asking.error()
        assert expected is not None
        assert (type(error), error.field, error.expected) == (
            type(expected),
            expected.field,
            expected.expected,
        )
        assert (error.message, error.details) == (expected.message, expected.details)
        assert server.engine.get_video(KEY).state.length == 0


def test_another_video_is_refused(serve: Serve) -> None:
    server = serve()
    with grpc.insecure_channel(server.address) as channel, Asking(channel) as asking:
        assert length(asking.ask(request(0))) == 3
        asking.send(request(0, OTHER), request(3))
        error = asking.error()
        assert (type(error), error.field) == (InvalidArgument, "key")
        lengths = [server.engine.get_video(key).state.length for key in (KEY, OTHER)]
        assert lengths == [3, 0]


def test_bytes_that_are_no_request(serve: Serve) -> None:
    server = serve()
    with grpc.insecure_channel(server.address) as channel:
        with Asking(channel) as asking:
            asking.ask(request(0))
            asking.send(b"\xff\xff\xff")
            assert asking.error().field == "request"
        with Asking(channel) as asking:
            assert asking.finish() == []
        with Asking(channel) as asking:
            asking.send(b"")
            assert asking.error().field == "key"


def test_each_request_counts_as_a_call_of_advance(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "memory_service.requests")
    sent = [request(start) for start in range(0, 9, 3)]
    server = serve()
    with grpc.insecure_channel(server.address) as channel, Asking(channel) as asking:
        answers = [asking.ask(one) for one in sent]
        asking.send(request(0, OTHER))
        asking.error()
    until(lambda: server.load.open_calls == 0)
    lines = [one.getMessage().split() for one in caplog.records if one.name == "memory_service.requests"]
    found = [(line[0], line[1], *line[3:5], *line[7:9]) for line in lines]
    name = (f"pool={KEY.pool}", f"video={KEY.video}")
    assert found[:3] == [
        ("method=Advance", "status=OK", f"bytes_in={one.ByteSize()}", f"bytes_out={len(answer)}", *name)
        for one, answer in zip(sent, answers, strict=True)
    ]
    refused = request(0, OTHER).ByteSize()
    assert found[3:] == [
        ("method=Advance", "status=INVALID_ARGUMENT", f"bytes_in={refused}", "bytes_out=0", *name),
        ("method=AdvanceStream", "status=INVALID_ARGUMENT", "bytes_in=0", "bytes_out=0", *name),
    ]


def test_a_stream_without_a_request_holds_nothing_but_its_thread(serve: Serve) -> None:
    server = serve()
    with grpc.insecure_channel(server.address) as channel, Asking(channel) as asking:
        asking.ask(request(0))
        until(lambda: (server.load.at_work, server.load.inflight_bytes) == (0, 0))
        assert server.load.lanes[LANE].running == 1
    until(lambda: server.load.lanes[LANE].running == 0)


NUM_STREAMS, BLOCK_BYTES = 16, 12 << 20


def test_an_idle_stream_keeps_no_block(tmp_path: Path) -> None:
    """Neither the last request nor the last answer stays while the next block is generated."""
    one_heap = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    with (
        ServerProcess(tmp_path / "data", f"unix:{tmp_path}/socket", env=one_heap) as server,
        grpc.insecure_channel(server.address, [("grpc.max_receive_message_length", -1)]) as channel,
    ):

        def anonymous_bytes() -> int:
            status = Path(f"/proc/{server.pid}/status").read_text()
            return int(status.split("RssAnon:")[1].split()[0]) << 10

        streams = [Asking(channel) for _ in range(NUM_STREAMS)]
        before = 0
        for number, asking in enumerate(streams):
            key = VideoKey("pool", f"video-{number}")
            create = pb.CreateVideoRequest(key=wire.key_to_proto(key), spec=wire.spec_to_proto(SPEC))
            call(channel, "CreateVideo", create)
            message = request(0, key)
            message.block.parts.append(pb.Part(name="preview", payloads=[bytes(BLOCK_BYTES // 3)] * 3))
            assert len(asking.ask(message)) > BLOCK_BYTES
            before = before or anonymous_bytes()
        time.sleep(0.2)
        grown = anonymous_bytes() - before
        print(f"{NUM_STREAMS - 1} streams that each had {BLOCK_BYTES >> 20} MiB: {grown >> 10} KiB more")
        assert grown < NUM_STREAMS * BLOCK_BYTES / 4
        for asking in streams:
            asking.close()


def test_one_pool_leaves_room_for_others(serve: Serve) -> None:
    server = serve(max_advance_streams=4)
    with grpc.insecure_channel(server.address) as channel:
        share = [Asking(channel) for _ in range(3)]
        assert [length(asking.ask(request(0))) for asking in share] == [3] * 3
        with Asking(channel) as asking:
            asking.send(request(3))
            error = asking.error()
        assert isinstance(error, Overloaded)
        assert error.retry_after_ms > 0
        assert KEY.pool in error.message
        until(lambda: server.load.lanes[LANE].running == 3)
        with Asking(channel) as others:
            assert length(others.ask(request(0, OTHER))) == 3
            with Asking(channel) as beyond:
                beyond.send(request(3, OTHER))
                error = beyond.error()
        assert isinstance(error, Overloaded)
        assert error.retry_after_ms > 0
        assert error_of(channel, "Advance", request(3)) is None
        for asking in share:
            asking.close()
    until(lambda: server.load.open_calls == 0)


def test_streams_that_were_opened_and_refused_take_no_share(serve: Serve) -> None:
    server = serve(max_advance_streams=1)
    with grpc.insecure_channel(server.address) as channel:
        for _ in range(8):
            with Asking(channel) as asking:
                asking.send(request(99))
                asking.error()
            until(lambda: server.load.lanes[LANE].running == 0)
        with Asking(channel) as asking:
            assert length(asking.ask(request(0))) == 3


def test_a_caller_who_thinks_too_long(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    server = serve(idle_s=0.4, stream_idle_s=2.0)
    with grpc.insecure_channel(server.address) as channel:
        with Asking(channel) as asking:
            began = time.monotonic()
            asking.error()
            assert time.monotonic() - began < 1.8
        with Asking(channel) as asking:
            asking.ask(request(0))
            time.sleep(1.2)
            assert length(asking.ask(request(3))) == 6
            began = time.monotonic()
            assert isinstance(asking.error(), Cancelled | Unavailable)
            assert 1.5 < time.monotonic() - began < SOON_S
    until(lambda: server.load.open_calls == 0)
    assert "caller idle, hung up method=AdvanceStream" in caplog.text


def test_a_deadline_ends_it(serve: Serve) -> None:
    server = serve()
    with grpc.insecure_channel(server.address) as channel, Asking(channel, timeout=0.7) as asking:
        asking.ask(request(0))
        assert isinstance(asking.error(), DeadlineExceeded)
        until(lambda: server.load.open_calls == 0 and server.load.lanes[LANE].running == 0)


def test_a_caller_who_leaves_is_not_worked_for(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    from memory_service import cancellation

    at_work = threading.Event()
    stopped: list[ServiceError] = []

    def long(*_: Any, **__: Any) -> Any:
        at_work.set()
        while True:
            try:
                cancellation.check()
            except ServiceError as exc:
                stopped.append(exc)
                raise
            time.sleep(0.01)

    monkeypatch.setattr(MemoryEngine, "advance_stored", long)
    server = serve()
    with grpc.insecure_channel(server.address) as channel, Asking(channel) as asking:
        asking.send(request(0))
        assert at_work.wait(SOON_S)
        asking.call.cancel()
        until(lambda: server.load.lanes[LANE].running == 0)
    assert [type(one) for one in stopped] == [Cancelled]
    assert server.load.at_work == 0


def test_a_server_that_drains_answers_what_it_has(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", f"unix:{tmp_path}/socket", "--drain", "30") as server:
        with MemoryClient(server.address) as memory:
            memory.create_video(KEY, SPEC)
        with grpc.insecure_channel(server.address) as channel, Asking(channel) as asking:
            assert [length(asking.ask(request(start))) for start in (0, 3)] == [3, 6]
            began = time.monotonic()
            server.send(signal.SIGTERM)
            error = asking.error()
            assert type(error) is Unavailable
            assert "draining" in error.message
            assert server.wait() == 0
            assert time.monotonic() - began < 10
    assert "Traceback" not in server.log.read_text()
    engine = MemoryEngine.open_read_only(tmp_path / "data")
    assert (engine.get_video(KEY).state.length, engine.get_video(KEY).state.durable) == (6, 6)
    engine.close()
