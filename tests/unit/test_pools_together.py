"""Pools beside each other: whose disk is slow holds up nobody else, and a refused video leaves no pool."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from samples import SPEC

from memory_service.engine import MemoryEngine
from memory_service.errors import Exhausted, NotFound
from memory_service.types import PoolSpec, VideoKey

SMALL = PoolSpec(max_bytes=10)


class SlowDisk:
    """The next fsync once it is `slow` waits until it is let through."""

    def __init__(self, sync: Callable[[int], None]) -> None:
        self._sync = sync
        self.slow = False
        self.reached, self.let = threading.Event(), threading.Event()

    def __call__(self, fd: int) -> None:
        if self.slow:
            self.slow = False
            self.reached.set()
            assert self.let.wait(20)
        self._sync(fd)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SlowDisk:
    made = SlowDisk(os.fsync)
    monkeypatch.setattr(os, "fsync", made)
    return made


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[MemoryEngine]:
    memory = MemoryEngine(tmp_path / "data")
    memory.create_video(VideoKey("other", "video"), SPEC)
    memory.create_pool("slow", PoolSpec())
    yield memory
    memory.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda memory: memory.create_pool("new", PoolSpec()),
        lambda memory: memory.update_pool("slow", PoolSpec(max_videos=5)),
        lambda memory: memory.drop_pool("slow"),
        lambda memory: memory.create_video(VideoKey("new", "video"), SPEC),
    ],
    ids=["create", "update", "drop", "create a video"],
)
def test_no_pool_waits_for_the_disk_of_another(
    engine: MemoryEngine, disk: SlowDisk, change: Callable[[MemoryEngine], object]
) -> None:
    with ThreadPoolExecutor(2) as threads:
        disk.slow = True
        changing = threads.submit(change, engine)
        assert disk.reached.wait(5)
        try:
            others = threads.submit(use_others, engine)
            others.result(timeout=5)
            assert not changing.done()
        finally:
            disk.let.set()
        changing.result(timeout=5)


def use_others(memory: MemoryEngine) -> None:
    assert memory.get_pool("other").usage.num_videos == 1
    assert "other" in {pool.pool for pool in memory.list_pools()}
    memory.create_video(VideoKey("other", "second"), SPEC)
    memory.drop_video(VideoKey("other", "second"))
    memory.create_pool("third", PoolSpec())
    memory.drop_pool("third")


def test_changes_of_one_pool_come_one_after_the_other(engine: MemoryEngine, disk: SlowDisk) -> None:
    with ThreadPoolExecutor(3) as threads:
        disk.slow = True
        first = threads.submit(engine.update_pool, "slow", PoolSpec(max_videos=1))
        assert disk.reached.wait(5)
        second = threads.submit(engine.update_pool, "slow", PoolSpec(max_videos=2))
        third = threads.submit(engine.drop_pool, "slow")
        engine.get_pool("slow")
        assert not second.done()
        assert not third.done()
        disk.let.set()
        first.result(timeout=5)
        third.exception(timeout=5)
    with pytest.raises(NotFound):
        engine.get_pool("slow")


def test_a_video_that_is_refused_leaves_no_pool(tmp_path: Path) -> None:
    memory = MemoryEngine(tmp_path, default_pool=SMALL)
    for number in range(5):
        with pytest.raises(Exhausted):
            memory.create_video(VideoKey(f"pool-{number}", "video"), SPEC)
    assert memory.list_pools() == []
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]
    memory.close()


def test_a_pool_that_somebody_asked_for_stays(tmp_path: Path) -> None:
    memory = MemoryEngine(tmp_path)
    memory.create_pool("mine", SMALL)
    with pytest.raises(Exhausted):
        memory.create_video(VideoKey("mine", "video"), SPEC)
    assert memory.get_pool("mine").spec == SMALL
    memory.close()


def test_creations_that_are_refused_together_leave_no_pool(tmp_path: Path) -> None:
    memory = MemoryEngine(tmp_path, default_pool=SMALL)

    def create(number: int) -> None:
        with pytest.raises(Exhausted):
            memory.create_video(VideoKey(f"pool-{number % 2}", f"video-{number}"), SPEC)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(create, range(40)))
    assert memory.list_pools() == []
    memory.close()


def test_the_number_of_pools_is_limited(tmp_path: Path) -> None:
    memory = MemoryEngine(tmp_path, max_pools=2)
    memory.create_pool("a", PoolSpec())
    memory.create_video(VideoKey("b", "video"), SPEC)
    with pytest.raises(Exhausted) as error:
        memory.create_pool("c", PoolSpec())
    assert error.value.details == {"used": "2", "allowed": "2", "unit": "pools"}
    with pytest.raises(Exhausted):
        memory.create_video(VideoKey("c", "video"), SPEC)
    memory.create_video(VideoKey("a", "video"), SPEC)
    memory.update_pool("a", PoolSpec(max_videos=3))
    memory.drop_pool("a", with_videos=True)
    memory.create_pool("c", PoolSpec())
    memory.close()
