"""What only the engine can show: cold and hot videos, restarts, damage, failing disks, reading alone."""

import dataclasses
import errno
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from samples import KEY, SPEC, assert_frames, block, handle, latents, query, state

from memory_service import engine as engine_module
from memory_service.engine import MemoryEngine
from memory_service.errors import (
    AlreadyExists,
    Busy,
    DataLoss,
    Exhausted,
    InvalidArgument,
    NotFound,
    TooLarge,
    Unavailable,
)
from memory_service.index.base import Candidates, Probe
from memory_service.index.flat import FlatIndex
from memory_service.limits import Limits
from memory_service.types import Span, VideoKey

OTHER = VideoKey("pool", "other")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def engine(data_dir: Path) -> Iterator[MemoryEngine]:
    """An engine with one video of six frames that never commits by itself."""
    opened = MemoryEngine(data_dir, commit_interval_s=3600, extent_bytes=1 << 14)
    opened.create_video(KEY, SPEC)
    for start in (0, 3):
        opened.append(KEY, block(start))
    yield opened
    try:
        opened.close()
    except Unavailable:
        logging.getLogger(__name__).info("a test has poisoned a reel")


def reel_of(data_dir: Path, key: VideoKey = KEY) -> Path:
    return data_dir / key.pool / f"{key.video}.reel"


def open_files(data_dir: Path) -> int:
    """Descriptors of this process below a directory; maps hold one each."""
    links = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return sum(str(data_dir) in os.readlink(link) for link in links if link.is_symlink())


def crashed(data_dir: Path) -> Path:
    """The directory as a kill -9 of its engine would leave it now."""
    left = data_dir.with_name("crashed")
    shutil.copytree(data_dir, left)
    return left


class TestCold:
    def test_videos_are_opened_by_their_first_use(self, engine: MemoryEngine, data_dir: Path) -> None:
        engine.close()
        assert open_files(data_dir) == 0
        again = MemoryEngine(data_dir)
        assert [info.state.length for info in again.list_videos(KEY.pool)] == [6]
        assert again.info().hot_videos == 0
        assert open_files(data_dir) == 1
        assert again.search(KEY, [query(like=0)]).state.length == 6
        assert again.info().hot_videos == 1
        again.close()
        assert open_files(data_dir) == 0

    def test_asking_for_what_is_not_there_leaves_nothing(self, engine: MemoryEngine, data_dir: Path) -> None:
        for _ in range(3):
            with pytest.raises(NotFound):
                engine.get_video(OTHER)
        assert engine.info().hot_videos == 1
        assert not reel_of(data_dir, OTHER).exists()

    def test_a_cold_video_can_be_dropped(self, engine: MemoryEngine, data_dir: Path) -> None:
        engine.close()
        again = MemoryEngine(data_dir)
        again.drop_video(KEY)
        assert not reel_of(data_dir).exists()
        with pytest.raises(NotFound):
            again.get_video(KEY)
        again.close()

    def test_idle_videos_are_closed_for_others(self, data_dir: Path) -> None:
        """Twenty videos through three open ones, used in turns: nothing is lost, no descriptor either."""
        memory = MemoryEngine(data_dir, max_hot_videos=3, commit_interval_s=3600)
        keys = [VideoKey("many", f"{number:02}") for number in range(20)]
        epochs = [memory.create_video(key, SPEC).state.epoch for key in keys]
        for start in (0, 3):
            for key, epoch in zip(keys, epochs, strict=True):
                memory.append(key, block(start), epoch=epoch)
                assert memory.info().hot_videos <= 3
        (held,) = memory.fetch([handle(memory, 2, keys[0])])
        for key in keys:
            assert_frames(memory, 0, 6, key)
        assert bytes(held.parts["latent"]) == latents(2, 1)[0]
        assert [info.state.length for info in memory.list_videos("many")] == [6] * 20
        memory.close()
        assert open_files(data_dir) == 1
        del held
        assert open_files(data_dir) == 0

    def test_videos_in_use_stay_open(self, data_dir: Path) -> None:
        memory = MemoryEngine(data_dir, max_hot_videos=1)
        keys = [VideoKey("many", str(number)) for number in range(4)]
        for key in keys:
            memory.create_video(key, SPEC)
        unexpected: list[Exception] = []

        def live(key: VideoKey) -> None:
            try:
                for start in range(0, 45, 3):
                    memory.advance(key, block(start), query())
                    memory.list_videos("many")
                assert_frames(memory, 0, 45, key)
            except Exception as exc:
                unexpected.append(exc)

        threads = [threading.Thread(target=live, args=(key,)) for key in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert unexpected == []
        assert memory.info().hot_videos <= len(keys)
        memory.close()

    def test_a_failed_video_is_not_forgotten(
        self, engine: MemoryEngine, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine.close()
        memory = MemoryEngine(data_dir, max_hot_videos=1, commit_interval_s=3600)
        memory.append(KEY, block(6))

        def broken(_: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "fdatasync", broken)
        with pytest.raises(Unavailable):
            memory.create_video(OTHER, SPEC)
        with pytest.raises(Unavailable):
            memory.append(KEY, block(9), sync=True)
        monkeypatch.undo()
        for number in range(3):
            memory.create_video(VideoKey("many", str(number)), SPEC)
        with pytest.raises(Unavailable, match="fdatasync"):
            memory.append(KEY, block(12))
        with pytest.raises(Unavailable):
            memory.close()

    def test_nothing_heavy_is_imported(self) -> None:
        code = "import sys, memory_service.engine; print(*{'torch', 'grpc', 'faiss'} & {*sys.modules})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == ""


class TestRestart:
    def test_everything_is_there_after_closing(self, engine: MemoryEngine, data_dir: Path) -> None:
        found = engine.search(KEY, [query(6, like=40)])
        epoch = state(engine).epoch
        engine.close()
        again = MemoryEngine(data_dir, index="faiss-flat")
        assert (state(again).epoch, state(again).length, state(again).durable) == (epoch, 6, 6)
        assert_frames(again, 0, 6)
        assert again.append(KEY, block(3)).duplicate
        assert [entry.frames for entry in again.retrievals(KEY)] == [
            tuple(hit.handle.frame for hit in found.hits[0])
        ]
        assert again.search(KEY, [query(6, like=40)]).hits == found.hits
        assert again.append(KEY, block(6), epoch=epoch).state.length == 9
        assert again.recoveries == ()
        again.close()

    def test_everything_acknowledged_is_there_after_a_crash(
        self, engine: MemoryEngine, data_dir: Path
    ) -> None:
        engine.search(KEY, [query(like=40)])
        assert state(engine).durable == 0
        again = MemoryEngine(crashed(data_dir))
        assert (state(again).length, state(again).durable) == (6, 6)
        assert_frames(again, 0, 6)
        assert len(again.retrievals(KEY)) == 1
        assert again.recoveries == ()
        again.close()

    @pytest.mark.usefixtures("engine")
    def test_a_list_after_a_crash_makes_durable_what_it_shows(self, data_dir: Path) -> None:
        left = crashed(data_dir)
        reader = MemoryEngine.open_read_only(left)
        (info,) = reader.list_videos(KEY.pool)
        assert (info.state.length, info.state.durable, reader.info().hot_videos) == (6, 0, 0)
        reader.close()
        again = MemoryEngine(left)
        for _ in range(2):
            (info,) = again.list_videos(KEY.pool)
            assert (info.state.length, info.state.durable) == (6, 6)
        again.close()

    @pytest.mark.usefixtures("engine")
    def test_a_list_shows_what_cannot_be_made_durable(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        again = MemoryEngine(crashed(data_dir))

        def broken(_: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "fdatasync", broken)
        (info,) = again.list_videos(KEY.pool)
        assert (info.state.length, info.state.durable) == (6, 0)
        monkeypatch.undo()
        again.close()

    @pytest.mark.usefixtures("engine")
    def test_a_torn_tail_is_cut_and_writing_goes_on(
        self, data_dir: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        left = crashed(data_dir)
        data = bytearray(reel_of(left).read_bytes())
        last = bytes(data).rindex(latents(5, 1)[0])
        data[last] ^= 1
        reel_of(left).write_bytes(data)
        again = MemoryEngine(left)
        assert [info.state.length for info in again.list_videos(KEY.pool)] == [3]
        with caplog.at_level(logging.WARNING):
            assert state(again).length == 3
        assert "torn tail" in caplog.text
        (recovery,) = again.recoveries
        assert (recovery.path, recovery.frames_kept) == (reel_of(left), 3)
        assert recovery.bytes_cut > 0
        reader = MemoryEngine.open_read_only(left)
        assert state(reader).length == 3
        assert reader.recoveries == ()
        reader.close()
        assert not again.append(KEY, block(3)).duplicate
        again.close()
        once_more = MemoryEngine(left)
        assert_frames(once_more, 0, 6)
        assert once_more.recoveries == ()
        once_more.close()

    def test_two_engines_do_not_share_a_directory(self, engine: MemoryEngine, data_dir: Path) -> None:
        with pytest.raises(Busy):
            MemoryEngine(data_dir)
        engine.close()
        MemoryEngine(data_dir).close()


class TestDamage:
    def test_a_damaged_video_is_refused_and_the_others_are_served(
        self, engine: MemoryEngine, data_dir: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        engine.create_video(OTHER, SPEC)
        engine.append(OTHER, block(0))
        engine.close()
        data = bytearray(reel_of(data_dir).read_bytes())
        data[data.index(latents(1, 1)[0])] ^= 1
        reel_of(data_dir).write_bytes(data)
        again = MemoryEngine(data_dir)
        for verb in (again.get_video, again.retrievals, lambda key: again.append(key, block(6))):
            with pytest.raises(DataLoss, match=r"video\.reel"):
                verb(KEY)
        assert_frames(again, 0, 3, OTHER)
        data[:64] = bytes(64)
        reel_of(data_dir).write_bytes(data)
        assert [info.key for info in again.list_videos(KEY.pool)] == [OTHER]
        assert "left out" in caplog.text
        again.drop_video(KEY)
        assert again.create_video(KEY, SPEC).state.length == 0
        again.close()

    def test_rot_after_opening_is_seen_by_fetch(self, engine: MemoryEngine, data_dir: Path) -> None:
        reel = reel_of(data_dir)
        with reel.open("r+b") as file:
            file.seek(reel.read_bytes().index(latents(4, 1)[0]) + 7)
            file.write(b"\xff\x00\xff")
        assert_frames(engine, 0, 4)
        with pytest.raises(DataLoss, match="frame 4") as error:
            engine.fetch([handle(engine, 3), handle(engine, 4)])
        assert error.value.field == "handles[1]"
        assert "CRC-32C" in error.value.expected
        with pytest.raises(DataLoss, match="frame 4"):
            engine.advance(KEY, block(6), query(9, Span(4, 5)))

    def test_rot_is_no_other_content(self, engine: MemoryEngine, data_dir: Path) -> None:
        """Of a block whose kept bytes rot, neither the block is refused as another nor the rot accepted."""
        reel, kept = reel_of(data_dir), latents(4, 1)[0]
        rotten = b"\xff\x00\xff" + kept[3:]
        with reel.open("r+b") as file:
            file.seek(reel.read_bytes().index(kept))
            file.write(rotten)
        for verb in (lambda: engine.append(KEY, block(3)), lambda: engine.advance(KEY, block(3), query())):
            with pytest.raises(DataLoss, match="frame 4"):
                verb()
        as_rotten = dataclasses.replace(
            block(3), parts={"latent": [latents(3, 1)[0], rotten, latents(5, 1)[0]]}
        )
        with pytest.raises(AlreadyExists):
            engine.append(KEY, as_rotten)
        assert engine.append(KEY, block(0)).duplicate


class TestFailingDisk:
    def test_a_full_disk_refuses_appends_and_loses_nothing(
        self, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        expected = engine.search(KEY, [query(9, like=40)]).hits

        def full(*_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "pwritev", full)
        for _ in range(2):
            with pytest.raises(Exhausted, match="No space"):
                engine.append(KEY, block(6))
            with pytest.raises(Exhausted, match="No space"):
                engine.advance(KEY, block(6), query())
        assert state(engine).length == 6
        assert engine.search(KEY, [query(9, like=40)]).hits == expected
        assert "not logged" in caplog.text
        assert_frames(engine, 0, 6)
        monkeypatch.undo()
        other = dataclasses.replace(block(100), start=6)
        assert not engine.append(KEY, other).duplicate
        engine.append(KEY, block(9, 60))
        for like, frame in ((101, 7), (40, 40), (68, 68)):
            (hits,) = engine.search(KEY, [query(1, like=like)], log=False).hits
            assert (hits[0].handle.frame, hits[0].score) == (frame, 1.0)
        assert len(engine.retrievals(KEY)) == 1

    def test_a_failed_fdatasync_never_moves_the_watermark(
        self, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        engine.append(KEY, block(3), sync=True)
        assert state(engine).durable == 6

        def broken(_: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "fdatasync", broken)
        with pytest.raises(Unavailable, match="Input/output"):
            engine.append(KEY, block(6), sync=True)
        monkeypatch.undo()
        for _ in range(2):
            with pytest.raises(Unavailable, match="fdatasync"):
                engine.append(KEY, block(9))
        assert (state(engine).length, state(engine).durable) == (9, 6)
        assert_frames(engine, 0, 9)
        assert engine.append(KEY, block(0), sync=True).duplicate
        with pytest.raises(Unavailable):
            engine.append(KEY, block(6), sync=True)

    def test_closing_reports_what_could_not_be_made_durable(
        self, engine: MemoryEngine, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(_: int) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(os, "fdatasync", broken)
        with pytest.raises(Unavailable):
            engine.close()
        monkeypatch.undo()
        engine.close()
        MemoryEngine(data_dir).close()


class TestReadOnly:
    def test_a_directory_in_use_can_be_read(self, engine: MemoryEngine, data_dir: Path) -> None:
        before = reel_of(data_dir).read_bytes()
        with_torn = before[: before.rindex(latents(5, 1)[0])]
        reader = MemoryEngine.open_read_only(data_dir)
        assert [info.state.length for info in reader.list_videos(KEY.pool)] == [6]
        assert_frames(reader, 0, 6)
        assert len(reader.search(KEY, [query(3, like=1)]).hits[0]) == 3
        assert len(reader.retrievals(KEY)) == 0
        reader.close()
        assert reel_of(data_dir).read_bytes() == before
        engine.append(KEY, block(6))
        copy = data_dir.with_name("copy")
        shutil.copytree(data_dir, copy)
        reel_of(copy).write_bytes(with_torn)
        reader = MemoryEngine.open_read_only(copy)
        assert state(reader).length == 3
        reader.close()
        assert reel_of(copy).read_bytes() == with_torn

    def test_nothing_can_be_written(self, engine: MemoryEngine, data_dir: Path) -> None:
        reader = MemoryEngine.open_read_only(data_dir)
        for verb in (
            lambda: reader.create_video(OTHER, SPEC),
            lambda: reader.drop_video(KEY),
            lambda: reader.append(KEY, block(6)),
            lambda: reader.advance(KEY, block(6), query()),
        ):
            with pytest.raises(Unavailable, match="reading only"):
                verb()
        reader.close()
        assert_frames(engine, 0, 6)

    def test_there_must_be_a_directory(self, tmp_path: Path) -> None:
        with pytest.raises(Unavailable):
            MemoryEngine.open_read_only(tmp_path / "none")
        assert list(tmp_path.iterdir()) == []


class TestLife:
    def test_a_closed_memory_answers_nothing(self, engine: MemoryEngine) -> None:
        known = handle(engine, 0)
        engine.close()
        engine.close()
        for verb in (
            lambda: engine.create_video(OTHER, SPEC),
            lambda: engine.get_video(KEY),
            lambda: engine.list_videos(KEY.pool),
            lambda: engine.drop_video(KEY),
            lambda: engine.append(KEY, block(6)),
            lambda: engine.search(KEY, [query(like=0)]),
            lambda: engine.fetch([known]),
            lambda: engine.fetch([]),
            lambda: engine.advance(KEY, block(6), query()),
            lambda: engine.retrievals(KEY),
        ):
            with pytest.raises(Unavailable, match="closed"):
                verb()
        assert engine.info().hot_videos == 0

    def test_limits_are_the_callers(self, data_dir: Path) -> None:
        small = MemoryEngine(
            data_dir, limits=Limits(max_k=2, max_queries=1, max_block_frames=3, max_handles=1)
        )
        small.create_video(KEY, SPEC)
        small.append(KEY, block(0))
        for verb in (
            lambda: small.append(KEY, block(3, 4)),
            lambda: small.search(KEY, [query(2, like=0)] * 2),
            lambda: small.fetch([handle(small, 0)] * 2),
        ):
            with pytest.raises(TooLarge):
                verb()
        with pytest.raises(InvalidArgument):
            small.search(KEY, [query(3, like=0)])
        assert (small.info().max_k, small.info().max_queries) == (2, 1)
        small.close()
        with pytest.raises(InvalidArgument, match="max_k"):
            Limits(max_k=0)

    def test_an_unknown_index_leaves_the_directory_alone(self, data_dir: Path) -> None:
        with pytest.raises(InvalidArgument, match="flat"):
            MemoryEngine(data_dir, index="nope")
        assert not data_dir.exists()

    def test_a_slow_search_holds_up_no_other_video(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        entered, release = threading.Event(), threading.Event()

        class Slow(FlatIndex):
            def search(self, probes: Any) -> list[Candidates]:
                first: Probe = probes[0]
                if first.partition == KEY:
                    entered.set()
                    assert release.wait(30)
                return super().search(probes)

        monkeypatch.setattr(engine_module, "load_index", lambda _: Slow())
        memory = MemoryEngine(data_dir)
        for key in (KEY, OTHER):
            memory.create_video(key, SPEC)
            memory.append(key, block(0))
        searcher = threading.Thread(target=lambda: memory.search(KEY, [query(like=0)]))
        searcher.start()
        assert entered.wait(30)
        assert memory.advance(OTHER, block(3), query(like=0), sync=True).appended.state.durable == 6
        assert memory.create_video(VideoKey("pool", "third"), SPEC).state.length == 0
        assert len(memory.list_videos("elsewhere")) == 0
        release.set()
        searcher.join()
        memory.close()

    def test_creating_dropping_and_using_one_video_at_once(self, engine: MemoryEngine) -> None:
        """Whatever wins, callers get an answer or NotFound, and the video works afterwards."""
        unexpected: list[Exception] = []

        def use(number: int) -> None:
            for _ in range(15):
                try:
                    if number % 3 == 0:
                        engine.create_video(OTHER, SPEC)
                    elif number % 3 == 1:
                        engine.drop_video(OTHER)
                    else:
                        engine.append(OTHER, block(0))
                        engine.search(OTHER, [query(like=0)])
                        engine.fetch([handle(engine, 0, OTHER)])
                except NotFound:
                    continue
                except Exception as exc:
                    unexpected.append(exc)

        threads = [threading.Thread(target=use, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert unexpected == []
        engine.create_video(OTHER, SPEC)
        engine.append(OTHER, block(0))
        assert_frames(engine, 0, 3, OTHER)
