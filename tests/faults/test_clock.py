"""A wall clock that jumps: nothing expires, order holds, and every deadline is kept by the steady clock."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from injection import Injector
from samples import ALL, KEY, SPEC, assert_frames, block, query, state
from serving import ServerProcess

from memory_service.client import MemoryClient
from memory_service.errors import DeadlineExceeded, NotFound
from memory_service.types import PoolSpec, Query, VideoKey
from memory_service.verify import verify

DAY_S = 86_400.0
JUMPS = {"a-day-ahead": DAY_S, "a-day-back": -DAY_S, "to-1970": -1.7e9, "past-2038": 5e8}
MORTAL = VideoKey("mortal", "video")
TTL_MS = 1500


@pytest.fixture
def server(tmp_path: Path, injector: Injector) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", env=dict(injector.environment)) as running:
        yield running
    assert "Traceback" not in running.log.read_text()
    assert verify(tmp_path / "data").clean


@pytest.mark.parametrize("seconds", JUMPS.values(), ids=JUMPS)
def test_frames_their_order_and_the_log_hold(
    server: ServerProcess, injector: Injector, seconds: float
) -> None:
    with MemoryClient(server.address) as memory:
        memory.create_video(KEY, SPEC)
        for number, shift in enumerate((0.0, seconds, 0.0, seconds, -seconds / 2, 0.0)):
            injector.shift_clock(shift)
            answer = memory.advance(KEY, block(3 * number), Query(2, ALL))
            assert answer.appended.state.length == 3 * number + 3
            assert memory.append(KEY, block(3 * number), sync=True).duplicate
        assert_frames(memory, 0, 18)
        retrievals = memory.retrievals(KEY)
        assert [one.length for one in retrievals] == [3, 6, 9, 12, 15, 18], "the order is that of the calls"
        assert [one.length for one in memory.retrievals(KEY, newest_first=True, limit=2)] == [18, 15]
        times = [one.unix_ms for one in retrievals]
        assert times != sorted(times), "the clock did jump"


@pytest.mark.parametrize("seconds", JUMPS.values(), ids=JUMPS)
def test_commits_go_on_and_the_uptime_is_steady(
    server: ServerProcess, injector: Injector, seconds: float
) -> None:
    with MemoryClient(server.address) as memory:
        memory.create_video(KEY, SPEC)
        before = memory.info().uptime_s
        injector.shift_clock(seconds)
        began = time.monotonic()
        memory.append(KEY, block(0))
        while state(memory).durable < 3:
            assert time.monotonic() - began < 10
            time.sleep(0.01)
        assert 0 <= memory.info().uptime_s - before <= time.monotonic() - began + 1


@pytest.mark.parametrize("seconds", JUMPS.values(), ids=JUMPS)
def test_deadlines_are_kept(server: ServerProcess, injector: Injector, seconds: float) -> None:
    injector.shift_clock(seconds)
    with MemoryClient(server.address, timeout_s=1.0) as memory:
        memory.create_video(KEY, SPEC)
        memory.append(KEY, block(0), sync=True)
        server.send(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            memory.search(KEY, [query(like=1)])
        assert 0.9 < time.monotonic() - began < 3
        server.send(signal.SIGCONT)
        assert memory.search(KEY, [query(like=1)]).state.length == 3


def test_a_time_to_live_is_steady_time(server: ServerProcess, injector: Injector) -> None:
    with MemoryClient(server.address) as memory:
        memory.create_pool(MORTAL.pool, PoolSpec(ttl_ms=TTL_MS))
        memory.create_video(MORTAL, SPEC)
        for seconds in (*JUMPS.values(), 0.0):
            injector.shift_clock(seconds)
            began = time.monotonic()
            while time.monotonic() - began < TTL_MS / 4000:
                assert not memory.heartbeat([MORTAL])
                time.sleep(0.05)
        injector.shift_clock(-DAY_S)
        began = time.monotonic()
        while True:
            listed = [info.key for info in memory.list_videos(MORTAL.pool)]
            if not listed:
                break
            assert time.monotonic() - began < TTL_MS / 1000 + 10
            time.sleep(0.05)
        assert time.monotonic() - began > TTL_MS / 1000 / 2, "not at once, for all that the clock says"
        with pytest.raises(NotFound):
            memory.get_video(MORTAL)
