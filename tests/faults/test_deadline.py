"""A server that does not answer: every call ends in time, and works again when the server does."""

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import ALL, KEY, SPEC, assert_frames, block, query
from serving import ServerProcess

from memory_service.client import MemoryClient
from memory_service.errors import DeadlineExceeded, Unavailable
from memory_service.types import Handle, Query

TIMEOUT_S = 0.4


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", f"unix:{tmp_path}/socket") as running:
        with MemoryClient(running.address) as memory:
            memory.create_video(KEY, SPEC)
            memory.append(KEY, block(0))
        yield running


CALLS = {
    "create_video": lambda memory: memory.create_video(KEY, SPEC),
    "get_video": lambda memory: memory.get_video(KEY),
    "list_videos": lambda memory: memory.list_videos("pool"),
    "drop_video": lambda memory: memory.drop_video(KEY),
    "append": lambda memory: memory.append(KEY, block(3)),
    "advance": lambda memory: memory.advance(KEY, block(3), Query(3, ALL)),
    "search": lambda memory: memory.search(KEY, [query(like=1)]),
    "fetch": lambda memory: memory.fetch([Handle(KEY, 1, 0)]),
    "retrievals": lambda memory: memory.retrievals(KEY),
    "info": lambda memory: memory.info(),
}


def connect(address: str) -> MemoryClient:
    """A client that has its connection; on a busy machine the first call may take longer than it has."""
    memory = MemoryClient(address, timeout_s=TIMEOUT_S)
    for _ in range(50):
        with contextlib.suppress(DeadlineExceeded):
            memory.info()
            return memory
    raise AssertionError("no answer")


def test_a_stopped_server_gives_deadline_exceeded_in_time(server: ServerProcess) -> None:
    connected, fresh = connect(server.address), MemoryClient(server.address, timeout_s=TIMEOUT_S)
    server.send(signal.SIGSTOP)
    for memory, call in [(connected, call) for call in CALLS.values()] + [(fresh, CALLS["info"])]:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            call(memory)
        assert TIMEOUT_S * 0.9 < time.monotonic() - began < TIMEOUT_S + 1
    server.send(signal.SIGCONT)
    connected.close()
    fresh.close()


def test_what_a_stopped_server_was_sent_takes_effect_once(server: ServerProcess) -> None:
    with MemoryClient(server.address, timeout_s=20) as memory:
        memory.info()
        server.send(signal.SIGSTOP)
        threading.Timer(0.3, server.send, [signal.SIGCONT]).start()
        answer = memory.append(KEY, block(3))
        assert (answer.state.length, answer.duplicate) == (6, False)
        assert_frames(memory, 0, 6)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "unix:/nowhere/socket"])
def test_no_server_gives_unavailable_in_time(address: str) -> None:
    with MemoryClient(address, timeout_s=TIMEOUT_S) as memory:
        began = time.monotonic()
        with pytest.raises(Unavailable):
            memory.info()
        assert time.monotonic() - began < TIMEOUT_S + 1


def test_a_client_may_come_before_its_server(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/socket"
    with MemoryClient(address, timeout_s=20) as memory:
        answers: list[str] = []
        asking = threading.Thread(target=lambda: answers.append(memory.info().index))
        asking.start()
        time.sleep(0.2)
        with ServerProcess(tmp_path / "data", address):
            asking.join(20)
    assert answers == ["flat"]
