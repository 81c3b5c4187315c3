"""Which blocks a client holds, and for how long."""

import random

from samples import KEY

from memory_service.remote.retention import Retention
from memory_service.types import VideoKey, VideoState
from memory_service.v1 import memory_pb2 as pb

OTHER = VideoKey("pool", "other")


def state(length: int, durable: int, epoch: int = 1) -> VideoState:
    return VideoState(epoch, length, durable)


def keep(retention: Retention, start: int, durable: int = 0, *, key: VideoKey = KEY, epoch: int = 1) -> None:
    retention.keep(key, state(start + 3, durable, epoch), pb.Block(start=start), 100, start + 3)


def starts(retention: Retention, key: VideoKey = KEY) -> list[int]:
    held = retention.held(key)
    return [block.start for block in held.blocks] if held else []


def test_blocks_are_held_until_the_watermark_has_passed_them() -> None:
    retention = Retention(1000)
    for start in (0, 3, 6):
        keep(retention, start)
    assert starts(retention) == [0, 3, 6]
    retention.observe(KEY, state(9, 3))
    assert starts(retention) == [3, 6]
    retention.observe(KEY, state(9, 9))
    assert retention.held(KEY) is None
    assert retention.videos() == []


def test_a_block_that_is_durable_at_once_is_never_held() -> None:
    retention = Retention(1000)
    keep(retention, 0, durable=3)
    assert retention.held(KEY) is None


def test_an_old_watermark_changes_nothing() -> None:
    retention = Retention(1000)
    keep(retention, 3, durable=3)
    retention.observe(KEY, state(3, 0))
    assert starts(retention) == [3]


def test_acknowledgements_of_threads_may_cross() -> None:
    retention = Retention(1000)
    for start in (3, 0):
        keep(retention, start)
    held = retention.held(KEY)
    assert held is not None
    assert (starts(retention), held.stop) == ([0, 3], 6)


def test_another_life_of_the_video_replaces_what_was_held() -> None:
    retention = Retention(1000)
    keep(retention, 9, epoch=1)
    retention.observe(KEY, state(9, 9, epoch=2))
    assert starts(retention) == [9]
    keep(retention, 0, epoch=2)
    assert starts(retention) == [0]


def test_a_duplicate_is_held_once() -> None:
    retention = Retention(150)
    keep(retention, 0)
    keep(retention, 0)
    assert not retention.crowded(50)


def test_the_budget_counts_what_is_held_of_all_videos() -> None:
    retention = Retention(250)
    keep(retention, 0)
    keep(retention, 0, key=OTHER)
    assert retention.crowded(51)
    assert not retention.crowded(50)
    retention.forget(OTHER)
    assert not retention.crowded(150)
    retention.observe(KEY, state(3, 3))
    assert not retention.crowded(250)


def test_the_count_returns_to_nothing() -> None:
    rng = random.Random(0)
    retention = Retention(1)
    for _ in range(2000):
        key = rng.choice([KEY, OTHER])
        match rng.randrange(4):
            case 0 | 1:
                keep(retention, 3 * rng.randrange(20), 3 * rng.randrange(20), key=key, epoch=rng.randrange(3))
            case 2:
                retention.observe(key, state(60, 3 * rng.randrange(20), rng.randrange(3)))
            case 3:
                retention.forget(key)
    for key in (KEY, OTHER):
        retention.forget(key)
    assert not retention.crowded(1)
