"""SIGTERM and SIGINT: requests that run finish, everything is durable, the process ends in order."""

import signal
import threading
import time
from pathlib import Path

import pytest
from samples import ALL, KEY, SPEC, assert_frames, block, state
from serving import ServerProcess

from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.engine import MemoryEngine
from memory_service.errors import Unavailable
from memory_service.server import Server
from memory_service.types import Appended, Query, VideoKey


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_everything_durable(tmp_path: Path, number: signal.Signals) -> None:
    with ServerProcess(tmp_path / "data", "127.0.0.1:0", "--commit-interval", "3600") as server:
        memory = MemoryClient(server.address)
        memory.create_video(KEY, SPEC)
        assert memory.append(KEY, block(0)).state.durable == 0
        server.send(number)
        assert server.wait() == 0
        with pytest.raises(Unavailable):
            memory.append(KEY, block(3))
        with pytest.raises(Unavailable):
            memory.close()
    assert "Traceback" not in server.log.read_text()
    reopened = MemoryEngine.open_read_only(tmp_path / "data")
    assert state(reopened).durable == 3
    assert_frames(reopened, 0, 3)
    reopened.close()


@pytest.mark.usefixtures("impatient")
def test_appends_that_run_finish(tmp_path: Path) -> None:
    """Four writers at full speed: what the drain lets through is acknowledged and kept, the rest refused."""
    keys = [VideoKey("pool", f"video-{i}") for i in range(4)]
    acknowledged = dict.fromkeys(keys, 0)

    def write(address: str, key: VideoKey) -> None:
        memory = MemoryClient(address, timeout_s=30, retain_bytes=0)
        memory.create_video(key, SPEC)
        try:
            while True:
                answer = memory.advance(key, block(acknowledged[key]), Query(3, ALL))
                acknowledged[key] = answer.appended.state.length
        except Unavailable:
            memory.close()

    with ServerProcess(tmp_path / "data", f"unix:{tmp_path}/socket") as server:
        writers = [threading.Thread(target=write, args=(server.address, key)) for key in keys]
        for writer in writers:
            writer.start()
        while min(acknowledged.values()) < 9 and all(writer.is_alive() for writer in writers):
            time.sleep(0.001)
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        for writer in writers:
            writer.join()
    assert "Traceback" not in server.log.read_text()
    reopened = MemoryEngine.open_read_only(tmp_path / "data")
    for key in keys:
        assert state(reopened, key).length in {acknowledged[key], acknowledged[key] + 3}
        assert_frames(reopened, 0, acknowledged[key], key)
    reopened.close()


@pytest.mark.usefixtures("impatient")
def test_the_drain_waits_for_an_append_and_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, go_on = threading.Event(), threading.Event()
    append = MemoryEngine.append

    def slow(*arguments: object, **options: object) -> Appended:
        running.set()
        assert go_on.wait(20)
        return append(*arguments, **options)  # type: ignore[arg-type]

    server = Server(ServiceConfig(data_dir=tmp_path / "data", address=f"unix:{tmp_path}/socket"))
    server.start()
    client = MemoryClient(server.address, timeout_s=20, retain_bytes=0)
    late = MemoryClient(server.address, timeout_s=20)
    client.create_video(KEY, SPEC)
    assert late.get_video(KEY).state.length == 0
    monkeypatch.setattr(MemoryEngine, "append", slow)
    answers: list[Appended] = []
    writer = threading.Thread(target=lambda: answers.append(client.append(KEY, block(0))))
    writer.start()
    assert running.wait(20)
    drain = threading.Thread(target=server.stop)
    drain.start()
    assert refused(late)
    assert drain.is_alive()
    assert not answers
    go_on.set()
    writer.join(20)
    drain.join(20)
    assert [answer.state.length for answer in answers] == [3]
    client.close()
    late.close()


def refused(memory: MemoryClient) -> bool:
    """A call may still slip in before the drain begins; soon none does."""
    for _ in range(10_000):
        try:
            memory.get_video(KEY)
        except Unavailable:
            return True
    return False
