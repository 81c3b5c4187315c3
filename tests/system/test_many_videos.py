"""A server on very many videos that nobody uses: it starts at once, and they cost it nothing."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from samples import SPEC, assert_frames, block
from serving import ServerProcess

from memory_service.client import MemoryClient
from memory_service.engine import MemoryEngine
from memory_service.reel import Body, Kind, decode_prefix, decode_record, encode
from memory_service.types import PoolSpec, VideoKey

SHORT, LONG = 8, 480
COUNTS = {SHORT: 100_000, LONG: 1_000}


def key(frames: int, number: int) -> VideoKey:
    return VideoKey(f"of-{frames}", f"{number:06}")


def lay_out(data_dir: Path, frames: int, count: int) -> None:
    """Videos of equal frames: one made by an engine, the others its copies under names of equal length."""
    engine = MemoryEngine(data_dir, commit_interval_s=3600)
    engine.create_video(key(frames, 0), SPEC)
    for start in range(0, frames, 4):
        engine.append(key(frames, 0), block(start, 4))
    engine.close()
    folder = data_dir / key(frames, 0).pool
    reel = (folder / f"{key(frames, 0).video}.reel").read_bytes()
    prefix = decode_prefix(reel, 0)
    assert prefix is not None
    header = decode_record(reel, 0, prefix).header
    for number in range(1, count):
        named = {**header, "video": key(frames, number).video}
        _, buffers = encode(Kind.VIDEO, named, Body(), sequence=0, epoch=prefix.epoch, durable=0)
        head = b"".join(buffers)
        assert len(head) == prefix.record_bytes
        (folder / f"{key(frames, number).video}.reel").write_bytes(head + reel[len(head) :])


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "data"
    shutil.rmtree(tmp_path / "data")


def resident_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


@pytest.mark.slow
def test_a_hundred_thousand_videos_wait_without_memory(data_dir: Path) -> None:
    for frames, count in COUNTS.items():
        lay_out(data_dir, frames, count)
    started = time.monotonic()
    with ServerProcess(data_dir) as server, MemoryClient(server.address, timeout_s=60) as memory:
        info = memory.info()
        start_s = time.monotonic() - started
        assert (info.num_videos, info.hot_videos) == (sum(COUNTS.values()), 0)
        assert info.num_bytes == sum(path.stat().st_size for path in data_dir.glob("*/*.reel"))
        assert start_s < 15
        pages = [memory.list_videos("of-8", after=f"{number:06}", limit=50) for number in (10, 99_900)]
        assert [page[0].key.video for page in pages] == ["000011", "099901"]
        assert all(video.state.length == SHORT for page in pages for video in page)
        missing = VideoKey("of-8", "none")
        keys = [key(SHORT, number) for number in range(1000)]
        assert list(memory.heartbeat([*keys, missing])) == [missing]
        assert memory.info().hot_videos == 0
        assert resident_bytes(server.pid) < 300 << 20
        for frames in COUNTS:
            assert_frames(memory, 0, frames, key(frames, COUNTS[frames] - 1))
        memory.update_pool("of-8", PoolSpec(max_videos=1))
        memory.drop_pool("of-8", with_videos=True)
        assert memory.info().num_videos == COUNTS[LONG]
        print(f"\nstarted in {start_s:.1f} s with {resident_bytes(server.pid) >> 20} MiB resident")
