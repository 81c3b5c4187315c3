"""AdvanceStream over the socket of the local path: what gRPC's has, and what belongs to the socket alone."""

import errno
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from callers import bearer
from samples import KEY, SPEC, block, embeddings

from memory_service import wire
from memory_service.config import ServiceConfig
from memory_service.local.messages import Messages, send_message
from memory_service.local.sessions import LocalSessions
from memory_service.security.token_file import create_token, revoke_token
from memory_service.server import Server
from memory_service.types import PoolSpec, Query, Span, VideoKey
from memory_service.v1 import memory_pb2 as pb
from memory_service.v1.memory_pb2_grpc import MemoryServiceStub
from memory_service.wire import bulk

SOON_S = 10.0
OTHER = VideoKey("pool", "other")

Serve = Callable[..., Server]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(**options: Any) -> Server:
            options = {"address": "127.0.0.1:0", "local_path": True, "drain_s": 1.0} | options
            server = Server(ServiceConfig(data_dir=tmp_path / "data", **options))
            stack.callback(server.stop)
            for key in (KEY, OTHER):
                server.engine.create_video(key, SPEC)
            server.start()
            return server

        yield start


def opened(server: Server, token: str | None = None) -> pb.OpenLocalResponse:
    with grpc.insecure_channel(server.address) as channel:
        answer: pb.OpenLocalResponse = MemoryServiceStub(channel).OpenLocal(
            pb.OpenLocalRequest(), metadata=bearer(token)
        )
    return answer


class Caller:
    """One connection to the socket."""

    def __init__(self, session: pb.OpenLocalResponse, *, name: str | None = None, token: str = "") -> None:
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(SOON_S)
        self.connection.connect(session.socket_path)
        authorization = f"Bearer {token}" if token else ""
        hello = pb.LocalCall(local_session=session.session if name is None else name)
        hello.authorization = authorization
        send_message(self.connection, hello.SerializeToString())
        self._answers = Messages(self.connection, 1 << 24)

    def ask(self, request: pb.AdvanceRequest) -> pb.AdvanceResponse | None:
        """The answer; None where the server hangs up."""
        with suppress(BrokenPipeError):
            send_message(self.connection, request.SerializeToString())
        return self.heard()

    def heard(self) -> pb.AdvanceResponse | None:
        data = next(self._answers, None)
        return None if data is None else pb.AdvanceResponse.FromString(data)


@contextmanager
def calling(session: pb.OpenLocalResponse, **options: Any) -> Iterator[Caller]:
    caller = Caller(session, **options)
    try:
        yield caller
    finally:
        caller.connection.close()


def advance(start: int, key: VideoKey = KEY) -> pb.AdvanceRequest:
    request = pb.AdvanceRequest(key=wire.key_to_proto(key))
    bulk.put_block(block(start), request.block)
    query = Query(2, Span(0, start + 3), embeddings(start)[0])
    request.query.CopyFrom(wire.query_to_proto(query, "query"))
    return request


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_answer_is_what_advance_answers(serve: Serve) -> None:
    server = serve()
    with grpc.insecure_channel(server.address) as channel:
        expected = MemoryServiceStub(channel).Advance(advance(0, OTHER))
    with calling(opened(server)) as caller:
        answer = caller.ask(advance(0))
        assert answer is not None
        assert [hit.handle.frame for hit in answer.hits] == [hit.handle.frame for hit in expected.hits]
        assert [hit.score for hit in answer.hits] == [hit.score for hit in expected.hits]
        assert [frame.payloads for frame in answer.frames] == [frame.payloads for frame in expected.frames]
        assert answer.state.length == 3
        again = caller.ask(advance(0))
        assert again is not None
        assert again.duplicate
        assert caller.ask(advance(3)) is not None
    assert server.engine.get_video(KEY).state.length == 6


@pytest.mark.parametrize("case", ["a gap", "another video", "no message", "a message that is too large"])
def test_what_ends_a_stream_hangs_up(serve: Serve, case: str, caplog: pytest.LogCaptureFixture) -> None:
    server = serve(max_message_bytes=64 << 10)
    with calling(opened(server)) as caller:
        assert caller.ask(advance(0)) is not None
        if case == "a gap":
            assert caller.ask(advance(9)) is None
        elif case == "another video":
            assert caller.ask(advance(0, OTHER)) is None
        elif case == "no message":
            send_message(caller.connection, b"\xff" * 7)
            assert caller.heard() is None
        else:
            caller.connection.sendall((1 << 30).to_bytes(4, "little"))
            assert caller.heard() is None
    assert server.engine.get_video(KEY).state.length == 3
    assert server.engine.get_video(OTHER).state.length == 0
    assert "Traceback" not in caplog.text
    until(lambda: server.load.open_calls == 0)


@pytest.mark.parametrize("hello", ["another session", "no session", "no message", "nothing", "half a length"])
def test_only_a_session_may_call(serve: Serve, hello: str) -> None:
    server = serve()
    session = opened(server)
    if hello in {"another session", "no session"}:
        with calling(session, name="0" * 32 if hello == "another session" else "") as caller:
            assert caller.heard() is None
    else:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SOON_S)
            connection.connect(session.socket_path)
            if hello == "no message":
                send_message(connection, b"\xff" * 7)
            elif hello == "half a length":
                connection.sendall(b"\x01")
            assert connection.recv(1) == b""
    with calling(session) as caller:
        assert caller.ask(advance(0)) is not None


def test_silent_callers_are_in_nobodys_way(serve: Serve) -> None:
    server = serve()
    session = opened(server)
    with ExitStack() as stack:
        silent = [stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(16)]
        for connection in silent:
            connection.settimeout(SOON_S)
            connection.connect(session.socket_path)
        with calling(session) as caller:
            assert caller.ask(advance(0)) is not None
        assert silent[-1].recv(1) == b""


def test_without_descriptors_it_waits(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve()
    session = opened(server)
    attempts: list[float] = []

    def fail(_listener: socket.socket) -> Any:
        attempts.append(time.monotonic())
        raise OSError(errno.EMFILE, "Too many open files")

    with monkeypatch.context() as patch, socket.socket(socket.AF_UNIX) as connection:
        patch.setattr(socket.socket, "accept", fail)
        connection.connect(session.socket_path)
        time.sleep(1.2)
    assert 1 <= len(attempts) <= 4
    with calling(session) as caller:
        assert caller.ask(advance(0)) is not None


def test_a_token_may_do_here_what_it_may_elsewhere(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    everything = create_token(file, "everything", {"*": ("read", "write", "admin")}).text
    reader = create_token(file, "reader", {KEY.pool: ("read",)}).text
    writer = create_token(file, "writer", {KEY.pool: ("read", "write")}).text
    server = serve(tokens_file=file)
    session = opened(server, everything)
    for refused in ("", "unknown", reader):
        with calling(session, token=refused) as caller:
            assert caller.ask(advance(0)) is None
    assert server.engine.get_video(KEY).state.length == 0
    with calling(session, token=writer) as caller:
        assert caller.ask(advance(0)) is not None
        revoke_token(file, "writer")
        assert server.reload()
        assert caller.heard() is None


def test_a_full_lane_refuses(serve: Serve) -> None:
    server = serve(max_advance_streams=1)
    session = opened(server)
    with calling(session) as first:
        assert first.ask(advance(0)) is not None
        with calling(session) as second:
            assert second.ask(advance(0, OTHER)) is None
        assert first.ask(advance(3)) is not None
    until(lambda: server.load.open_calls == 0)
    with calling(session) as third:
        assert third.ask(advance(0, OTHER)) is not None


def test_an_idle_caller_is_hung_up_on(serve: Serve) -> None:
    server = serve(idle_s=0.5, stream_idle_s=1.0)
    with calling(opened(server)) as caller:
        assert caller.ask(advance(0)) is not None
        began = time.monotonic()
        assert caller.heard() is None
        assert time.monotonic() - began < SOON_S / 2
    until(lambda: server.load.open_calls == 0)


def test_a_call_stops_when_its_caller_is_gone(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    server = serve(num_threads=1)
    server.engine.create_pool("busy", PoolSpec())
    held, go_on = threading.Event(), threading.Event()
    search = server.engine.search

    def slow(*args: Any, **options: Any) -> Any:
        held.set()
        assert go_on.wait(SOON_S)
        return search(*args, **options)

    monkeypatch.setattr(server.engine, "search", slow)
    with grpc.insecure_channel(server.address) as channel:
        request = pb.SearchRequest(key=wire.key_to_proto(OTHER), queries=[advance(0).query])
        searching = MemoryServiceStub(channel).Search.future(request)
        assert held.wait(SOON_S)
        with calling(opened(server)) as caller:
            send_message(caller.connection, advance(0).SerializeToString())
            until(lambda: server.load.waiting == 1)
        until(lambda: server.load.waiting == 0)  # the place in the queue is another's
        go_on.set()
        searching.exception()
    until(lambda: server.load.open_calls == 0)
    assert server.engine.get_video(KEY).state.length == 0


def test_a_server_that_drains_hangs_up(serve: Serve) -> None:
    server = serve(drain_s=30.0)
    with calling(opened(server)) as caller:
        assert caller.ask(advance(0)) is not None
        began = time.monotonic()
        assert server.stop()
        assert caller.heard() is None
        assert time.monotonic() - began < SOON_S


def test_the_socket_is_nobody_elses(serve: Serve) -> None:
    path = Path(opened(serve()).socket_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_the_socket_is_gone_with_its_server(tmp_path: Path) -> None:
    server = Server(ServiceConfig(data_dir=tmp_path / "data", address="127.0.0.1:0", local_path=True))
    server.start()
    path = Path(opened(server).socket_path)
    assert path.exists()
    server.stop()
    assert not path.exists()


def test_a_thread_of_it_that_dies_is_seen(serve: Serve) -> None:
    server = serve()
    assert "local-calls" in {worker.name for worker in server.workers}
    assert all(worker.alive for worker in server.workers)


def test_sessions_name_the_socket(tmp_path: Path) -> None:
    sessions = LocalSessions(tmp_path)
    try:
        assert sessions.socket_path.parent.is_dir()
    finally:
        sessions.close()
