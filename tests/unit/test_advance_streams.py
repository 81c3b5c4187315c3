"""Advances over streams: the caller gets what calls would give, whatever becomes of a stream."""

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from backend import Backend
from samples import ALL, KEY, SPEC, assert_frames, block, state
from serving import ServerProcess

from memory_service import interceptors
from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.errors import (
    AlreadyExists,
    DeadlineExceeded,
    OutOfOrder,
    Unauthenticated,
    Unavailable,
)
from memory_service.remote import advancing, local_stream
from memory_service.remote.advancing import AdvanceStreams
from memory_service.remote.local_stream import LocalStream
from memory_service.security.token_file import create_token, revoke_token
from memory_service.server import Server
from memory_service.types import Advanced, Block, Query, VideoKey
from memory_service.v1 import memory_pb2 as pb

SOON_S = 10.0
STREAM, ADVANCE = "AdvanceStream", "Advance"


@pytest.fixture
def memory(served: tuple[Backend, str]) -> Iterator[MemoryClient]:
    with client_of(served[1]) as client:
        client.create_video(KEY, SPEC)
        yield client


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[str], list[str]]:
    """The statuses of all calls of a method so far."""
    caplog.set_level(logging.INFO, "memory_service.requests")

    def statuses(method: str) -> list[str]:
        words = [one.getMessage().split() for one in caplog.records if one.name == "memory_service.requests"]
        return [line[1].removeprefix("status=") for line in words if line[0] == f"method={method}"]

    return statuses


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by each AdvanceStream that reaches the server."""
    found: list[str] = []
    intercept = interceptors.RequestInterceptor.intercept_service

    def counting(self: Any, continuation: Any, details: Any) -> Any:
        if details.method.endswith(STREAM):
            found.append(details.method)
        return intercept(self, continuation, details)

    monkeypatch.setattr(interceptors.RequestInterceptor, "intercept_service", counting)
    return found


def client_of(address: str, **options: Any) -> MemoryClient:
    return MemoryClient(address, **{"timeout_s": 10, "local": False, **options})


@contextmanager
def server_of(folder: Path, **options: Any) -> Iterator[Server]:
    server = Server(ServiceConfig(data_dir=folder / "data", address="127.0.0.1:0", drain_s=1.0, **options))
    server.start()
    yield server
    server.stop()


def advance(memory: MemoryClient, start: int, key: VideoKey = KEY) -> Advanced:
    return memory.advance(key, block(start), Query(2, ALL))


def threads() -> list[str]:
    """Those that streams have: the guard, and gRPC's for the requests of each and for all answers."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name == "advance-guard" or name.endswith("(_run)")]


def until(holds: Callable[[], bool], seconds: float = SOON_S) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


class TestUse:
    def test_one_stream_carries_all_blocks_of_a_video(
        self, memory: MemoryClient, opened: list[str], logged: Callable[[str], list[str]]
    ) -> None:
        for start in range(0, 30, 3):
            answer = advance(memory, start)
            assert (answer.appended.state.length, answer.appended.duplicate) == (start + 3, False)
        assert (len(opened), logged(STREAM)) == (1, [])
        until(lambda: len(logged(ADVANCE)) == 10)
        assert set(logged(ADVANCE)) == {"OK"}
        assert_frames(memory, 0, 30)

    def test_what_is_wrong_with_a_request_is_said_once(
        self, memory: MemoryClient, opened: list[str], logged: Callable[[str], list[str]]
    ) -> None:
        with pytest.raises(OutOfOrder) as caught:
            advance(memory, 3)
        assert caught.value.expected_start == 0
        advance(memory, 0)
        with pytest.raises(AlreadyExists):
            memory.advance(
                KEY, Block(0, block(3).embeddings, {"latent": block(3).parts["latent"]}), Query(2, ALL)
            )
        until(lambda: len(logged(ADVANCE)) == 3)
        assert logged(ADVANCE) == ["OUT_OF_RANGE", "OK", "ALREADY_EXISTS"]
        assert len(opened) == 2

    def test_two_threads_on_one_video(self, memory: MemoryClient, opened: list[str]) -> None:
        """Who finds its stream busy makes a call; both tell of the same history."""

        def write() -> list[int]:
            return [advance(memory, start).appended.state.length for start in range(0, 300, 3)]

        with ThreadPoolExecutor(2) as pool:
            for written in [pool.submit(write) for _ in range(2)]:
                assert all(at >= start for start, at in zip(range(3, 303, 3), written.result(), strict=True))
        assert state(memory).length == 300
        assert_frames(memory, 0, 300)
        assert len(opened) == 1

    def test_more_videos_than_streams(self, tmp_path: Path, opened: list[str]) -> None:
        keys = [VideoKey("pool", f"video-{i}") for i in range(advancing._MOST_STREAMS + 4)]
        with server_of(tmp_path) as server, client_of(server.address) as memory:
            for key in keys:
                memory.create_video(key, SPEC)
            for start in range(0, 9, 3):
                for key in keys:
                    assert advance(memory, start, key).appended.state.length == start + 3
            assert server.load.lanes["advance_streams"].running == advancing._MOST_STREAMS
            assert len(opened) == advancing._MOST_STREAMS
            for key in keys:
                assert_frames(memory, 0, 9, key)


class TestEnds:
    def test_a_stream_that_nobody_uses_is_ended(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: list[str]
    ) -> None:
        monkeypatch.setattr(advancing, "_IDLE_S", 0.3)
        with server_of(tmp_path) as server, client_of(server.address) as memory:
            memory.create_video(KEY, SPEC)
            for start in (0, 3):
                advance(memory, start)
                assert threads()
                until(lambda: threads() == [] and server.load.lanes["advance_streams"].running == 0)
            assert len(opened) == 2

    def test_the_server_hangs_up_first(self, tmp_path: Path, opened: list[str]) -> None:
        """Its patience is shorter; no thread waits for a stream that is over, used again or not."""
        with (
            server_of(tmp_path, idle_s=0.3, stream_idle_s=0.3) as server,
            client_of(server.address) as memory,
        ):
            memory.create_video(KEY, SPEC)
            for start in (0, 3):
                advance(memory, start)
                until(lambda: server.load.lanes["advance_streams"].running == 0)
                until(lambda: threads() in ([], ["advance-guard"]))
            assert (len(opened), state(memory).length) == (2, 6)

    def test_a_closed_client_leaves_no_thread(self, memory: MemoryClient) -> None:
        for i in range(3):
            key = VideoKey("pool", f"video-{i}")
            memory.create_video(key, SPEC)
            advance(memory, 0, key)
        assert len(threads()) == 1 + 3 + 1
        memory.close()
        memory.close()
        until(lambda: threads() == [])
        with pytest.raises(Unavailable, match="closed"):
            advance(memory, 3)
        assert threads() == []

    def test_closed_while_an_answer_is_due(self, memory: MemoryClient, backend: Backend) -> None:
        go_on, asked = threading.Event(), threading.Event()

        def hold(name: str, _context: Any) -> None:
            if name == ADVANCE:
                asked.set()
                go_on.wait(SOON_S)

        backend.before = hold
        with ThreadPoolExecutor(1) as pool:
            pending = pool.submit(advance, memory, 0)
            assert asked.wait(SOON_S)
            memory.close()
            with pytest.raises(Unavailable):
                pending.result(timeout=SOON_S / 2)
            go_on.set()
        until(lambda: threads() == [])


class TestInstead:
    """A call, where a stream does not answer."""

    def test_a_server_that_knows_no_streams(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: Callable[[str], list[str]]
    ) -> None:
        intercept = interceptors.RequestInterceptor.intercept_service
        asked: list[str] = []

        def old(self: Any, continuation: Any, details: Any) -> Any:
            if details.method.endswith(STREAM):
                asked.append(details.method)
                return None
            return intercept(self, continuation, details)

        monkeypatch.setattr(interceptors.RequestInterceptor, "intercept_service", old)
        with server_of(tmp_path) as server, client_of(server.address) as memory:
            memory.create_video(KEY, SPEC)
            lengths = [advance(memory, start).appended.state.length for start in range(0, 15, 3)]
        assert lengths == [3, 6, 9, 12, 15]
        assert logged(ADVANCE) == ["OK"] * 5
        assert len(asked) == 1

    def test_a_server_without_room(self, tmp_path: Path, logged: Callable[[str], list[str]]) -> None:
        other = VideoKey("other", "video")
        with (
            server_of(tmp_path, max_advance_streams=1) as server,
            client_of(server.address) as holder,
            client_of(server.address) as memory,
        ):
            for key in (KEY, other):
                memory.create_video(key, SPEC)
            advance(holder, 0)
            for start in range(0, 15, 3):
                assert advance(memory, start, other).appended.state.length == start + 3
            assert logged(STREAM) == ["RESOURCE_EXHAUSTED"]
            assert logged(ADVANCE) == ["OK"] * 6

    @pytest.mark.parametrize("error", [Unavailable("cut off"), ZeroDivisionError()], ids=type)
    def test_an_answer_that_is_lost(self, memory: MemoryClient, backend: Backend, error: Exception) -> None:
        lost: list[str] = []

        def lose(name: str, answer: Any, _context: Any) -> Any:
            if name == ADVANCE and not lost:
                lost.append(name)
                raise error
            return answer

        backend.after = lose
        assert advance(memory, 0).appended.duplicate
        answer = advance(memory, 3)
        assert (answer.appended.state.length, answer.appended.duplicate) == (6, False)
        assert_frames(memory, 0, 6)

    @pytest.mark.parametrize("local", [False, True], ids=["grpc", "socket"])
    def test_a_server_that_is_killed_again_and_again(self, tmp_path: Path, local: bool) -> None:
        """Each block counts once, in order, whether its stream, its answer or its request was lost."""
        where = f"unix:{tmp_path / 'socket'}"
        options = ["--local-path"] if local else []
        servers = [ServerProcess(tmp_path / "data", where, *options)]
        lengths: list[int] = []

        def kill() -> None:
            for length in (60, 120, 180):
                until(lambda at=length: lengths and lengths[-1] >= at, 60)  # type: ignore[misc]
                servers[-1].kill()
                servers.append(ServerProcess(tmp_path / "data", where, *options))

        with client_of(where, timeout_s=60, local=local) as memory, ThreadPoolExecutor(1) as pool:
            memory.create_video(KEY, SPEC)
            killing = pool.submit(kill)
            while not killing.done():
                lengths.append(advance(memory, 3 * len(lengths)).appended.state.length)
            killing.result()
            assert lengths == list(range(3, 3 * len(lengths) + 3, 3))
            assert_frames(memory, 0, lengths[-1])
        servers[-1].kill()

    def test_a_token_that_is_revoked(self, tmp_path: Path) -> None:
        file = tmp_path / "tokens.json"
        token = create_token(file, "mine", {KEY.pool: ["read", "write"]}).text
        with (
            server_of(tmp_path, tokens_file=file) as server,
            client_of(server.address, token=token, retain_bytes=0) as memory,
        ):
            memory.create_video(KEY, SPEC)
            advance(memory, 0)
            revoke_token(file, "mine")
            assert server.reload()
            until(lambda: server.load.lanes["advance_streams"].running == 0)
            with pytest.raises(Unauthenticated):
                advance(memory, 3)


class TestDeadline:
    @pytest.mark.parametrize("local", [False, True], ids=["grpc", "socket"])
    @pytest.mark.parametrize("timeout_s", [0.2, 2.0])
    def test_a_server_that_is_silent(self, tmp_path: Path, timeout_s: float, local: bool) -> None:
        options = ["--local-path"] if local else []
        with (
            ServerProcess(tmp_path / "data", f"unix:{tmp_path / 'socket'}", *options) as server,
            client_of(server.address, timeout_s=30) as other,
            client_of(server.address, timeout_s=timeout_s, local=local) as memory,
        ):
            other.create_video(KEY, SPEC)
            advance(other, 0)
            until(lambda: try_advance(memory))
            os.kill(server.pid, signal.SIGSTOP)
            until(lambda: is_stopped(server.pid))
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                advance(memory, 6)
            assert timeout_s - 0.05 < time.monotonic() - began < timeout_s + 5.0
            os.kill(server.pid, signal.SIGCONT)
            assert advance(other, 6).appended.state.length == 9
            assert_frames(other, 0, 9)

    def test_a_stream_that_hangs_leaves_time_for_a_call(self, served: tuple[Backend, str]) -> None:
        """What keeps one stream from answering need not keep a call from it."""
        go_on = threading.Event()
        held: list[str] = []

        def hold(name: str, answer: Any, _context: Any) -> Any:
            if name == ADVANCE and not held:
                held.append(name)
                go_on.wait(SOON_S)
            return answer

        backend, address = served
        backend.engine.create_video(KEY, SPEC)
        backend.after = hold
        began = time.monotonic()
        with client_of(address, timeout_s=2) as memory:
            assert advance(memory, 0).appended.state.length == 3
        assert 1.0 < time.monotonic() - began < 2.0
        go_on.set()


def is_stopped(pid: int) -> bool:
    """Whether every thread of a process has stopped."""
    states = [
        path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")
    ]
    return set(states) == {"T"}


def try_advance(memory: MemoryClient) -> bool:
    try:
        return advance(memory, 3).appended.state.length == 6
    except DeadlineExceeded:
        return False


class FakeCall:
    """A stream whose answer is an exception."""

    def __init__(self, requests: Iterator[Any], error: BaseException) -> None:
        self.requests, self.error, self.active = requests, error, True

    def __next__(self) -> Any:
        raise self.error

    def is_active(self) -> bool:
        return self.active

    def cancel(self) -> None:
        self.active = False

    def add_callback(self, _callback: Callable[[], None]) -> bool:
        return True


REQUEST = pb.AdvanceRequest(key=pb.VideoKey(pool="pool", video="video"))


def test_an_interrupted_caller_leaves_no_stream_behind() -> None:
    calls: list[FakeCall] = []

    def opening(requests: Any, **_: Any) -> FakeCall:
        calls.append(FakeCall(requests, KeyboardInterrupt()))
        return calls[-1]

    streams = AdvanceStreams(opening, lambda *_, **__: "unary", 10.0)  # type: ignore[arg-type, return-value]
    with pytest.raises(KeyboardInterrupt):
        streams(REQUEST, timeout=10.0, metadata=())
    assert [call.active for call in calls] == [False]
    until(lambda: threads() == [])
    streams.close()


def test_an_interrupted_caller_of_a_socket_leaves_no_answer_to_the_next(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        listening.listen()
        stream = LocalStream(str(tmp_path / "socket"), "session", "")
        assert stream.alive
        monkeypatch.setattr(local_stream, "send_message", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stream.ask(REQUEST)
        assert not stream.alive
        assert stream.ask(REQUEST) is None


def test_without_time_for_both_it_is_a_call() -> None:
    def opening(*_: Any, **__: Any) -> Any:
        raise AssertionError("a stream was opened")

    streams = AdvanceStreams(opening, lambda *_, **given: given["timeout"], 10.0)
    left = streams(REQUEST, timeout=0.4, metadata=())
    assert 0 < left <= 0.4  # type: ignore[operator]
    assert threads() == []
    streams.close()
