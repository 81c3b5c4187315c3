"""Group commit: whose turn it is, and threads that outlive what goes wrong."""

import os
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import SPEC

from memory_service.reel import Kind
from memory_service.store.commit import GroupCommit
from memory_service.store.files import FileStore
from memory_service.store.reel_file import ReelFile
from memory_service.types import VideoInfo, VideoKey, VideoState


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FileStore]:
    opened = FileStore(tmp_path / "data", extent_bytes=4096)
    yield opened
    opened.close()


def changed(store: FileStore, pool: str, count: int) -> list[ReelFile]:
    """Reels of a pool, each with a record that is not durable."""
    reels = []
    for number in range(count):
        key = VideoKey(pool, str(number))
        store.create(VideoInfo(key, SPEC, VideoState(1, 0, 0), 0))
        reels.append(store.open(key)[0])
        reels[-1].append(Kind.RETRIEVAL, {})
    return reels


def test_a_pool_with_many_changed_reels_does_not_hold_up_another(
    store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    greedy, modest = changed(store, "greedy", 100), changed(store, "modest", 2)
    order: list[str] = []
    sync = os.fdatasync

    def slow(fd: int) -> None:
        order.append(Path(os.readlink(f"/proc/self/fd/{fd}")).parent.name)
        time.sleep(0.005)
        sync(fd)

    monkeypatch.setattr(os, "fdatasync", slow)
    commit = GroupCommit(0.2)
    for reel in (*greedy, *modest):
        commit.mark(reel)
    commit.close()
    assert order.count("modest") == 2
    assert [number for number, pool in enumerate(order) if pool == "modest"][-1] < 12
    assert all(reel.durable >= 64 for reel in (*greedy, *modest))


def test_every_reel_becomes_durable_within_the_interval_and_its_turn(store: FileStore) -> None:
    reels = changed(store, "pool", 20)
    commit = GroupCommit(0.05)
    started = time.monotonic()
    ends = [reel.end for reel in reels]
    for reel in reels:
        commit.mark(reel)
        commit.mark(reel)
    assert 0 <= commit.oldest_s < 5
    while any(reel.durable < end for reel, end in zip(reels, ends, strict=True)):
        assert time.monotonic() - started < 10
        time.sleep(0.005)
    assert time.monotonic() - started >= 0.05
    commit.close()
    assert commit.oldest_s == 0.0


def test_no_defect_ends_a_thread(
    store: FileStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reels = changed(store, "pool", 12)
    calls = []

    def broken(_: ReelFile) -> None:
        calls.append(threading.current_thread().name)
        raise ValueError("a defect")

    with monkeypatch.context() as patched:
        patched.setattr(ReelFile, "commit", broken)
        commit = GroupCommit(0.0)
        for reel in reels:
            commit.mark(reel)
        deadline = time.monotonic() + 5
        while len(calls) < len(reels):
            assert time.monotonic() < deadline
            time.sleep(0.005)
    assert all(worker.alive for worker in commit.workers)
    assert len(commit.workers) > 1
    end = reels[0].end
    commit.mark(reels[0])
    commit.close()
    assert reels[0].durable >= end
    assert "a defect" in caplog.text
    assert not any(worker.alive for worker in commit.workers)


def test_without_an_interval_there_is_nothing_to_watch(store: FileStore) -> None:
    commit = GroupCommit(None)
    (reel,) = changed(store, "pool", 1)
    commit.mark(reel)
    commit.close()
    assert (commit.workers, commit.oldest_s) == ((), 0.0)
    assert reel.durable < reel.end


def test_the_age_of_what_waits_longest_takes_no_copy_of_what_waits(store: FileStore) -> None:
    commit = GroupCommit(None)
    (reel,) = changed(store, "pool", 1)
    others = {object(): 2.0 for _ in range(100_000)}
    commit._waiting = {reel: 1.0, **others}  # type: ignore[dict-item]
    tracemalloc.start()
    try:
        oldest_s, most_bytes = commit.oldest_s, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert oldest_s == pytest.approx(time.monotonic() - 1.0, abs=5)
    assert most_bytes < 10_000
