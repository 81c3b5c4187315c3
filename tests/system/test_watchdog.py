"""Background threads that die or hang: the server says that it does not serve, and why."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from callers import error_of
from grpc_health.v1 import health_pb2, health_pb2_grpc
from samples import KEY, SPEC, block

from memory_service import wire
from memory_service.config import ServiceConfig
from memory_service.server import SERVICE, Server
from memory_service.serving.open_calls import OpenCalls
from memory_service.serving.watchdog import Watchdog
from memory_service.store.reel_file import ReelFile
from memory_service.v1 import memory_pb2 as pb
from memory_service.workers import Worker

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SOON_S = 15.0

dying = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class Fatal(BaseException):
    """No error that anybody expects."""


def fatal(*_: object, **__: object) -> None:
    raise Fatal


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(ServiceConfig(data_dir=tmp_path / "data", address="127.0.0.1:0", commit_interval_s=0.05))
    running.engine.create_video(KEY, SPEC)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.address) as opened:
        yield opened


def status(channel: grpc.Channel, service: str = "") -> int:
    request = health_pb2.HealthCheckRequest(service=service)
    answer: int = health_pb2_grpc.HealthStub(channel).Check(request, timeout=SOON_S).status
    return answer


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "memory_service.serving.watchdog" and record.levelno == logging.ERROR
    ]


@dying
def test_group_commit_dies(
    server: Server,
    channel: grpc.Channel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
    assert next(watch).status == SERVING
    assert status(channel) == status(channel, SERVICE) == SERVING
    with monkeypatch.context() as patch:
        patch.setattr(ReelFile, "commit", fatal)
        server.engine.append(KEY, block(0))
        until(lambda: status(channel) == NOT_SERVING)
    assert status(channel, SERVICE) == NOT_SERVING
    assert next(watch).status == NOT_SERVING
    time.sleep(2.5)  # two more looks of the watchdog
    (reason,) = reasons(caplog)
    assert reason.startswith("background thread is not well thread=group-commit")
    assert "reason='it died'" in reason
    assert error_of(channel, "GetVideo", pb.GetVideoRequest(key=wire.key_to_proto(KEY))) is None


@dying
@pytest.mark.usefixtures("server")
def test_the_thread_that_looks_after_calls_dies(
    channel: grpc.Channel, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert status(channel) == SERVING
    monkeypatch.setattr(OpenCalls, "_look_at", fatal)
    stub = channel.stream_unary("/memory_service.v1.MemoryService/GetVideo", bytes, bytes)
    go_on = threading.Event()
    open_call = stub.future(iter(lambda: go_on.wait(SOON_S) or b"", b""))
    until(lambda: status(channel) == NOT_SERVING)
    assert [("thread=open-calls reason='it died'" in reason) for reason in reasons(caplog)] == [True]
    open_call.cancel()
    go_on.set()


@dying
def test_the_watchdog_itself_dies(
    server: Server,
    channel: grpc.Channel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert status(channel) == SERVING
    monkeypatch.setattr(Watchdog, "look", fatal)
    until(lambda: status(channel) == NOT_SERVING)
    assert status(channel) == NOT_SERVING
    assert not server.watchdog.well
    assert [("thread=watchdog reason='it died'" in reason) for reason in reasons(caplog)] == [True]


def test_a_thread_that_hangs_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    beat, told = [time.monotonic()], []
    watchdog = Watchdog(
        lambda: [Worker("reader", True, beat[0], 0.05)], told.append, interval_s=0.02, grace_s=0.3
    )
    try:
        assert watchdog.well
        until(lambda: not watchdog.well)
        assert watchdog.ill == {"reader"}
        (reason,) = reasons(caplog)
        assert "thread=reader reason='it hangs'" in reason
        beat[0] = time.monotonic() + 60
        until(lambda: watchdog.well)
        assert told == [False, True]
    finally:
        watchdog.close()


def test_a_process_that_stood_still_has_no_dead_threads() -> None:
    """After SIGSTOP and SIGCONT every sign of life is old, the watchdog's own too: that proves nothing."""
    told: list[bool] = []
    began = time.monotonic()
    watchdog = Watchdog(
        lambda: [Worker("reader", True, began, 0.1)], told.append, interval_s=3600, grace_s=20
    )
    watchdog.close()
    watchdog.look(began + 3700)
    assert told == []
    watchdog.look(began + 3701)
    assert told == [False]


_FOREIGN_THREADS = ("Thread-", "tqdm_monitor")
"""What gRPC calls its threads, and what other tests of the same process may have left."""


def test_all_background_threads_are_watched(server: Server) -> None:
    """Every thread of ours that is there before a call comes is one that the watchdog asks about."""
    watched = {worker.name for worker in (*server.workers, server.watchdog.worker)}
    ours = {
        thread.name
        for thread in threading.enumerate()
        if thread.daemon and not thread.name.startswith(_FOREIGN_THREADS)
    }
    assert watched == ours
    assert all(worker.alive for worker in server.workers)


def test_who_asks_after_a_standstill_waits_for_the_watchdog(
    server: Server,
    channel: grpc.Channel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A health check may come before the watchdog has looked at anything."""
    assert status(channel) == SERVING
    for _ in range(3):
        monkeypatch.setattr(server.watchdog, "_beat", time.monotonic() - 100)
        assert status(channel) == SERVING
    assert reasons(caplog) == []
