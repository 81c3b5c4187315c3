"""Watching: what happens in a pool, in order, from the moment at which WATCHING came."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from samples import KEY, SPEC, block, query, state

from memory_service.errors import Fenced, InvalidArgument
from memory_service.memory import Memory
from memory_service.types import Event, EventKind, PoolSpec, VideoKey

OTHER = VideoKey(KEY.pool, "other")


class Watch:
    """The events of a memory, taken by a thread of its own."""

    def __init__(self, memory: Memory, pool: str, video: str = "") -> None:
        self._events: Any = memory.watch(pool, video)
        first = next(self._events)
        assert (first.kind, first.lost) == (EventKind.WATCHING, 0)

    def take(self, count: int) -> list[Event]:
        taken: list[Event] = []
        reader = threading.Thread(target=self._read, args=(count, taken), daemon=True)
        reader.start()
        reader.join(10)
        assert len(taken) == count, taken
        return taken

    def close(self) -> None:
        self._events.close()

    def _read(self, count: int, into: list[Event]) -> None:
        for _ in range(count):
            into.append(next(self._events))


@pytest.fixture
def watch(memory: Memory) -> Iterator[Watch]:
    opened = Watch(memory, KEY.pool)
    yield opened
    opened.close()


def test_a_life_of_a_video(memory: Memory, watch: Watch) -> None:
    memory.create_video(KEY, SPEC)
    memory.append(KEY, block(0))
    memory.append(KEY, block(0))
    memory.search(KEY, [query(like=1, k=2)])
    memory.advance(KEY, block(3), query(k=1))
    memory.search(KEY, [query(like=1)], log=False)
    memory.drop_video(KEY)
    events = watch.take(6)
    assert [event.kind for event in events] == [
        EventKind.CREATED,
        EventKind.APPENDED,
        EventKind.RETRIEVED,
        EventKind.APPENDED,
        EventKind.RETRIEVED,
        EventKind.DROPPED,
    ]
    assert [event.state.length for event in events[:5] if event.state] == [0, 3, 3, 6, 6]
    assert all(event.key == KEY and event.unix_ms > 10**12 for event in events)
    retrieval = events[2].retrieval
    assert retrieval is not None
    assert (retrieval.key, retrieval.k, retrieval.frames[0]) == (KEY, 2, 1)
    assert events[5].state is None


def test_only_what_is_watched(memory: Memory, watch: Watch) -> None:
    one = Watch(memory, KEY.pool, OTHER.video)
    memory.create_video(VideoKey("elsewhere", "x"), SPEC)
    memory.create_video(KEY, SPEC)
    memory.create_video(OTHER, SPEC)
    assert [event.key for event in watch.take(2)] == [KEY, OTHER]
    assert [event.key for event in one.take(1)] == [OTHER]
    one.close()


def test_what_is_there_already_is_no_event(video: Memory) -> None:
    watch = Watch(video, KEY.pool)
    video.create_video(KEY, SPEC)
    video.append(KEY, block(0))
    assert [event.kind for event in watch.take(1)] == [EventKind.APPENDED]
    watch.close()


def test_histories_that_change(memory: Memory, watch: Watch) -> None:
    memory.create_video(KEY, SPEC)
    memory.append(KEY, block(0))
    memory.fork_video(KEY, OTHER)
    old = state(memory).epoch
    memory.truncate_video(KEY, 0, epoch=old)
    with pytest.raises(Fenced):
        memory.append(KEY, block(0), epoch=old)
    memory.seal_video(KEY)
    memory.seal_video(KEY)
    copy = VideoKey(KEY.pool, "copy")
    memory.import_video(copy, memory.export_video(OTHER))
    events = watch.take(7)
    assert [(event.kind, event.key) for event in events[2:]] == [
        (EventKind.FORKED, OTHER),
        (EventKind.TRUNCATED, KEY),
        (EventKind.FENCED, KEY),
        (EventKind.SEALED, KEY),
        (EventKind.IMPORTED, copy),
    ]
    assert events[2].state == state(memory, OTHER)
    assert events[4].state is not None
    assert events[4].state.epoch == state(memory).epoch != old


def test_a_dropped_pool_is_the_end_of_each_video(video: Memory) -> None:
    video.create_video(OTHER, SPEC)
    watch = Watch(video, KEY.pool)
    video.drop_pool(KEY.pool, with_videos=True)
    events = watch.take(2)
    assert {(event.kind, event.key) for event in events} == {
        (EventKind.DROPPED, KEY),
        (EventKind.DROPPED, OTHER),
    }
    watch.close()


def test_expiry_is_told(memory: Memory, watch: Watch) -> None:
    memory.create_pool(KEY.pool, PoolSpec(ttl_ms=300))
    memory.create_video(KEY, SPEC)
    events = watch.take(2)
    assert [event.kind for event in events] == [EventKind.CREATED, EventKind.EXPIRED]
    assert len(memory.list_videos(KEY.pool)) == 0
    assert memory.get_pool(KEY.pool).usage.num_videos == 0


def test_names_are_checked(memory: Memory) -> None:
    for pool, video, field in (("../x", "", "pool"), ("pool", "a/b", "video")):
        with pytest.raises(InvalidArgument) as error:
            next(iter(memory.watch(pool, video)))
        assert error.value.field == field
