"""What each level of durability promises: how often the disk is synced, and what a loss of power leaves."""

import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from injection import SYNCS, Call, Injector, lose_power
from samples import ALL, KEY, SPEC, assert_frames, block, embeddings, query, state
from serving import ServerProcess

from memory_service.client import MemoryClient
from memory_service.config import ServiceConfig
from memory_service.engine import MemoryEngine
from memory_service.errors import InvalidArgument, Unavailable
from memory_service.store.findings import Class
from memory_service.types import Hit, Query, Span, VideoState
from memory_service.verify import verify

BLOCKS = 20
INTERVAL_S = 0.2


class Machine:
    """A server on a disk that forgets what was not synced."""

    def __init__(self, folder: Path, injector: Injector, level: str, *arguments: str) -> None:
        self.disk, self.shadow = folder / "disk", folder / "shadow"
        self.data_dir = self.disk / "data"
        self._log = folder / "server.log"
        self._arguments = ("--durability", level, *arguments)
        self._environment = dict(injector.environment)
        self.disk.mkdir()
        injector.watch(self.disk, self.shadow)

    def start(self) -> ServerProcess:
        return ServerProcess(
            self.data_dir, "127.0.0.1:0", *self._arguments, log=self._log, env=self._environment
        )

    def lose_power(self, server: ServerProcess, rng: random.Random | None = None) -> None:
        server.kill()
        lose_power(self.disk, self.shadow, rng)


@pytest.fixture
def machine(injector: Injector, tmp_path: Path) -> Callable[..., Machine]:
    return lambda level, *arguments: Machine(tmp_path, injector, level, *arguments)


def reels(machine: Machine) -> str:
    return f"{machine.data_dir}/*.reel"


def found(memory: MemoryClient | MemoryEngine, length: int) -> tuple[tuple[Hit, ...], ...]:
    """What a search over the first `length` frames gives."""
    queries = [Query(5, Span(0, length), embedding=embeddings(number, 1)[0]) for number in (900, 901)]
    return memory.search(KEY, queries, log=False).hits


def append(memory: MemoryClient, start: int, *, sync: bool = False) -> VideoState:
    return memory.append(KEY, block(start), sync=sync).state


def test_sync_syncs_before_every_answer(injector: Injector, machine: Callable[..., Machine]) -> None:
    sync = machine("sync")
    with sync.start() as server, MemoryClient(server.address) as memory:
        memory.create_video(KEY, SPEC)
        syncs = injector.count(Call.FDATASYNC, reels(sync))
        for number in range(BLOCKS):
            before = syncs.matched
            answer = append(memory, 3 * number)
            assert answer.durable == answer.length == 3 * (number + 1)
            assert syncs.matched > before
        advanced = memory.advance(KEY, block(3 * BLOCKS), Query(3, ALL)).appended.state
        assert advanced.durable == advanced.length


def test_group_syncs_once_an_interval(injector: Injector, machine: Callable[..., Machine]) -> None:
    group = machine("group", "--commit-interval", str(INTERVAL_S))
    with group.start() as server, MemoryClient(server.address) as memory:
        memory.create_video(KEY, SPEC)
        time.sleep(2 * INTERVAL_S)
        syncs, began = injector.count(Call.FDATASYNC, reels(group)), time.monotonic()
        for number in range(BLOCKS):
            append(memory, 3 * number)
        while state(memory).durable < 3 * BLOCKS:
            assert time.monotonic() - began < 20
            time.sleep(0.01)
        assert 1 <= syncs.matched <= (time.monotonic() - began) / INTERVAL_S + 1
        before = syncs.matched
        assert append(memory, 3 * BLOCKS, sync=True).durable == 3 * BLOCKS + 3
        assert syncs.matched > before, "a request's own sync always holds"


def test_none_syncs_on_request_and_at_the_end_only(
    injector: Injector, machine: Callable[..., Machine]
) -> None:
    none = machine("none", "--commit-interval", "0.01")
    with none.start() as server:
        memory = MemoryClient(server.address)
        memory.create_video(KEY, SPEC)
        syncs = injector.count(SYNCS, reels(none))
        for number in range(BLOCKS):
            assert append(memory, 3 * number).durable == 0
            memory.search(KEY, [query(like=1)])
        time.sleep(0.3)
        assert syncs.matched == 0
        answer = append(memory, 3 * BLOCKS, sync=True)
        assert answer.durable == answer.length
        assert syncs.matched == 1
        append(memory, 3 * BLOCKS + 3)
        server.send(signal.SIGTERM)
        assert server.wait() == 0
        assert syncs.matched > 1
        with pytest.raises(Unavailable):
            MemoryClient(server.address, timeout_s=0.2).info()
    lose_power(none.disk, none.shadow)
    closed = MemoryEngine.open_read_only(none.data_dir)
    assert state(closed).durable == 3 * BLOCKS + 6
    closed.close()


@pytest.mark.parametrize("level", ["sync", "group", "none"])
def test_a_loss_of_power_takes_no_more_than_the_level_says(
    machine: Callable[..., Machine], level: str, tmp_path: Path
) -> None:
    """Power goes while blocks are being appended; unsynced pages reach the disk at random, in any order."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    machine_ = machine(level, "--commit-interval", "0.02")
    acknowledged = durable = 0
    hits: tuple[tuple[Hit, ...], ...] = ()
    for life in range(4):
        server = machine_.start()
        memory = MemoryClient(server.address)
        if life == 0:
            memory.create_video(KEY, SPEC)
        else:
            left = check_what_is_left(memory, acknowledged, durable, level)
            acknowledged = durable = left
        for number in range(rng.randint(5, 25)):
            answer = append(memory, acknowledged, sync=number == 3)
            acknowledged, durable = answer.length, max(durable, answer.durable)
        hits = found(memory, durable)
        machine_.lose_power(server, rng)
        torn = {finding.kind for finding in verify(machine_.data_dir).findings}
        assert torn <= {Class.TORN_TAIL, Class.ORPHAN}
        check_copy(machine_.data_dir, tmp_path / f"copy-{life}", durable, hits)
        shutil.rmtree(tmp_path / f"copy-{life}")


def check_what_is_left(memory: MemoryClient, acknowledged: int, durable: int, level: str) -> int:
    left = state(memory).length
    assert durable <= left <= acknowledged
    if level == "sync":
        assert left == acknowledged
    assert_frames(memory, 0, left)
    return left


def check_copy(data_dir: Path, copy: Path, durable: int, hits: tuple[tuple[Hit, ...], ...]) -> None:
    """Opened by another process: all that was durable, the same results bit for bit, and nothing wrong."""
    shutil.copytree(data_dir, copy)
    memory = MemoryEngine(copy)
    assert state(memory).length >= durable
    assert_frames(memory, 0, durable)
    assert found(memory, durable) == hits
    memory.close()
    assert verify(copy).findings == ()


def test_a_new_memory_survives_a_loss_of_power(machine: Callable[..., Machine]) -> None:
    """The data directory, its pool and the video each need their directory synced."""
    new = machine("group")
    server = new.start()
    with MemoryClient(server.address) as memory:
        memory.create_video(KEY, SPEC)
    new.lose_power(server)
    left = MemoryEngine(new.data_dir)
    assert [info.key for info in left.list_videos(KEY.pool)] == [KEY]
    left.close()


def test_a_dropped_video_stays_dropped_after_a_loss_of_power(machine: Callable[..., Machine]) -> None:
    dropping = machine("none")
    server = dropping.start()
    with MemoryClient(server.address) as memory:
        memory.create_video(KEY, SPEC)
        append(memory, 0, sync=True)
        memory.drop_video(KEY)
    dropping.lose_power(server)
    left = MemoryEngine(dropping.data_dir)
    assert left.list_videos(KEY.pool) == []
    left.close()


@pytest.mark.parametrize("level", ["", "always", "SYNC"])
def test_an_unknown_level_is_refused(tmp_path: Path, level: str) -> None:
    for make in (
        lambda: MemoryEngine(tmp_path / "data", durability=level),
        lambda: ServiceConfig(data_dir=tmp_path / "data", durability=level),
    ):
        with pytest.raises(InvalidArgument) as error:
            make()
        assert error.value.field == "durability"
        assert error.value.expected == "one of sync, group, none"
