"""Reels as files: extents, failing disks, group commit, the lock and the directory."""

import errno
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from samples import KEY, SPEC, block

from memory_service.errors import AlreadyExists, Busy, DataLoss, Exhausted, NotFound, Unavailable
from memory_service.records import pack_block
from memory_service.reel import Kind
from memory_service.store.commit import GroupCommit
from memory_service.store.files import FileStore
from memory_service.store.reel_file import ReelFile
from memory_service.types import VideoInfo, VideoKey, VideoState

EXTENT_BYTES = 1 << 14
INFO = VideoInfo(KEY, SPEC, VideoState(77, 0, 0), 0)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    return FileStore(tmp_path / "data", extent_bytes=EXTENT_BYTES)


@pytest.fixture
def reel(store: FileStore) -> ReelFile:
    store.create(INFO)
    return store.open(KEY)[0]


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes an os function raise from now on, after it has done `first` something else."""

    def failing(name: str, code: int, first: Callable[..., Any] | None = None) -> None:
        def raising(*arguments: Any) -> Any:
            if first is not None:
                first(*arguments)
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, name, raising)

    return failing


def add(reel: ReelFile, start: int, n: int = 3) -> None:
    reel.append(Kind.BLOCK, *pack_block(block(start, n)))


def lengths(store: FileStore) -> list[int]:
    return [r.header["n"] for r in store.peek(KEY)[1].records if r.prefix.kind == Kind.BLOCK]


class TestReelFile:
    def test_space_is_taken_by_extents_and_given_back(self, reel: ReelFile) -> None:
        for start in range(0, 300, 3):
            add(reel, start)
            assert reel.path.stat().st_size % EXTENT_BYTES == 0
        assert reel.path.stat().st_size > 3 * EXTENT_BYTES
        reel.close()
        assert reel.path.stat().st_size == reel.end

    def test_a_record_may_be_larger_than_an_extent(self, store: FileStore, reel: ReelFile) -> None:
        add(reel, 0, 200)
        add(reel, 200, 1)
        reel.close()
        assert lengths(store) == [200, 1]

    def test_views_are_read_only_and_outlive_growth_and_closing(self, reel: ReelFile) -> None:
        add(reel, 0)
        before = reel.view(0, reel.end)
        copy = bytes(before)
        assert before.readonly
        for start in range(3, 300, 3):
            add(reel, start)
        assert bytes(reel.view(reel.end - 64, 64)) != b""
        reel.close()
        reel.path.unlink()
        assert bytes(before) == copy

    def test_closing_twice_is_closing_once(self, reel: ReelFile) -> None:
        reel.close()
        reel.close()
        assert reel.closed
        with pytest.raises(Unavailable):
            add(reel, 0)

    def test_reading_a_closed_reel_does_not_write(self, store: FileStore, reel: ReelFile) -> None:
        add(reel, 0)
        reel.close()
        before = reel.path.read_bytes()
        again, _ = store.open(KEY)
        again.close()
        assert reel.path.read_bytes() == before

    @pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, Exhausted), (errno.EIO, Unavailable)])
    def test_a_failed_write_leaves_the_reel_as_it_was(
        self, store: FileStore, reel: ReelFile, fail: Any, monkeypatch: Any, code: int, error: Any
    ) -> None:
        """Half of the record reaches the file before the write fails; nothing of it remains."""
        add(reel, 0)
        end, write = reel.end, os.pwritev
        with monkeypatch.context():
            fail("pwritev", code, lambda fd, buffers, offset: write(fd, buffers[:2], offset))
            with pytest.raises(error, match="append"):
                add(reel, 3)
        monkeypatch.undo()
        assert reel.end == end
        assert not any(reel.path.read_bytes()[end:])
        add(reel, 3)
        reel.close()
        assert lengths(store) == [3, 3]

    def test_a_failed_allocation_leaves_the_reel_as_it_was(
        self, store: FileStore, reel: ReelFile, fail: Any, monkeypatch: Any
    ) -> None:
        add(reel, 0)
        fail("posix_fallocate", errno.ENOSPC)
        with pytest.raises(Exhausted):
            add(reel, 3, 250)
        monkeypatch.undo()
        add(reel, 3, 250)
        reel.close()
        assert lengths(store) == [3, 250]

    def test_a_nearly_full_disk_still_takes_what_fits(self, reel: ReelFile, monkeypatch: Any) -> None:
        allocate = os.posix_fallocate

        def exactly(fd: int, offset: int, size: int) -> None:
            if (offset + size) % EXTENT_BYTES == 0:
                raise OSError(errno.ENOSPC, "full")
            allocate(fd, offset, size)

        monkeypatch.setattr(os, "posix_fallocate", exactly)
        for start in range(0, 90, 3):
            add(reel, start)

    def test_short_writes_are_continued(self, store: FileStore, reel: ReelFile, monkeypatch: Any) -> None:
        write = os.pwritev

        def short(fd: int, buffers: list[Any], offset: int) -> int:
            return write(fd, [memoryview(buffers[0])[:37]], offset)

        monkeypatch.setattr(os, "pwritev", short)
        add(reel, 0)
        monkeypatch.undo()
        reel.close()
        assert lengths(store) == [3]

    def test_a_partial_write_that_cannot_be_undone_poisons_the_reel(
        self, reel: ReelFile, fail: Any, monkeypatch: Any
    ) -> None:
        fail("pwritev", errno.EIO)
        fail("ftruncate", errno.EIO)
        with pytest.raises(Unavailable):
            add(reel, 0)
        monkeypatch.undo()
        with pytest.raises(Unavailable, match="partial"):
            add(reel, 0)

    def test_commit_moves_the_mark_and_notes_it(self, store: FileStore, reel: ReelFile) -> None:
        add(reel, 0)
        end = reel.end
        assert reel.durable < end
        reel.commit()
        assert reel.durable == end
        assert store.peek(KEY)[1].durable == end
        after = reel.end
        reel.commit()
        assert reel.end == after

    def test_a_failed_fdatasync_poisons_the_reel(
        self, store: FileStore, reel: ReelFile, fail: Any, monkeypatch: Any
    ) -> None:
        """The mark never moves again, although a second fdatasync would succeed."""
        add(reel, 0)
        reel.commit()
        add(reel, 3)
        mark = reel.durable
        fail("fdatasync", errno.EIO)
        with pytest.raises(Unavailable, match="commit"):
            reel.commit()
        monkeypatch.undo()
        for attempt in (reel.commit, lambda: add(reel, 6), lambda: reel.commit(mark + 1)):
            with pytest.raises(Unavailable, match="fdatasync"):
                attempt()
        assert reel.durable == mark
        reel.commit(mark)
        assert len(reel.view(0, reel.end)) == reel.end
        with pytest.raises(Unavailable):
            reel.close()
        assert reel.closed
        assert lengths(store) == [3, 3]


class TestGroupCommit:
    def test_marked_reels_become_durable_together(self, store: FileStore) -> None:
        keys = [VideoKey("p", str(i)) for i in range(4)]
        reels = []
        for key in keys:
            store.create(VideoInfo(key, SPEC, VideoState(1, 0, 0), 0))
            reels.append(store.open(key)[0])
        commit = GroupCommit(0.01)
        ends = []
        for reel in reels:
            add(reel, 0)
            ends.append(reel.end)
            commit.mark(reel)
        deadline = time.monotonic() + 5
        while any(reel.durable < end for reel, end in zip(reels, ends, strict=True)):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        commit.close()

    def test_closing_commits_at_once(self, reel: ReelFile) -> None:
        commit = GroupCommit(3600)
        add(reel, 0)
        end = reel.end
        commit.mark(reel)
        commit.close()
        assert reel.durable >= end

    def test_one_bad_reel_does_not_stop_the_others(self, store: FileStore, monkeypatch: Any) -> None:
        keys = [VideoKey("p", str(i)) for i in range(3)]
        reels = []
        for key in keys:
            store.create(VideoInfo(key, SPEC, VideoState(1, 0, 0), 0))
            reels.append(store.open(key)[0])
            add(reels[-1], 0)
        sync, bad = os.fdatasync, reels[1]._file.fd

        def failing(fd: int) -> None:
            if fd == bad:
                raise OSError(errno.EIO, "bad disk")
            sync(fd)

        monkeypatch.setattr(os, "fdatasync", failing)
        commit = GroupCommit(0.0)
        for reel in reels:
            commit.mark(reel)
        commit.close()
        assert [reel.failure is not None for reel in reels] == [False, True, False]
        assert [reel.durable > 64 for reel in (reels[0], reels[2])] == [True, True]

    def test_a_reel_that_was_dropped_meanwhile_is_passed_over(self, reel: ReelFile) -> None:
        commit = GroupCommit(0.0)
        add(reel, 0)
        reel.abandon()
        commit.mark(reel)
        commit.close()
        assert reel.failure is None


class TestFileStore:
    def test_one_process_at_a_time(self, store: FileStore, tmp_path: Path) -> None:
        with pytest.raises(Busy, match=str(os.getpid())):
            FileStore(tmp_path / "data", extent_bytes=EXTENT_BYTES)
        FileStore(tmp_path / "data", extent_bytes=EXTENT_BYTES, read_only=True)
        store.close()
        store.close()
        FileStore(tmp_path / "data", extent_bytes=EXTENT_BYTES).close()

    def test_creating_leaves_one_file_and_refuses_a_second(self, store: FileStore) -> None:
        store.create(INFO)
        with pytest.raises(AlreadyExists):
            store.create(INFO)
        (path,) = (store._root / KEY.pool).iterdir()
        assert path.name == "video.reel"
        assert replace(store.peek(KEY)[0], num_bytes=0) == INFO

    def test_creating_is_all_or_nothing(self, store: FileStore, fail: Any, monkeypatch: Any) -> None:
        for name in ("fdatasync", "link"):
            fail(name, errno.EIO)
            with pytest.raises(Unavailable):
                store.create(INFO)
            monkeypatch.undo()
            assert list((store._root / KEY.pool).iterdir()) == []
        store.create(INFO)

    def test_leftovers_of_a_crash_are_not_listed(self, store: FileStore) -> None:
        store.create(INFO)
        pool = store._root / KEY.pool
        for name in (".0123.new", ".hidden.reel", "notes.txt"):
            (pool / name).write_bytes(b"x")
        assert list(store.keys(KEY.pool)) == [KEY]
        assert list(store.keys("nobody")) == []

    def test_what_is_not_there_is_not_found(self, store: FileStore) -> None:
        for verb in (store.open, store.peek, store.drop):
            with pytest.raises(NotFound):
                verb(KEY)

    def test_a_reel_under_another_name_is_refused(self, store: FileStore, reel: ReelFile) -> None:
        reel.close()
        os.link(reel.path, reel.path.with_name("copy.reel"))
        with pytest.raises(DataLoss, match="holds video"):
            store.open(VideoKey(KEY.pool, "copy"))

    def test_descriptors_are_not_leaked(self, store: FileStore, reel: ReelFile) -> None:
        reel.close()
        good = reel.path.read_bytes()
        for content in (good, good[:70], b""):
            reel.path.write_bytes(content)
            for _ in range(3):
                try:
                    store.open(KEY)[0].close()
                except DataLoss:
                    assert content != good
                store.keys(KEY.pool)
        links = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
        held = [link for link in links if link.is_symlink() and str(reel.path) in os.readlink(link)]
        assert len(held) == 1, "only the map of the reel that this test holds"

    def test_concurrent_commits_share_their_work(self, reel: ReelFile, monkeypatch: Any) -> None:
        calls: list[int] = []
        sync = os.fdatasync

        def slow(fd: int) -> None:
            calls.append(fd)
            time.sleep(0.05)
            sync(fd)

        add(reel, 0)
        end = reel.end
        monkeypatch.setattr(os, "fdatasync", slow)
        threads = [threading.Thread(target=reel.commit, args=(end,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(calls) == 1
