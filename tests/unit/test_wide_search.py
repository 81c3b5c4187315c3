"""Searches of several videos: they stop when nobody waits, and hold a bounded number of rows."""

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rich_videos import fill, like
from samples import KEY

from memory_service.cancellation import Cancellation
from memory_service.engine import MemoryEngine
from memory_service.errors import Cancelled, TooLarge
from memory_service.limits import Limits
from memory_service.types import Filter, Policy, Scope, ScopeVideo, Span, VideoKey
from memory_service.videos import Videos

POOL = Scope(pool=True)
DIVERSE = Policy(mmr_lambda=0.5)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[MemoryEngine]:
    """Six videos of 12 frames, of which four stay open; at most 30 candidates are compared."""
    memory = MemoryEngine(tmp_path, limits=Limits(max_diverse_candidates=30), max_hot_videos=4)
    for number in range(6):
        fill(memory, dataclasses.replace(KEY, video=f"v{number}"), 12, shift=100 * number)
    fill(memory, KEY, 3)
    yield memory
    memory.close()


def test_a_search_stops_between_videos_when_the_caller_is_gone(
    engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    use = Videos.use

    def counted(videos: Videos, key: object) -> object:
        looked.append(str(key))
        return use(videos, key)  # type: ignore[arg-type]

    monkeypatch.setattr(Videos, "use", counted)
    with Cancellation(active=lambda: len(looked) < 4).current(), pytest.raises(Cancelled):
        engine.search(KEY, [like(0)], scope=POOL)
    assert len(looked) == 4
    assert len(engine.retrievals(KEY)) == 0


def test_cold_videos_are_opened_one_after_the_other(engine: MemoryEngine) -> None:
    hits = engine.search(KEY, [like(0, 99)], scope=POOL).hits[0]
    assert len(hits) == 6 * 12 + 3
    assert engine.info().hot_videos <= 5


def test_mmr_over_more_candidates_than_allowed_is_too_large(engine: MemoryEngine) -> None:
    with pytest.raises(TooLarge) as error:
        engine.search(KEY, [like(0), like(0, policy=DIVERSE)], scope=POOL)
    assert error.value.field == "scope"
    narrow = Scope(tuple(ScopeVideo(dataclasses.replace(KEY, video=f"v{n}"), Span(0, 5)) for n in range(6)))
    assert len(engine.search(KEY, [like(0, 99, policy=DIVERSE)], scope=narrow).hits[0]) == 30
    few = like(0, 99, policy=DIVERSE, filter=Filter({"take": "1"}))
    assert len(engine.search(KEY, [few], scope=POOL).hits[0]) == 18
    assert len(engine.search(KEY, [like(0, 99)], scope=POOL).hits[0]) == 75


def test_a_video_that_goes_while_its_pool_is_searched_is_passed_over(
    engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = Videos.keys

    def and_one_that_is_gone(videos: Videos, pool: str) -> list[object]:
        listed = [*keys(videos, pool)]
        engine.drop_video(dataclasses.replace(KEY, video="v3"))
        return listed  # type: ignore[return-value]

    monkeypatch.setattr(Videos, "keys", and_one_that_is_gone)
    hits = engine.search(KEY, [like(0, 99)], scope=POOL).hits[0]
    assert {hit.handle.key.video for hit in hits} == {"v0", "v1", "v2", "v4", "v5", KEY.video}


def test_videos_that_change_meanwhile_disturb_no_search(tmp_path: Path) -> None:
    memory = MemoryEngine(tmp_path, max_hot_videos=3)
    fill(memory, KEY, 12)
    keys = [dataclasses.replace(KEY, video=f"v{number}") for number in range(4)]
    for key in keys:
        fill(memory, key, 12, shift=100)
    done = threading.Event()

    def change(key: VideoKey) -> int:
        turns = 0
        while not done.is_set():
            memory.truncate_video(key, 4)
            memory.drop_video(key)
            fill(memory, key, 9 + 3 * (turns % 2), shift=100)
            turns += 1
        return turns

    queries = [like(102, 20), like(102, 20, policy=DIVERSE), like(102, 20, policy=Policy(min_gap_frames=2))]
    with ThreadPoolExecutor(len(keys)) as threads:
        changing = [threads.submit(change, key) for key in keys]
        try:
            for _ in range(40):
                for hits in memory.search(KEY, queries, scope=POOL).hits:
                    assert len(hits) == len({hit.handle for hit in hits})
                    assert {hit.handle.key for hit in hits} <= {KEY, *keys}
                    assert max(hit.handle.frame for hit in hits) < 12
        finally:
            done.set()
        assert min(future.result() for future in changing) > 0
    memory.close()
