"""The hub: order, loss that is told, ends from any thread, and writers that never wait."""

import threading
import time

import pytest

from memory_service.errors import Overloaded
from memory_service.events import Events, Watcher
from memory_service.types import Event, EventKind, VideoKey, VideoState

KEY = VideoKey("pool", "video")


def state(length: int) -> VideoState:
    return VideoState(1, length, 0)


def taken(watcher: Watcher, count: int) -> list[Event]:
    return [next(watcher) for _ in range(count)]


def test_watching_comes_first_and_then_what_happens() -> None:
    hub = Events()
    hub.publish(EventKind.CREATED, KEY)
    watcher = hub.watch("pool")
    hub.publish(EventKind.APPENDED, KEY, state(3))
    hub.publish(EventKind.APPENDED, VideoKey("other", "video"), state(3))
    hub.publish(EventKind.DROPPED, KEY)
    kinds = [(event.kind, event.state) for event in taken(watcher, 3)]
    assert kinds == [
        (EventKind.WATCHING, None),
        (EventKind.APPENDED, state(3)),
        (EventKind.DROPPED, None),
    ]


def test_one_video_can_be_watched_alone() -> None:
    hub = Events()
    watcher = hub.watch("pool", "video")
    hub.publish(EventKind.CREATED, VideoKey("pool", "another"))
    hub.publish(EventKind.CREATED, KEY)
    assert [event.key for event in taken(watcher, 2)] == [KEY, KEY]


def test_a_slow_reader_is_told_how_much_it_lost_and_where() -> None:
    hub = Events(max_queued=4)
    watcher = hub.watch("pool")
    for length in range(10):
        hub.publish(EventKind.APPENDED, KEY, state(length))
    first = taken(watcher, 4)
    assert [event.state.length for event in first[1:] if event.state] == [0, 1, 2]
    hub.publish(EventKind.APPENDED, KEY, state(10))
    lost, after = taken(watcher, 2)
    assert (lost.kind, lost.lost) == (EventKind.LOST, 7)
    assert after.state == state(10)


def test_a_loss_at_the_end_is_told_as_well() -> None:
    hub = Events(max_queued=1)
    watcher = hub.watch("pool")
    hub.publish(EventKind.CREATED, KEY)
    assert [event.kind for event in taken(watcher, 2)] == [EventKind.WATCHING, EventKind.LOST]


def test_close_ends_a_reader_that_waits() -> None:
    hub = Events()
    watcher = hub.watch("pool")
    seen: list[Event] = []
    reader = threading.Thread(target=lambda: seen.extend(watcher))
    reader.start()
    hub.publish(EventKind.CREATED, KEY)
    while len(seen) < 2:
        time.sleep(0.001)
    watcher.close()
    reader.join(5)
    assert not reader.is_alive()
    assert [event.kind for event in seen] == [EventKind.WATCHING, EventKind.CREATED]


def test_the_end_of_the_hub_is_the_end_of_all() -> None:
    hub = Events()
    watchers = [hub.watch("pool") for _ in range(3)]
    hub.close()
    assert [list(watcher) for watcher in watchers] == [[], [], []]


def test_watchers_are_bounded_and_make_room() -> None:
    hub = Events(max_watchers=2)
    first = hub.watch("pool")
    hub.watch("pool")
    with pytest.raises(Overloaded) as error:
        hub.watch("pool")
    assert error.value.retry_after_ms > 0
    first.close()
    first.close()
    hub.watch("pool")


def test_listeners_hear_everything_and_their_errors_harm_nobody(caplog: pytest.LogCaptureFixture) -> None:
    hub = Events()
    heard: list[Event] = []

    def broken(_: Event) -> None:
        raise ValueError("a defect")

    hub.listen(broken)
    hub.listen(heard.append)
    watcher = hub.watch("pool")
    hub.publish(EventKind.CREATED, KEY)
    hub.publish(EventKind.CREATED, VideoKey("other", "x"))
    assert [event.key for event in heard] == [KEY, VideoKey("other", "x")]
    assert len(taken(watcher, 2)) == 2
    assert caplog.text.count("listener failed") == 2


def test_publishing_does_not_wait_for_readers() -> None:
    """Sixteen watchers that nobody reads: a writer's event costs microseconds, not a wait."""
    hub = Events(max_queued=8)
    watchers = [hub.watch("pool") for _ in range(16)]
    started = time.perf_counter()
    for length in range(1000):
        hub.publish(EventKind.APPENDED, KEY, state(length))
    assert time.perf_counter() - started < 5
    for watcher in watchers:
        assert sum(event.lost or 1 for event in taken(watcher, 9)) == 1001
