"""What `verify` costs, and that it changes nothing."""

import tracemalloc
from pathlib import Path

import pytest
from samples import ALL, KEY, SPEC, block

from memory_service.engine import MemoryEngine
from memory_service.store.findings import Class
from memory_service.store.scan import open_regular
from memory_service.types import Query, VideoKey
from memory_service.verify import verify


def make(data_dir: Path, blocks: int, videos: int = 1) -> Path:
    memory = MemoryEngine(data_dir, durability="none")
    for number in range(videos):
        key = VideoKey(KEY.pool, f"video-{number}")
        memory.create_video(key, SPEC)
        for start in range(0, 3 * blocks, 3):
            memory.append(key, block(start))
            memory.search(key, [Query(1, ALL, frame=start)])
    memory.close()
    return data_dir


def peak_bytes(data_dir: Path) -> int:
    verify(data_dir)  # caches of the modules are filled
    tracemalloc.start()
    try:
        assert verify(data_dir).findings == ()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_what_is_verified(tmp_path: Path) -> None:
    small, long, many = (
        peak_bytes(make(tmp_path / name, blocks, videos))
        for name, blocks, videos in (("small", 10, 1), ("long", 600, 1), ("many", 10, 60))
    )
    assert max(long, many) < 1.5 * small + 50_000


def test_nothing_is_changed_or_locked(tmp_path: Path) -> None:
    data_dir = make(tmp_path / "data", 3)
    (data_dir / KEY.pool / f".{'0' * 32}.new").write_bytes(b"left")
    with (data_dir / KEY.pool / "video-0.reel").open("ab") as file:
        file.write(b"torn")
    before = {path: path.read_bytes() for path in data_dir.rglob("*") if path.is_file()}
    report = verify(data_dir)
    assert [finding.kind for finding in report.findings] == [Class.ORPHAN, Class.TORN_TAIL]
    assert report.clean
    assert {path: path.read_bytes() for path in data_dir.rglob("*") if path.is_file()} == before
    MemoryEngine(data_dir).close()


def test_an_empty_directory_is_clean(tmp_path: Path) -> None:
    report = verify(tmp_path)
    assert (report.videos, report.frames, report.bytes, report.findings) == (0, 0, 0, ())


def test_a_video_that_is_dropped_meanwhile_is_no_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = make(tmp_path / "data", 1, videos=3)

    def dropped(path: Path, flags: int) -> int:
        path.unlink(missing_ok=True)
        return open_regular(path, flags)

    monkeypatch.setattr("memory_service.verify.open_regular", dropped)
    assert verify(data_dir).findings == ()
