"""Harm to what forks share, and to records of forks, truncations, seals: who is affected, and who is not."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from damaging import flip, places, records_of
from samples import ALL, SPEC, block, handle, query

from memory_service.engine import MemoryEngine
from memory_service.errors import DataLoss
from memory_service.reel import Kind, Record
from memory_service.store.findings import Class, Finding, Part
from memory_service.types import Query, Span, VideoKey
from memory_service.verify import verify

PARENT, CHILD, GRANDCHILD = (VideoKey("pool", name) for name in ("parent", "child", "grandchild"))
CUT = VideoKey("other", "cut")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parent [0, 12), its fork at 6 with [6, 12) of its own, a fork of that at 9; one cut back and sealed."""
    folder = tmp_path_factory.mktemp("forks") / "data"
    memory = MemoryEngine(folder)
    for key in (PARENT, CUT):
        memory.create_video(key, SPEC)
        for start in (0, 3, 6, 9):
            memory.append(key, block(start))
    memory.fork_video(PARENT, CHILD, length=6)
    for start in (6, 9):
        memory.append(CHILD, block(start))
    memory.fork_video(CHILD, GRANDCHILD, length=9)
    memory.truncate_video(CUT, 4)
    memory.append(CUT, block(4, 5))
    memory.search(CUT, [Query(2, ALL, frame=1)])
    memory.seal_video(CUT)
    memory.close()
    return folder


@pytest.fixture
def data_dir(made: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "data"
    subprocess.run(["cp", "-a", made, copy], check=True)  # hard links stay what they are
    return copy


def reel(data_dir: Path, key: VideoKey) -> Path:
    return data_dir / key.pool / f"{key.video}.reel"


def blocks(path: Path) -> list[Record]:
    return [record for record in records_of(path) if record.prefix.kind == Kind.BLOCK]


def told(data_dir: Path) -> list[tuple[str, str, tuple[Span, ...], int]]:
    """Of each finding the kind of file, the video, the frames affected and those intact."""
    return sorted(
        (finding.path.suffix[:5], finding.video, finding.frames, finding.intact)
        for finding in verify(data_dir).findings
    )


def check_whole(memory: MemoryEngine, key: VideoKey, length: int) -> None:
    """All frames are found and can be read."""
    (hits,) = memory.search(key, [query(k=50, like=3)], log=False).hits
    memory.fetch([hit.handle for hit in hits])
    assert len(hits) == length


def check_lost(memory: MemoryEngine, key: VideoKey) -> None:
    with pytest.raises(DataLoss):
        check_whole(memory, key, 0)


def test_what_is_whole_is_clean(data_dir: Path) -> None:
    report = verify(data_dir)
    assert (report.findings, report.videos, report.frames) == ((), 4, 12 + 12 + 9 + 9)


def test_harm_to_what_is_shared_affects_all_who_share_it(data_dir: Path) -> None:
    flip(reel(data_dir, PARENT), blocks(reel(data_dir, PARENT))[1].body + 40)
    one = (Span(4, 5),)
    assert told(data_dir) == [
        (".base", "child", one, 11),
        (".base", "grandchild", one, 8),
        (".reel", "parent", one, 11),
    ]
    memory = MemoryEngine(data_dir)
    for key in (PARENT, CHILD, GRANDCHILD):
        check_lost(memory, key)
    check_whole(memory, CUT, 9)
    memory.close()


def test_harm_behind_what_is_shared_affects_its_own_video(data_dir: Path) -> None:
    flip(reel(data_dir, PARENT), blocks(reel(data_dir, PARENT))[2].body + 40)
    assert told(data_dir) == [(".reel", "parent", (Span(7, 8),), 11)]
    memory = MemoryEngine(data_dir)
    check_lost(memory, PARENT)
    check_whole(memory, CHILD, 12)
    check_whole(memory, GRANDCHILD, 9)
    memory.close()


def test_harm_to_a_fork_leaves_its_parent_alone(data_dir: Path) -> None:
    flip(reel(data_dir, CHILD), blocks(reel(data_dir, CHILD))[0].end - 64)
    one = (Span(8, 9),)
    assert told(data_dir) == [(".base", "grandchild", one, 8), (".reel", "child", one, 11)]
    memory = MemoryEngine(data_dir)
    check_whole(memory, PARENT, 12)
    memory.close()


def test_a_fork_whose_parent_is_gone_is_verified_by_its_base(data_dir: Path) -> None:
    memory = MemoryEngine(data_dir)
    memory.drop_video(PARENT)
    memory.close()
    assert verify(data_dir).findings == ()
    (base,) = reel(data_dir, CHILD).parent.glob("child.*.base0")
    flip(base, blocks(base)[0].offset + 9)
    assert told(data_dir) == [
        (".base", "child", (Span(0, 3),), 9),
        (".base", "grandchild", (Span(0, 3),), 6),
    ]


def test_a_base_that_is_missing_or_short_is_told(data_dir: Path) -> None:
    (base,) = reel(data_dir, CHILD).parent.glob("child.*.base0")
    aside = base.with_name("aside")
    base.rename(aside)
    (finding,) = (found for found in verify(data_dir).findings if found.kind is not Class.FOREIGN)
    assert (finding.kind, finding.part, finding.video) == (Class.DAMAGE, Part.BASE, "child")
    assert (finding.frames, finding.intact) == ((Span(0, 6),), 6)
    shutil.copyfile(aside, base)
    aside.unlink()
    third = blocks(base)[1]
    os.truncate(base, third.offset)
    assert told(data_dir) == [(".base", "child", (Span(3, 6),), 9)]
    os.truncate(base, third.offset + 100)
    assert told(data_dir) == [(".base", "child", (Span(3, 6),), 9)]


def test_a_base_that_nobody_uses_is_an_orphan(data_dir: Path) -> None:
    pool = data_dir / "pool"
    for name in ("gone.1f.base0", "parent.1f.base0"):
        os.link(reel(data_dir, PARENT), pool / name)
    report = verify(data_dir)
    assert [(f.kind, f.path.name) for f in report.findings] == [
        (Class.ORPHAN, "gone.1f.base0"),
        (Class.ORPHAN, "parent.1f.base0"),
    ]
    assert report.clean
    MemoryEngine(data_dir).close()
    assert verify(data_dir).findings == (), "the next start removes them"


@pytest.mark.parametrize(
    ("key", "kind"), [(CHILD, Kind.FORK), (CUT, Kind.TRUNCATE), (CUT, Kind.SEAL), (CUT, Kind.BLOCK)]
)
def test_harm_to_each_kind_of_record(data_dir: Path, key: VideoKey, kind: Kind) -> None:
    """One finding for each place, and the video is refused."""
    path = reel(data_dir, key)
    record = next(record for record in records_of(path) if record.prefix.kind == kind)
    for place in places(record):
        flip(path, place.offset)
        findings = [found for found in verify(data_dir).findings if found.video == key.video]
        assert [where(found) for found in findings] == [(place.part, record.offset)], place.name
        assert findings[0].kind is Class.DAMAGE
        if place.part is not Part.HEADER_PADDING:
            memory = MemoryEngine(data_dir)
            check_lost(memory, key)
            memory.close()
        flip(path, place.offset)
    assert verify(data_dir).findings == ()


def where(finding: Finding) -> tuple[Part, int | None]:
    return finding.part, finding.offset


def test_frames_that_were_cut_off_are_not_affected(data_dir: Path) -> None:
    """The bytes of a truncated frame are still in the reel: harm to them is told, but hits no frame."""
    flip(reel(data_dir, CUT), blocks(reel(data_dir, CUT))[2].body + 3)
    (finding,) = verify(data_dir).findings
    assert (finding.kind, finding.part, finding.frames, finding.intact) == (Class.DAMAGE, Part.BODY, (), 9)


@pytest.mark.parametrize("change", [b"", b"{}", b"not json", b'{"version": 1, "spec": {}, "crc32c": 1}\n'])
def test_a_damaged_pool_spec_is_told(data_dir: Path, change: bytes) -> None:
    (data_dir / "pool" / ".pool").write_bytes(change)
    report = verify(data_dir)
    assert [(f.kind, f.part, f.pool) for f in report.findings] == [(Class.DAMAGE, Part.POOL_SPEC, "pool")]
    assert not report.clean


def test_a_base_that_is_cut_while_it_is_in_use_ends_the_fork_and_not_the_process(data_dir: Path) -> None:
    """Its pages are mapped: to touch one that is gone would kill the process."""
    memory = MemoryEngine(data_dir)
    for key, length in ((PARENT, 12), (CHILD, 12), (GRANDCHILD, 9)):
        check_whole(memory, key, length)
    os.truncate(reel(data_dir, PARENT), 300)
    for key in (PARENT, CHILD, GRANDCHILD):
        with pytest.raises(DataLoss):
            memory.search(key, [query(like=1)], log=False)
    check_whole(memory, CUT, 9)
    for key in (PARENT, CHILD, GRANDCHILD):
        memory.drop_video(key)
    memory.close()


def test_a_base_that_is_cut_is_told_by_its_file_and_not_by_its_link(data_dir: Path) -> None:
    memory = MemoryEngine(data_dir)
    check_whole(memory, CHILD, 12)
    for link in data_dir.glob("*/*.base*"):
        link.unlink()
    check_whole(memory, CHILD, 12)
    os.truncate(reel(data_dir, PARENT), 300)
    with pytest.raises(DataLoss, match="was cut to 300 bytes"):
        memory.search(CHILD, [query(like=1)], log=False)
    memory.close()


def test_a_link_that_cannot_be_followed_stops_no_fork_that_is_open(data_dir: Path) -> None:
    """Nothing of it is looked up by name again."""
    memory = MemoryEngine(data_dir)
    check_whole(memory, CHILD, 12)
    link = next(iter(data_dir.glob(f"*/{CHILD.video}.*.base0")))
    link.rename(link.with_name("aside"))
    link.symlink_to(link)
    check_whole(memory, CHILD, 12)
    memory.close()


@pytest.mark.parametrize("key", [PARENT, CHILD])
def test_a_file_that_is_cut_while_its_frames_are_fetched_is_data_loss(data_dir: Path, key: VideoKey) -> None:
    """Frames are verified one by one as their reader takes them: minutes may lie between."""
    memory = MemoryEngine(data_dir)
    frames = memory.fetch_stored([handle(memory, frame, key) for frame in range(6)])
    frames[0].verified("handles[0]")
    memory.close()
    os.truncate(reel(data_dir, PARENT), 300)
    with pytest.raises(DataLoss, match="was cut to 300 bytes"):
        frames[5].verified("handles[5]")


@pytest.mark.parametrize("key", [PARENT, CHILD])
def test_a_file_that_is_cut_while_it_is_exported_is_data_loss(data_dir: Path, key: VideoKey) -> None:
    memory = MemoryEngine(data_dir)
    memory.append(key, block(12, 1, preview=[bytes(3 << 20)]))
    memory.append(key, block(13))
    chunks = memory.export_video(key)
    next(chunks)
    for path in data_dir.glob("*/*.reel"):
        os.truncate(path, 300)
    with pytest.raises(DataLoss, match="was cut to 300 bytes"):
        list(chunks)
    with pytest.raises(DataLoss):
        memory.get_video(key)
    memory.close()


def test_a_fork_of_damaged_frames_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    memory = MemoryEngine(tmp_path / "data")
    memory.create_video(PARENT, SPEC)
    memory.append(PARENT, block(0), sync=True)
    before = memory.info().num_bytes
    reel = tmp_path / "data" / PARENT.pool / f"{PARENT.video}.reel"
    at = reel.read_bytes().index(bytes(block(0).parts["latent"][1]))
    flip(reel, at)
    with pytest.raises(DataLoss):
        memory.fork_video(PARENT, VideoKey(PARENT.pool, "fork"), length=3)
    assert [video.key for video in memory.list_videos(PARENT.pool)] == [PARENT]
    assert memory.get_pool(PARENT.pool).usage.num_videos == 1
    assert memory.info().num_bytes == before
    memory.close()
    assert [path.name for path in reel.parent.iterdir() if not path.name.startswith(".")] == [reel.name]
