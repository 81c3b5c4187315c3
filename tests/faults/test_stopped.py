"""SIGSTOP: callers leave in time, and what the server finds when it goes on takes effect once."""

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import ALL, SPEC, assert_frames, block, embeddings, oracle, query, state
from serving import ServerProcess

from memory_service.client import MemoryClient
from memory_service.engine import MemoryEngine
from memory_service.errors import DeadlineExceeded
from memory_service.types import Query, VideoKey
from memory_service.verify import verify

TIMEOUT_S = 0.4
KEYS = [VideoKey("pool", f"video-{number}") for number in range(4)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", f"unix:{tmp_path}/socket") as running:
        with MemoryClient(running.address) as memory:
            for key in KEYS:
                memory.create_video(key, SPEC)
                memory.append(key, block(0), sync=True)
        yield running
    assert "Traceback" not in running.log.read_text()


def check(data_dir: Path, lengths: list[int]) -> None:
    memory = MemoryEngine(data_dir)
    for key, length in zip(KEYS, lengths, strict=True):
        assert state(memory, key).length == length
        assert_frames(memory, 0, length, key)
        one = query(k=20, like=5)
        (hits,) = memory.search(key, [one], log=False).hits
        found = tuple(hit.handle.frame for hit in hits), tuple(hit.score for hit in hits)
        assert found == oracle(embeddings(0, length), one.embedding, 20, ALL)
    memory.close()
    assert verify(data_dir).findings == ()


def test_appends_that_timed_out_are_there_once_when_they_are_repeated(
    server: ServerProcess, tmp_path: Path
) -> None:
    """The same block from several threads, several times, while the server stands still."""
    clients = [MemoryClient(server.address, timeout_s=TIMEOUT_S) for _ in KEYS]
    for client in clients:
        client.info()
    server.send(signal.SIGSTOP)
    late: list[float] = []

    def write(client: MemoryClient, key: VideoKey) -> None:
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                client.append(key, block(3))
            late.append(time.monotonic() - began - TIMEOUT_S)

    threads = [
        threading.Thread(target=write, args=pair) for pair in zip(clients, KEYS, strict=True) for _ in "ab"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(late) == 6 * len(KEYS), "every call ended with its deadline"
    assert max(late) < 1
    server.send(signal.SIGCONT)
    with MemoryClient(server.address) as memory:
        for key in KEYS:
            assert memory.append(key, block(3)).state.length == 6
            assert memory.append(key, block(6), sync=True).state.length == 9
    server.kill()
    check(tmp_path / "data", [9] * len(KEYS))


def test_a_call_that_nobody_waits_for_is_done_or_not_but_never_half(
    server: ServerProcess, tmp_path: Path
) -> None:
    client = MemoryClient(server.address, timeout_s=TIMEOUT_S)
    client.info()
    server.send(signal.SIGSTOP)
    for key in KEYS:
        with pytest.raises(DeadlineExceeded):
            client.advance(key, block(3), Query(3, ALL), sync=True)
    server.send(signal.SIGCONT)
    with MemoryClient(server.address) as memory:
        lengths = [state(memory, key).length for key in KEYS]
        assert set(lengths) <= {3, 6}
        time.sleep(0.5)  # what was still under way has been done by now
        lengths = [state(memory, key).length for key in KEYS]
    server.kill()
    check(tmp_path / "data", lengths)


def test_a_server_that_is_killed_while_it_stands_still(server: ServerProcess, tmp_path: Path) -> None:
    client = MemoryClient(server.address, timeout_s=TIMEOUT_S)
    acknowledged = [client.append(key, block(3)).state.length for key in KEYS]
    server.send(signal.SIGSTOP)
    for key in KEYS:
        with pytest.raises(DeadlineExceeded):
            client.append(key, block(6))
    server.kill()
    check(tmp_path / "data", acknowledged)


def test_durability_catches_up_after_a_pause(server: ServerProcess) -> None:
    with MemoryClient(server.address) as memory:
        for key in KEYS:
            memory.append(key, block(3))
        server.send(signal.SIGSTOP)
        time.sleep(0.3)
        server.send(signal.SIGCONT)
        began = time.monotonic()
        while min(state(memory, key).durable for key in KEYS) < 6:
            assert time.monotonic() - began < 10
            time.sleep(0.01)
