"""Pools in an engine: restarts and crashes, damaged specs, fair shares, expiry, reading beside a writer."""

import logging
import os
import re
import resource
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from samples import KEY, SPEC, assert_frames, block, query, state

from memory_service.engine import MemoryEngine
from memory_service.errors import DataLoss, Exhausted, InvalidArgument, NotFound, Unavailable
from memory_service.store import files as files_module
from memory_service.types import EventKind, PoolSpec, VideoKey

OTHER = VideoKey("other", "video")
ROOMY = PoolSpec(max_bytes=1 << 30, max_videos=100)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@contextmanager
def opened(data_dir: Path, **options: Any) -> Iterator[MemoryEngine]:
    engine = MemoryEngine(data_dir, **{"commit_interval_s": 3600, "extent_bytes": 1 << 14, **options})
    try:
        yield engine
    finally:
        with suppress(Unavailable):
            engine.close()


def crashed(data_dir: Path) -> Path:
    """The directory as a kill -9 of its engine would leave it now."""
    left = data_dir.with_name(f"crashed-{time.monotonic_ns()}")
    shutil.copytree(data_dir, left)
    return left


def used(engine: MemoryEngine, pool: str = KEY.pool) -> int:
    return engine.get_pool(pool).usage.num_bytes


class TestRestart:
    def test_specs_and_usage_survive(self, data_dir: Path) -> None:
        with opened(data_dir) as engine:
            engine.create_pool(KEY.pool, ROOMY)
            engine.create_video(KEY, SPEC)
            engine.append(KEY, block(0), sync=True)
            before = engine.get_pool(KEY.pool)
        with opened(data_dir) as engine:
            after = engine.get_pool(KEY.pool)
            assert (after.spec, after.usage.num_videos) == (ROOMY, 1)
            assert (after.usage.num_bytes, after.usage.hot_videos) == (before.usage.num_bytes, 0)
            assert engine.info().hot_videos == 0

    def test_after_a_crash_space_allocated_ahead_is_not_counted_and_given_back(self, data_dir: Path) -> None:
        with opened(data_dir) as engine:
            engine.create_video(KEY, SPEC)
            engine.append(KEY, block(0))
            expected = used(engine)
            left = crashed(data_dir)
        reel = left / KEY.pool / f"{KEY.video}.reel"
        assert reel.stat().st_size == 1 << 14
        with opened(left) as engine:
            assert used(engine) == reel.stat().st_size == expected
            assert engine.info().hot_videos == 0
            assert_frames(engine, 0, 3)

    def test_a_list_after_a_crash_opens_nothing_and_shows_durable_frames(self, data_dir: Path) -> None:
        keys = [VideoKey("many", str(number)) for number in range(5)]
        with opened(data_dir) as engine:
            for key in keys:
                engine.create_video(key, SPEC)
                engine.append(key, block(0))
            left = crashed(data_dir)
        with opened(left) as engine:
            page = engine.list_videos("many", limit=3)
            assert [(info.state.length, info.state.durable) for info in page] == [(3, 3)] * 3
            assert engine.info().hot_videos == 0
            assert used(engine, "many") == sum(path.stat().st_size for path in left.glob("many/*.reel"))

    def test_a_pool_of_an_older_version_has_the_default_spec(self, data_dir: Path) -> None:
        with opened(data_dir) as engine:
            engine.create_video(KEY, SPEC)
        (data_dir / KEY.pool / ".pool").unlink()
        with opened(data_dir, default_pool=PoolSpec(max_videos=1)) as engine:
            assert engine.get_pool(KEY.pool).spec == PoolSpec(max_videos=1)
            with pytest.raises(Exhausted):
                engine.create_video(VideoKey(KEY.pool, "second"), SPEC)

    @pytest.mark.parametrize("damage", [b"", b"{}", b'{"version": 1, "spec": {"max_bytes": 9}, "crc32c": 5}'])
    def test_a_damaged_spec_stops_growth_of_its_pool_alone(self, data_dir: Path, damage: bytes) -> None:
        with opened(data_dir) as engine:
            for key in (KEY, OTHER):
                engine.create_video(key, SPEC)
                engine.append(key, block(0))
        (data_dir / KEY.pool / ".pool").write_bytes(damage)
        with opened(data_dir) as engine:
            assert_frames(engine, 0, 3)
            with pytest.raises(DataLoss):
                engine.append(KEY, block(3))
            with pytest.raises(DataLoss):
                engine.get_pool(KEY.pool)
            assert [info.pool for info in engine.list_pools()] == [OTHER.pool]
            engine.append(OTHER, block(3))
            assert engine.update_pool(KEY.pool, ROOMY).usage.num_videos == 1
            engine.append(KEY, block(3))
        with opened(data_dir) as engine:
            assert engine.get_pool(KEY.pool).spec == ROOMY


class TestQuota:
    def test_limits_of_the_whole_memory(self, data_dir: Path) -> None:
        with opened(data_dir, max_videos=2, max_bytes=100_000) as engine:
            engine.create_video(KEY, SPEC)
            engine.create_video(OTHER, SPEC)
            with pytest.raises(Exhausted) as error:
                engine.create_video(VideoKey("third", "x"), SPEC)
            assert error.value.details == {"used": "2", "allowed": "2", "unit": "videos"}
            with pytest.raises(Exhausted) as error:
                engine.append(KEY, block(0, preview=[bytes(40_000)] * 3))
            assert error.value.details["unit"] == "bytes"
            info = engine.info()
            assert (info.max_bytes, info.max_videos, info.num_videos) == (100_000, 2, 2)

    def test_the_default_spec_holds_for_pools_that_come_with_a_video(self, data_dir: Path) -> None:
        with opened(data_dir, default_pool=PoolSpec(max_videos=1)) as engine:
            engine.create_video(KEY, SPEC)
            assert engine.get_pool(KEY.pool).spec == PoolSpec(max_videos=1)
            with pytest.raises(Exhausted):
                engine.create_video(VideoKey(KEY.pool, "second"), SPEC)

    def test_limits_are_checked(self, data_dir: Path) -> None:
        for options in ({"max_bytes": -1}, {"max_videos": -1}, {"default_pool": PoolSpec(ttl_ms=-1)}):
            with pytest.raises(InvalidArgument) as error:
                MemoryEngine(data_dir, **options)
            assert error.value.field in ("max_bytes", "max_videos", "default_pool.ttl_ms")
        with opened(data_dir) as engine:
            for limit in (0, -1):
                with pytest.raises(InvalidArgument) as error:
                    engine.list_videos("pool", limit=limit)
                assert error.value.field == "limit"

    def test_an_append_that_the_disk_refuses_is_not_counted(self, data_dir: Path) -> None:
        """A limit on the size of files stands in for a full disk."""
        with opened(data_dir) as engine:
            engine.create_video(KEY, SPEC)
            engine.append(KEY, block(0), sync=True)
            before = used(engine)
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 15, hard))
            try:
                with pytest.raises(Exhausted):
                    engine.append(KEY, block(3, preview=[bytes(1 << 15)] * 3))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            assert used(engine) == before
            engine.append(KEY, block(3))
            left = crashed(data_dir)
            expected = used(engine)
        with opened(left) as engine:
            assert used(engine) == expected

    def test_a_pool_that_is_being_dropped_takes_nothing_new(self, data_dir: Path) -> None:
        """Creations and drops of one pool together: it is gone with all of it, or there with all of it."""
        with opened(data_dir) as engine:
            stop = threading.Event()
            made: list[str] = []

            def create() -> None:
                number = 0
                while not stop.is_set():
                    number += 1
                    with suppress(Unavailable):
                        engine.create_video(VideoKey("busy", f"{threading.get_ident()}-{number}"), SPEC)
                        made.append("one")

            threads = [threading.Thread(target=create) for _ in range(3)]
            for thread in threads:
                thread.start()
            for _ in range(15):
                with suppress(NotFound):
                    engine.drop_pool("busy", with_videos=True)
                time.sleep(0.005)
            stop.set()
            for thread in threads:
                thread.join()
            assert len(made) > 15
            engine.create_video(VideoKey("busy", "last"), SPEC)
            usage = engine.get_pool("busy").usage
            assert usage.num_videos == len(engine.list_videos("busy"))
            engine.drop_pool("busy", with_videos=True)
            assert not (data_dir / "busy").exists()
            assert engine.info().num_videos == engine.info().num_bytes == 0

    def test_what_is_not_the_memorys_is_not_removed(self, data_dir: Path) -> None:
        with opened(data_dir) as engine:
            engine.create_pool(KEY.pool, ROOMY)
            for name in ("note.txt", "note.base1", "note.not-hex.base1"):
                note = data_dir / KEY.pool / name
                note.write_text("mine")
                with pytest.raises(Unavailable, match=re.escape(name)):
                    engine.drop_pool(KEY.pool, with_videos=True)
                assert engine.get_pool(KEY.pool).spec == ROOMY
                note.unlink()
            engine.drop_pool(KEY.pool)
            assert not (data_dir / KEY.pool).exists()


class TestShares:
    def test_what_one_pool_opens_does_not_close_what_another_uses_within_its_share(
        self, data_dir: Path
    ) -> None:
        with opened(data_dir, max_hot_videos=4) as engine:
            modest = [VideoKey("modest", str(number)) for number in range(2)]
            for key in modest:
                engine.create_video(key, SPEC)
            for number in range(20):
                engine.create_video(VideoKey("greedy", str(number)), SPEC)
                assert engine.get_pool("modest").usage.hot_videos == 2
            assert engine.get_pool("greedy").usage.hot_videos == 2

    def test_the_budget_of_index_bytes_is_kept(self, data_dir: Path) -> None:
        with opened(data_dir, max_index_bytes=40_000) as engine:
            keys = [VideoKey("many", str(number)) for number in range(30)]
            for key in keys:
                engine.create_video(key, SPEC)
                engine.append(key, block(0))
                info = engine.info()
                assert info.index_bytes <= info.max_index_bytes == 40_000
            assert 1 < engine.info().hot_videos < 30
            for key in keys:
                assert engine.search(key, [query(like=1)]).hits[0][0].handle.frame == 1

    def test_growth_alone_makes_room(self, data_dir: Path) -> None:
        """Two open videos that outgrow the budget by appends: the one that is not in use is closed."""
        with opened(data_dir, max_index_bytes=100_000) as engine:
            for key in (KEY, OTHER):
                engine.create_video(key, SPEC)
            for start in range(0, 300, 3):
                engine.append(KEY, block(start))
            assert engine.get_pool(OTHER.pool).usage.hot_videos == 1
            assert engine.get_pool(KEY.pool).usage.hot_videos == 1
            for start in range(0, 300, 3):
                engine.append(OTHER, block(start))
            assert engine.info().hot_videos == 1
            assert (state(engine).length, state(engine, OTHER).length) == (300, 300)

    def test_a_slow_opening_holds_up_nobody_else(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with opened(data_dir) as engine:
            for key in (KEY, OTHER):
                engine.create_video(key, SPEC)
                engine.append(key, block(0))
        open_reel = files_module.open_reel
        reached, go_on = threading.Event(), threading.Event()

        def slow(path: Path, **options: Any) -> Any:
            if path.parent.name == KEY.pool:
                reached.set()
                assert go_on.wait(20)
            return open_reel(path, **options)

        monkeypatch.setattr(files_module, "open_reel", slow)
        with opened(data_dir, max_hot_videos=1) as engine:
            opening = threading.Thread(target=lambda: engine.get_video(KEY))
            opening.start()
            assert reached.wait(20)
            started = time.monotonic()
            engine.append(OTHER, block(3))
            engine.create_video(VideoKey("third", "x"), SPEC)
            assert len(engine.list_videos(OTHER.pool)) == 1
            assert len(engine.list_pools()) == 3
            assert list(engine.heartbeat([OTHER])) == []
            assert time.monotonic() - started < 10
            assert opening.is_alive()
            go_on.set()
            opening.join()
            assert_frames(engine, 0, 3)

    def test_a_video_that_closes_badly_is_cold_and_whole(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        with opened(data_dir, max_hot_videos=1) as engine:
            engine.create_video(KEY, SPEC)
            engine.append(KEY, block(0))

            def failing(*_: Any) -> None:
                raise OSError(5, "Input/output error")

            with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
                patched.setattr(os, "ftruncate", failing)
                engine.create_video(OTHER, SPEC)
            assert "closed badly" in caplog.text
            assert engine.get_pool(KEY.pool).usage.hot_videos == 0
            assert_frames(engine, 0, 3)
            engine.append(KEY, block(3))
            expected = used(engine)
            left = crashed(data_dir)
        with opened(left) as engine:
            assert used(engine) == expected


class TestExpiry:
    def pass_time(self, engine: MemoryEngine, now: list[float], seconds: int) -> None:
        for _ in range(seconds):
            now[0] += 1.0
            engine._expiry.sweep()

    def test_idle_videos_go_and_say_so(self, data_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
        now = [1000.0]
        with opened(data_dir, clock=lambda: now[0]) as engine:
            engine.create_pool(KEY.pool, PoolSpec(ttl_ms=30_000))
            kept, idle, beaten = (VideoKey(KEY.pool, name) for name in ("kept", "idle", "beaten"))
            for key in (kept, idle, beaten, OTHER):
                engine.create_video(key, SPEC)
            watcher = engine.watch(KEY.pool)
            self.pass_time(engine, now, 20)
            engine.get_video(kept)
            assert list(engine.heartbeat([beaten])) == []
            with caplog.at_level(logging.WARNING):
                self.pass_time(engine, now, 20)
            assert [info.key for info in engine.list_videos(KEY.pool)] == [beaten, kept]
            assert next(watcher).kind == EventKind.WATCHING
            event = next(watcher)
            assert (event.kind, event.key) == (EventKind.EXPIRED, idle)
            assert "video expired pool=pool video=idle" in caplog.text
            with pytest.raises(NotFound):
                engine.get_video(idle)
            assert engine.get_video(OTHER).key == OTHER
            self.pass_time(engine, now, 31)
            assert engine.get_pool(KEY.pool).usage.num_videos == 0
            assert used(engine) == 0

    def test_a_video_with_callers_inside_lives(self, data_dir: Path) -> None:
        now = [1000.0]
        with opened(data_dir, clock=lambda: now[0]) as engine:
            engine.create_pool(KEY.pool, PoolSpec(ttl_ms=10_000))
            engine.create_video(KEY, SPEC)
            with engine._videos.use(KEY):
                self.pass_time(engine, now, 40)
            self.pass_time(engine, now, 8)
            assert state(engine).length == 0
            self.pass_time(engine, now, 12)
            assert len(engine.list_videos(KEY.pool)) == 0

    def test_a_restart_gives_full_time_again(self, data_dir: Path) -> None:
        now = [1000.0]
        with opened(data_dir, clock=lambda: now[0]) as engine:
            engine.create_pool(KEY.pool, PoolSpec(ttl_ms=30_000))
            engine.create_video(KEY, SPEC)
            self.pass_time(engine, now, 25)
        now[0] += 100_000
        with opened(data_dir, clock=lambda: now[0]) as engine:
            self.pass_time(engine, now, 25)
            assert engine.info().hot_videos == 0
            assert len(engine.list_videos(KEY.pool)) == 1
            self.pass_time(engine, now, 10)
            assert len(engine.list_videos(KEY.pool)) == 0

    def test_appends_and_expiry_together_lose_nothing_that_lives(self, data_dir: Path) -> None:
        """In real time: a writer slower than the sweep, faster than the time to live, is never robbed."""
        with opened(data_dir) as engine:
            engine.create_pool(KEY.pool, PoolSpec(ttl_ms=600))
            engine.create_video(KEY, SPEC)
            idle = VideoKey(KEY.pool, "idle")
            engine.create_video(idle, SPEC)
            for start in range(0, 30, 3):
                engine.append(KEY, block(start))
                time.sleep(0.15)
            assert state(engine).length == 30
            with pytest.raises(NotFound):
                engine.get_video(idle)

    def test_the_threads_in_the_background_can_be_asked(self, data_dir: Path) -> None:
        with opened(data_dir) as engine:
            workers = engine.workers()
            names = {worker.name for worker in workers}
            assert "expiry" in names
            assert any(name.startswith("group-commit") for name in names)
            time.sleep(1.2)
            now = time.monotonic()
            for worker in engine.workers():
                assert worker.alive
                assert now - worker.beat <= worker.period_s + 1
        assert not any(worker.alive for worker in engine.workers())


class TestReadOnly:
    def test_it_sees_what_a_writer_did_meanwhile(self, data_dir: Path) -> None:
        with opened(data_dir) as writer:
            writer.create_pool(KEY.pool, ROOMY)
            writer.create_video(KEY, SPEC)
            writer.append(KEY, block(0))
            reader = MemoryEngine.open_read_only(data_dir)
            assert state(reader).length == 3
            writer.append(KEY, block(3))
            assert state(reader).length == 6
            assert_frames(reader, 0, 6)
            assert [info.state.length for info in reader.list_videos(KEY.pool)] == [6]
            writer.truncate_video(KEY, 2)
            assert state(reader) == state(writer)
            writer.create_video(VideoKey(KEY.pool, "second"), SPEC)
            seen = reader.get_pool(KEY.pool)
            assert (seen.spec, seen.usage.num_videos) == (ROOMY, 2)
            assert reader.info().num_videos == 2
            assert reader.info().num_bytes == sum(path.stat().st_size for path in data_dir.glob("*/*.reel"))
            writer.drop_video(KEY)
            with pytest.raises(NotFound):
                reader.get_video(KEY)
            writer.create_video(KEY, SPEC)
            assert state(reader) == state(writer)
            assert reader.workers() == ()
            reader.close()


def test_watchers_end_with_the_memory(data_dir: Path) -> None:
    engine = MemoryEngine(data_dir)
    watcher = engine.watch("pool")
    engine.close()
    assert list(watcher) == []
    with pytest.raises(Unavailable):
        engine.watch("pool")
