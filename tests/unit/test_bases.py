"""What forks share on disk: hard links, what is wrong with them, and that nobody can pull them away."""

import errno
import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import KEY, SPEC, assert_frames, block, embeddings, handle, latents, query

from memory_service.engine import MemoryEngine
from memory_service.errors import DataLoss, Exhausted, NotFound, Unavailable
from memory_service.reel import Kind
from memory_service.store.base_reel import open_bases
from memory_service.store.bases import links_of, remove_orphans
from memory_service.store.files import FileStore
from memory_service.store.scan import FileSource, scan
from memory_service.types import Query, Span, VideoKey

FORK = VideoKey("pool", "fork.v2")
THIRD = VideoKey("other", "third")


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def engine(data_dir: Path) -> Iterator[MemoryEngine]:
    """KEY with three blocks, its fork at 6 with one block more, and a fork of all of that."""
    memory = MemoryEngine(data_dir, commit_interval_s=0.01, extent_bytes=8192)
    memory.create_video(KEY, SPEC)
    for start in (0, 3, 6):
        memory.append(KEY, block(start), sync=True)
    memory.fork_video(KEY, FORK, length=6)
    memory.append(FORK, block(6))
    memory.fork_video(FORK, THIRD)
    yield memory
    memory.close()


@pytest.fixture
def bases(engine: MemoryEngine, data_dir: Path) -> dict[str, Path]:
    """The links of a closed memory: of the fork, and of its fork to the root and to the fork."""
    engine.close()
    (of_fork,) = data_dir.glob("pool/*.base0")
    (root,), (middle,) = data_dir.glob("other/*.base0"), data_dir.glob("other/*.base1")
    return {"of fork": of_fork, "root": root, "middle": middle}


def reel_path(data_dir: Path, key: VideoKey) -> Path:
    return data_dir / key.pool / f"{key.video}.reel"


def harm(path: Path, change: Callable[[bytearray], None]) -> None:
    """Change one link's bytes, and nobody else's."""
    data = bytearray(path.read_bytes())
    change(data)
    path.unlink()
    path.write_bytes(data)


def flip(data: bytearray, place: int) -> None:
    data[place] ^= 4


class TestLinks:
    def test_they_are_the_parents_file_and_end_in_no_reel(
        self, data_dir: Path, bases: dict[str, Path]
    ) -> None:
        parent, fork = (reel_path(data_dir, key).stat().st_ino for key in (KEY, FORK))
        inodes = {name: path.stat().st_ino for name, path in bases.items()}
        assert inodes == {"of fork": parent, "root": parent, "middle": fork}
        assert links_of(reel_path(data_dir, THIRD)) == [bases["root"], bases["middle"]]
        assert links_of(reel_path(data_dir, KEY)) == []

    def test_dropping_removes_those_of_the_video_alone(self, data_dir: Path, engine: MemoryEngine) -> None:
        engine.drop_video(FORK)
        assert len(list(data_dir.glob("*/*.base*"))) == 2
        engine.drop_video(KEY)
        assert_frames(engine, 0, 9, THIRD)
        engine.drop_video(THIRD)
        assert not list(data_dir.glob("*/*.base*"))

    def test_cold_videos_too(self, data_dir: Path, bases: dict[str, Path]) -> None:
        memory = MemoryEngine(data_dir)
        memory.drop_video(THIRD)
        assert bases["of fork"].exists()
        assert not bases["root"].exists()
        assert not bases["middle"].exists()
        memory.close()

    def test_a_fork_of_a_fork_needs_only_what_it_shares(self, data_dir: Path, engine: MemoryEngine) -> None:
        """At a length that the grandparent has, the parent's reel has nothing to give."""
        for number in range(20):
            engine.fork_video(THIRD, VideoKey("pool", f"f{number}"), length=3)
        assert len(list(data_dir.glob("pool/f[0-9]*.base*"))) == 20
        engine.fork_video(THIRD, VideoKey("pool", "none"), length=0)
        assert not list(data_dir.glob("pool/none.*.base*"))

    def test_what_many_forks_share_is_mapped_once(self, engine: MemoryEngine) -> None:
        def descriptors() -> int:
            gc.collect()
            return len(os.listdir("/proc/self/fd"))

        before = descriptors()
        keys = [VideoKey("pool", f"f{number}") for number in range(30)]
        for key in keys:
            engine.fork_video(THIRD, key)
        per_fork = (descriptors() - before) / len(keys)
        for key in keys:
            engine.drop_video(key)
        assert descriptors() <= before
        engine.create_video(VideoKey("pool", "plain"), SPEC)
        assert per_fork <= descriptors() - before + 0.1

    def test_a_copy_of_the_directory_needs_no_hard_links(
        self, data_dir: Path, bases: dict[str, Path]
    ) -> None:
        for path in bases.values():
            harm(path, lambda _: None)
        memory = MemoryEngine(data_dir)
        assert_frames(memory, 0, 9, FORK)
        assert_frames(memory, 0, 9, THIRD)
        memory.close()


class TestOrphans:
    def test_links_without_their_reel_go_at_the_start(self, data_dir: Path, bases: dict[str, Path]) -> None:
        pool = data_dir / "pool"
        wrong_epoch = pool / f"{FORK.video}.abc.base0"
        left = [
            pool / "gone.1f.base0",
            pool / "gone.1f.base1",
            wrong_epoch,
            pool / ".0123.new",
            data_dir / ".4.new",
        ]
        for path in left:
            os.link(bases["root"], path)
        (data_dir / ".55.new").mkdir()
        kept = [pool / "readme.base0", pool / "a.xyz.base0", pool / "v.1f.base", pool / "new", pool / "x.new"]
        for path in kept:
            path.write_bytes(b"not ours")
        memory = MemoryEngine(data_dir)
        assert not [path for path in left if path.exists()]
        assert not (data_dir / ".55.new").exists()
        assert all(path.exists() for path in (*kept, *bases.values()))
        assert_frames(memory, 0, 9, THIRD)
        memory.close()

    def test_a_reader_removes_nothing(self, data_dir: Path, bases: dict[str, Path]) -> None:
        orphan = data_dir / "pool" / "gone.1f.base0"
        os.link(bases["root"], orphan)
        MemoryEngine.open_read_only(data_dir).close()
        assert orphan.exists()

    def test_links_of_a_damaged_reel_stay(self, data_dir: Path, bases: dict[str, Path]) -> None:
        """It may be restored from a backup."""
        reel_path(data_dir, FORK).write_bytes(b"damaged")
        remove_orphans(data_dir / "pool", os.listdir(data_dir / "pool"))
        assert bases["of fork"].exists()


class TestDamage:
    @pytest.mark.parametrize("name", ["root", "middle"])
    def test_a_missing_base_is_named(self, data_dir: Path, bases: dict[str, Path], name: str) -> None:
        bases[name].unlink()
        self.assert_lost(data_dir, bases[name], "missing")

    @pytest.mark.parametrize("name", ["root", "middle"])
    def test_a_base_that_ends_too_soon_is_named(
        self, data_dir: Path, bases: dict[str, Path], name: str
    ) -> None:
        harm(bases[name], lambda data: data.__delitem__(slice(len(data) // 3, None)))
        self.assert_lost(data_dir, bases[name], "")

    @pytest.mark.parametrize("where", ["prefix", "header", "embedding"])
    def test_a_base_with_a_flipped_bit_is_named(
        self, data_dir: Path, bases: dict[str, Path], where: str
    ) -> None:
        with bases["root"].open("rb") as file:
            records = scan(bases["root"], FileSource(file.fileno())).records
        first = next(record for record in records if record.prefix.kind == Kind.BLOCK)
        place = {"prefix": first.offset, "header": first.offset + 64, "embedding": first.body}[where]
        harm(bases["root"], lambda data: flip(data, place + 5))
        self.assert_lost(data_dir, bases["root"], "")

    def test_another_videos_reel_is_no_base(self, data_dir: Path, bases: dict[str, Path]) -> None:
        memory = MemoryEngine(data_dir)
        other = VideoKey("pool", "other")
        memory.create_video(other, SPEC)
        for start in (0, 3, 6):
            memory.append(other, block(start), sync=True)
        memory.close()
        bases["root"].unlink()
        os.link(reel_path(data_dir, other), bases["root"])
        self.assert_lost(data_dir, bases["root"], "epoch")

    def test_a_payload_is_verified_when_it_is_fetched(self, data_dir: Path, bases: dict[str, Path]) -> None:
        payload = latents(1, 1)[0]
        harm(
            bases["root"],
            lambda data: data.__setitem__(data.index(payload) + 3, data[data.index(payload) + 3] ^ 1),
        )
        memory = MemoryEngine(data_dir)
        assert_frames(memory, 2, 9, THIRD)
        with pytest.raises(DataLoss, match="frame 1 of other/third"):
            memory.fetch([handle(memory, 1, THIRD)])
        assert_frames(memory, 0, 9, FORK)
        with pytest.raises(DataLoss, match="frame 1 of other/third"):
            list(memory.export_video(THIRD))
        memory.close()

    @staticmethod
    def assert_lost(data_dir: Path, base: Path, reason: str) -> None:
        """The fork is refused, naming the base; everything else lives, and the fork can be dropped."""
        memory = MemoryEngine(data_dir)
        for refused in (
            lambda: memory.get_video(THIRD),
            lambda: memory.append(THIRD, block(9)),
            lambda: memory.fork_video(THIRD, VideoKey("pool", "new")),
            lambda: list(memory.export_video(THIRD)),
        ):
            with pytest.raises(DataLoss, match=base.name) as error:
                refused()
            assert reason in str(error.value)
            assert error.value.details["path"] == str(base)
        assert_frames(memory, 0, 9, KEY)
        assert_frames(memory, 0, 9, FORK)
        memory.drop_video(THIRD)
        assert not list(data_dir.glob("other/*.base*"))
        memory.close()


class TestParent:
    def test_its_prefix_is_durable_before_there_is_a_fork(self, data_dir: Path) -> None:
        memory = MemoryEngine(data_dir, durability="none")
        memory.create_video(KEY, SPEC)
        for start in (0, 3):
            memory.append(KEY, block(start))
        assert memory.get_video(KEY).state.durable == 0
        memory.fork_video(KEY, FORK, length=3)
        assert memory.get_video(KEY).state.durable >= 3
        memory.close()

    def test_a_parent_that_cannot_be_made_durable_has_no_forks(
        self, data_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        memory = MemoryEngine(data_dir, durability="none")
        memory.create_video(KEY, SPEC)
        memory.append(KEY, block(0))

        def failing(fd: int) -> None:  # noqa: ARG001
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patched:
            patched.setattr(os, "fdatasync", failing)
            with pytest.raises(Unavailable):
                memory.fork_video(KEY, FORK)
        assert not list(data_dir.glob("*/*.base*"))
        with pytest.raises(NotFound):
            memory.get_video(FORK)
        with pytest.raises(Unavailable):
            memory.close()

    def test_a_partial_write_behind_what_forks_share_harms_none(
        self, data_dir: Path, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The parent's file is cut to its records again: what forks share ends before that."""
        before = engine.fetch([handle(engine, frame, FORK) for frame in range(9)])
        write = os.pwritev

        def full(fd: int, buffers: Any, offset: int) -> int:
            """A disk that fills up in the middle of a record."""
            if offset > first:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(fd, buffers[:3], offset)

        for _ in range(3):
            first = engine.get_video(KEY).num_bytes
            with monkeypatch.context() as patched:
                patched.setattr(os, "pwritev", full)
                with pytest.raises(Exhausted):
                    engine.append(KEY, block(9, 40))
            assert_frames(engine, 0, 9)
            assert_frames(engine, 0, 9, FORK)
            assert_frames(engine, 0, 9, THIRD)
        for frame, got in enumerate(before):
            assert bytes(got.parts["latent"]) == latents(frame, 1)[0]
        engine.append(KEY, block(9, 40))
        engine.close()
        memory = MemoryEngine(data_dir)
        assert not memory.recoveries
        assert_frames(memory, 0, 49)
        assert_frames(memory, 0, 9, THIRD)
        memory.close()

    def test_its_torn_tail_is_cut_behind_what_forks_share(self, data_dir: Path, engine: MemoryEngine) -> None:
        engine.append(KEY, block(9), sync=True)
        engine.close()
        with reel_path(data_dir, KEY).open("ab") as file:
            file.write(b"REEL and then the power went" * 9)
        memory = MemoryEngine(data_dir)
        assert_frames(memory, 0, 9, THIRD)
        assert_frames(memory, 0, 12)
        assert len(memory.recoveries) == 1
        assert memory.append(KEY, block(12)).state.length == 15
        assert_frames(memory, 0, 9, FORK)
        memory.close()

    @pytest.mark.parametrize("again", [False, True])
    def test_it_may_go_while_it_is_forked(self, data_dir: Path, engine: MemoryEngine, again: bool) -> None:
        """Between the branch and the links another video may take the parent's name: it is not linked."""
        store = engine._forks._store
        fork, new = store.fork, VideoKey("pool", "new")

        def late(*arguments: Any) -> None:
            engine.drop_video(KEY)
            if again:
                engine.create_video(KEY, SPEC)
                engine.append(KEY, block(0, 9))
            fork(*arguments)

        store.fork = late  # type: ignore[method-assign]
        with pytest.raises(NotFound) as error:
            engine.fork_video(KEY, new)
        assert error.value.field == "parent"
        with pytest.raises(NotFound):
            engine.get_video(new)
        assert not list(data_dir.glob("pool/new.*"))
        assert_frames(engine, 0, 9, THIRD)

    def test_links_that_cannot_be_made_leave_nothing(
        self, data_dir: Path, engine: MemoryEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        link, made = os.link, []

        def few(source: Any, target: Any) -> None:
            if len(made) == 1:
                raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))
            made.append(target)
            link(source, target)

        with monkeypatch.context() as patched:
            patched.setattr(os, "link", few)
            with pytest.raises(Exhausted, match="fewer forks"):
                engine.fork_video(THIRD, VideoKey("pool", "new"))
        assert made
        assert not list(data_dir.glob("pool/new.*"))
        assert engine.fork_video(THIRD, VideoKey("pool", "new")).state.length == 9


def test_many_rows_over_several_reels(engine: MemoryEngine) -> None:
    """Searches that look at whole histories gather rows reel by reel."""
    for key, start in ((FORK, 9), (THIRD, 9)):
        engine.append(key, block(start, 90))
    key = VideoKey("pool", "wide")
    engine.fork_video(THIRD, key)
    engine.append(key, block(99, 80))
    engine.truncate_video(key, 150)
    found = engine.search(key, [Query(150, Span(0, 999), embedding=embeddings(120, 1)[0])]).hits[0]
    assert sorted(hit.handle.frame for hit in found) == list(range(150))
    assert found[0].handle.frame == 120
    for hit in found[:20]:
        row = embeddings(hit.handle.frame, 1)[0].astype(np.float64)
        asked = embeddings(120, 1)[0].astype(np.float64)
        cosine = row @ asked / np.sqrt((row @ row) * (asked @ asked))
        assert hit.score == pytest.approx(cosine, abs=1e-6)
    assert engine.search(key, [query(3, frame=4)]).hits[0][0].handle.frame == 4


def test_what_is_no_fork_has_no_bases(tmp_path: Path) -> None:
    memory = MemoryEngine(tmp_path / "data")
    memory.create_video(KEY, SPEC)
    memory.close()
    store = FileStore(tmp_path / "data", extent_bytes=4096)
    reel, found = store.open(KEY)
    assert open_bases(reel.path, found) == ()
    reel.close()
    store.close()
