"""A loss of power takes what the server had acknowledged but not yet synced; the client gives it back."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from samples import ALL, KEY, SPEC, assert_frames, block, embeddings, handle, query, state
from serving import ServerProcess

from memory_service.client import MemoryClient
from memory_service.errors import Fenced, NotFound, OutOfOrder
from memory_service.memory import Memory
from memory_service.types import Query, VideoInfo, VideoKey

NEVER_S = "3600"
OTHER = VideoKey("pool", "other")


class Machine:
    """A server whose disk can be set back: nothing is synced in the background, so the loss is certain."""

    def __init__(self, folder: Path) -> None:
        self.address = f"unix:{folder}/socket"
        self._data, self._disk = folder / "data", folder / "disk"
        self._running = ExitStack()
        self.power_on()

    def power_on(self) -> None:
        server = ServerProcess(self._data, self.address, "--commit-interval", NEVER_S)
        self._running.enter_context(server)

    def sync(self) -> None:
        """What is on the disk now is what the next loss of power leaves."""
        shutil.rmtree(self._disk, ignore_errors=True)
        shutil.copytree(self._data, self._disk)

    def lose_power(self) -> None:
        self.power_off()
        shutil.rmtree(self._data)
        shutil.copytree(self._disk, self._data)
        self.power_on()

    def power_off(self) -> None:
        self._running.close()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    try:
        yield made
    finally:
        made.power_off()


@pytest.fixture
def memory(machine: Machine) -> Iterator[MemoryClient]:
    """A client that has appended [0, 3) durably and [3, 12) not; its server has lost the latter."""
    with MemoryClient(machine.address) as client:
        client.create_video(KEY, SPEC)
        client.append(KEY, block(0), sync=True)
        machine.sync()
        for start in (3, 6, 9):
            assert client.append(KEY, block(start)).state.durable == 3
        machine.lose_power()
        yield client


NEXT: dict[str, Callable[[Memory], object]] = {
    "append": lambda memory: memory.append(KEY, block(12)),
    "advance": lambda memory: memory.advance(KEY, block(12), Query(3, ALL)),
    "search": lambda memory: memory.search(KEY, [query(like=10)]),
    "append_stream": lambda memory: list(memory.append_stream(KEY, [block(12)])),
    "fetch": lambda memory: memory.fetch([handle(memory, 11)]),
    "fork": lambda memory: assert_length(memory.fork_video(KEY, OTHER, length=12), 12),
    "truncate": lambda memory: assert_length(memory.truncate_video(KEY, 12), 12),
    "seal": lambda memory: assert_length(memory.seal_video(KEY), 12),
    "export": lambda memory: memory.import_video(OTHER, memory.export_video(KEY)),
}


def assert_length(video: VideoInfo, length: int) -> None:
    assert video.state.length == length


@pytest.mark.usefixtures("memory")
def test_the_loss_is_real(machine: Machine) -> None:
    with MemoryClient(machine.address) as another:
        assert state(another).length == 3
        with pytest.raises(OutOfOrder):
            another.append(KEY, block(12))


@pytest.mark.parametrize("verb", NEXT)
def test_the_next_call_gives_back_what_was_lost(memory: MemoryClient, verb: str) -> None:
    NEXT[verb](memory)
    length = 15 if verb in {"append", "append_stream", "advance"} else 12
    assert state(memory).length == length
    if verb == "truncate":  # the handles of what it left are those of the epoch before
        return
    assert_frames(memory, 0, length)
    if verb == "export":
        assert_frames(memory, 0, length, OTHER)


def test_a_search_after_the_loss_sees_the_whole_history(memory: MemoryClient) -> None:
    found = memory.search(KEY, [query(k=1, like=10)])
    assert found.state.length == 12
    assert [hit.handle.frame for hit in found.hits[0]] == [10]


def test_closing_gives_back_what_was_lost(machine: Machine, memory: MemoryClient) -> None:
    memory.close()
    with MemoryClient(machine.address) as another:
        assert state(another).durable == 12
        assert_frames(another, 0, 12)


def test_two_losses_in_a_row(machine: Machine, memory: MemoryClient) -> None:
    memory.append(KEY, block(12))
    machine.lose_power()
    memory.append(KEY, block(15))
    assert_frames(memory, 0, 18)


def test_a_loss_in_the_middle_of_a_stream(machine: Machine, memory: MemoryClient) -> None:
    stream = memory.append_stream(KEY, (block(start) for start in range(12, 300, 3)))
    for _ in range(20):
        next(stream)
    machine.lose_power()
    with MemoryClient(machine.address) as another:
        assert state(another).length == 3
    assert len(list(stream)) == 76
    assert_frames(memory, 0, 300)


def test_blocks_of_a_life_gone_by_stay_gone(machine: Machine, memory: MemoryClient) -> None:
    with MemoryClient(machine.address) as another:
        another.drop_video(KEY)
        another.create_video(KEY, SPEC)
    with pytest.raises(OutOfOrder):
        memory.append(KEY, block(12))
    assert state(memory).length == 0
    memory.append(KEY, block(0))


def test_a_video_that_is_gone_is_not_found(machine: Machine, memory: MemoryClient) -> None:
    with MemoryClient(machine.address) as another:
        another.drop_video(KEY)
    with pytest.raises(NotFound):
        memory.append(KEY, block(12))
    memory.close()


def test_what_is_held_stays_within_its_budget(machine: Machine) -> None:
    budget = 4 * (embeddings(0).nbytes + 3 * SPEC.latent_bytes)
    with MemoryClient(machine.address, retain_bytes=budget) as client:
        for key in (KEY, OTHER):
            client.create_video(key, SPEC)
            durable = [client.append(key, block(start)).state.durable for start in range(0, 30, 3)]
            assert max(durable) > 0, "no append was synced for want of room"
            assert client._writer._retention._num_bytes <= budget
        assert state(client, OTHER).durable > 0


def test_fence_holds_after_a_loss(memory: MemoryClient) -> None:
    with pytest.raises(Fenced):
        memory.append(KEY, block(12), epoch=state(memory).epoch + 1)
