"""Watchers over the wire: a place is free as soon as its caller is gone, however that came about."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from samples import KEY, SPEC, block

from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.errors import Overloaded, Unavailable
from memory_service.server import Server
from memory_service.types import EventKind

PROMPTLY_S = 2.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    running = Server(ServiceConfig(data_dir=tmp_path / "data", address="127.0.0.1:0", max_watchers=2))
    running.start()
    yield running
    running.stop()


@pytest.fixture
def memory(server: Server) -> Iterator[MemoryClient]:
    with MemoryClient(server.address, timeout_s=1) as client:
        client.create_video(KEY, SPEC)
        yield client


def watchers(server: Server) -> int:
    return server.load.lanes["watchers"].running


def soon(true: Callable[[], bool]) -> bool:
    until = time.monotonic() + PROMPTLY_S
    while not true() and time.monotonic() < until:
        time.sleep(0.01)
    return true()


def test_closing_frees_the_place(server: Server, memory: MemoryClient) -> None:
    for _ in range(5):
        watch = memory.watch(KEY.pool)
        assert watchers(server) == 1
        watch.close()
        watch.close()
        assert soon(lambda: watchers(server) == 0)
        assert list(watch) == []


def test_one_too_many_is_refused_and_served_when_there_is_room(server: Server, memory: MemoryClient) -> None:
    watches = [memory.watch(KEY.pool) for _ in range(2)]
    with pytest.raises(Overloaded) as caught:
        memory.watch(KEY.pool)
    assert caught.value.retry_after_ms > 0
    watches[0].close()
    assert soon(lambda: watchers(server) == 1)
    memory.watch(KEY.pool).close()
    watches[1].close()


def test_closing_wakes_whoever_waits(memory: MemoryClient) -> None:
    watch = memory.watch(KEY.pool)
    assert next(watch).kind is EventKind.WATCHING
    came: list[Any] = []
    reader = threading.Thread(target=lambda: came.extend(watch), daemon=True)
    reader.start()
    memory.append(KEY, block(0))
    assert soon(lambda: len(came) == 1)
    watch.close()
    reader.join(PROMPTLY_S)
    assert not reader.is_alive()
    assert [event.kind for event in came] == [EventKind.APPENDED]


def test_a_caller_that_is_killed_leaves_nothing(server: Server) -> None:
    code = (
        "import sys\n"
        "from memory_service.client import MemoryClient\n"
        "watch = MemoryClient(sys.argv[1]).watch('pool')\n"
        "print('watching', flush=True)\n"
        "list(watch)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, server.address], stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"watching\n"
        assert watchers(server) == 1
        process.send_signal(signal.SIGKILL)
        assert soon(lambda: watchers(server) == 0)


def test_a_server_that_stops_says_so(server: Server, memory: MemoryClient) -> None:
    watch = memory.watch(KEY.pool)
    next(watch)
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < PROMPTLY_S
    with pytest.raises(Unavailable):
        next(watch)
