"""Time to live, on a clock that the test moves."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from memory_service.errors import Unavailable
from memory_service.pooling.expiry import Expiry
from memory_service.types import VideoKey


class World:
    """Videos of one pool, and an expiry that drops them; `now` is the clock."""

    def __init__(self, *names: str) -> None:
        self.now = 1000.0
        self.there = {VideoKey("pool", name) for name in names}
        self.in_use: set[VideoKey] = set()
        self.listed = 0
        self.expiry = Expiry(self.names, self.expire, clock=lambda: self.now)

    def names(self, pool: str) -> Iterator[VideoKey]:
        self.listed += 1
        return iter(sorted((key for key in self.there if key.pool == pool), key=str))

    def expire(self, key: VideoKey, due: Callable[[], bool]) -> bool:
        if key in self.in_use or not due():
            return False
        self.there.discard(key)
        self.expiry.forget(key)
        return True

    def passes(self, seconds: float) -> None:
        """Time in steps as a thread that is alive sees it."""
        for _ in range(round(seconds)):
            self.now += 1.0
            self.expiry.sweep()

    @property
    def names_there(self) -> list[str]:
        return sorted(key.video for key in self.there)


def key(name: str) -> VideoKey:
    return VideoKey("pool", name)


def test_without_a_time_to_live_nothing_expires() -> None:
    world = World("a")
    world.passes(10_000)
    assert world.names_there == ["a"]
    assert world.listed == 0


def test_untouched_videos_live_their_full_time_from_the_start() -> None:
    world = World("a", "b")
    world.expiry.allow("pool", 10_000)
    world.passes(9)
    assert world.names_there == ["a", "b"]
    world.passes(1)
    assert world.names_there == []


def test_a_touch_gives_the_full_time_again() -> None:
    world = World("a", "b", "c")
    world.expiry.allow("pool", 10_000)
    world.passes(6)
    world.expiry.touch(key("b"))
    world.passes(3)
    world.expiry.touch(key("c"))
    world.passes(3)
    assert world.names_there == ["b", "c"]
    world.passes(4)
    assert world.names_there == ["c"]
    world.passes(10)
    assert world.names_there == []


def test_the_directory_is_listed_once_and_then_only_touched_videos_are_looked_at() -> None:
    world = World("a", "b")
    world.expiry.allow("pool", 10_000)
    world.expiry.touch(key("b"))
    world.passes(60)
    assert (world.names_there, world.listed) == ([], 1)


def test_videos_in_use_live_on() -> None:
    world = World("a")
    world.expiry.allow("pool", 5_000)
    world.in_use.add(key("a"))
    world.passes(30)
    assert world.names_there == ["a"]
    world.in_use.clear()
    world.passes(6)
    assert world.names_there == []


def test_a_stretch_in_which_the_process_stood_still_does_not_count(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody could name a video while the server was stopped, or the machine asleep."""
    world = World("a")
    world.expiry.allow("pool", 10_000)
    world.passes(5)
    world.now += 3600
    with caplog.at_level(logging.WARNING):
        world.expiry.sweep()
    assert "stood still" in caplog.text
    world.passes(4)
    assert world.names_there == ["a"]
    world.passes(2)
    assert world.names_there == []


def test_a_standstill_within_a_sweep_does_not_count() -> None:
    """It falls after the first drop: what the sweep looks at next has lost no time."""
    world = World("a", "b", "c")
    drop = world.expire

    def stopped(which: VideoKey, due: Callable[[], bool]) -> bool:
        dropped = drop(which, due)
        world.now += 3600
        return dropped

    world.expiry = Expiry(world.names, stopped, clock=lambda: world.now)
    world.expiry.allow("pool", 10_000)
    world.expiry.touch(key("a"))
    world.passes(5)
    for name in ("b", "c"):
        world.expiry.touch(key(name))
    world.passes(5)
    assert world.names_there == ["b", "c"]
    world.passes(4)
    assert world.names_there == ["b", "c"]


def test_a_long_sweep_is_no_standstill(caplog: pytest.LogCaptureFixture) -> None:
    world = World(*map(str, range(20)))
    drop = world.expire

    def slow(which: VideoKey, due: Callable[[], bool]) -> bool:
        world.now += 0.5
        return drop(which, due)

    world.expiry = Expiry(world.names, slow, clock=lambda: world.now)
    world.expiry.allow("pool", 5_000)
    world.expiry.touch(key("late"))
    world.there.add(key("late"))
    world.passes(5)
    world.passes(1)
    assert world.names_there == []
    assert "stood still" not in caplog.text


def test_a_new_time_to_live_holds_from_now_on() -> None:
    world = World("a")
    world.passes(500)
    world.expiry.allow("pool", 10_000)
    world.passes(8)
    world.expiry.allow("pool", 20_000)
    world.passes(8)
    assert world.names_there == ["a"]
    world.expiry.allow("pool", 0)
    world.passes(100)
    assert world.names_there == ["a"]


def test_one_that_cannot_be_dropped_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    world = World("a", "b")
    fail = {key("a")}
    drop = world.expire

    def failing(which: VideoKey, due: Callable[[], bool]) -> bool:
        if which in fail:
            raise Unavailable("the disk is read-only")
        return drop(which, due)

    world.expiry = Expiry(world.names, failing, clock=lambda: world.now)
    world.expiry.allow("pool", 5_000)
    world.passes(6)
    assert world.names_there == ["a"]
    assert "read-only" in caplog.text
    fail.clear()
    world.passes(6)
    assert world.names_there == []


class TestThread:
    def test_it_expires_by_itself_and_beats(self) -> None:
        world = World("a")
        world.expiry = Expiry(world.names, world.expire)
        world.expiry.allow("pool", 50)
        world.expiry.start()
        deadline = time.monotonic() + 5
        while world.there and time.monotonic() < deadline:
            time.sleep(0.01)
        worker = world.expiry.worker
        assert (world.names_there, worker.alive, worker.name) == ([], True, "expiry")
        assert time.monotonic() - worker.beat < 2
        world.expiry.close()
        world.expiry.close()
        assert not world.expiry.worker.alive

    def test_no_error_ends_it(self, caplog: pytest.LogCaptureFixture) -> None:
        failed = threading.Event()

        def broken(_: str) -> Iterator[VideoKey]:
            failed.set()
            raise ValueError("a defect")

        expiry = Expiry(broken, lambda *_: True)
        expiry.allow("pool", 1)
        expiry.start()
        assert failed.wait(5)
        time.sleep(0.3)
        assert expiry.worker.alive
        expiry.close()
        assert "sweep failed" in caplog.text
