"""Pools of a server as its options say: quotas over the wire, and time that really passes."""

import time
from pathlib import Path

import pytest
from samples import SPEC, block
from serving import ServerProcess

from memory_service.client import MemoryClient
from memory_service.errors import Exhausted, NotFound
from memory_service.types import EventKind, PoolSpec, VideoKey


def test_options_hold_for_pools_that_nobody_created_by_name(tmp_path: Path) -> None:
    options = ("--pool-max-videos", "2", "--pool-ttl", "1", "--max-videos", "4", "--max-bytes", "1000000")
    with (
        ServerProcess(tmp_path / "data", "127.0.0.1:0", *options) as server,
        MemoryClient(server.address) as memory,
    ):
        idle, beaten = VideoKey("films", "idle"), VideoKey("films", "beaten")
        for key in (idle, beaten):
            memory.create_video(key, SPEC)
        assert memory.get_pool("films").spec == PoolSpec(max_videos=2, ttl_ms=1000)
        watch = memory.watch("films")
        assert next(watch).kind == EventKind.WATCHING
        with pytest.raises(Exhausted) as error:
            memory.create_video(VideoKey("films", "third"), SPEC)
        assert dict(error.value.details) == {"used": "2", "allowed": "2", "unit": "videos", "pool": "films"}
        memory.create_pool("kept", PoolSpec())
        for name in "ab":
            memory.create_video(VideoKey("kept", name), SPEC)
        with pytest.raises(Exhausted) as error:
            memory.create_video(VideoKey("kept", "c"), SPEC)
        assert dict(error.value.details) == {"used": "4", "allowed": "4", "unit": "videos"}
        with pytest.raises(Exhausted) as error:
            memory.append(VideoKey("kept", "a"), block(0, preview=[bytes(400_000)] * 3))
        assert error.value.details["unit"] == "bytes"
        started = time.monotonic()
        while time.monotonic() - started < 1.8:
            assert list(memory.heartbeat([beaten])) == []
            time.sleep(0.1)
        expired = next(watch)
        assert (expired.kind, expired.key) == (EventKind.EXPIRED, idle)
        watch.close()
        with pytest.raises(NotFound):
            memory.get_video(idle)
        assert memory.get_video(beaten).key == beaten
        assert memory.info().num_videos == 3
    assert "video expired pool=films video=idle" in server.log.read_text()
