"""Reels written by former versions stay readable, and this version writes what its number promises."""

import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from memory_service.engine import MemoryEngine
from memory_service.reel import FORMAT_VERSION
from memory_service.types import Handle, VideoInfo

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "reel"
VERSIONS = sorted(path.name for path in FIXTURES.iterdir())


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> Path:
    return FIXTURES / str(request.param)


@pytest.fixture
def made(version: Path) -> SimpleNamespace:
    """The names of a version's generator script."""
    return SimpleNamespace(**runpy.run_path(str(version / "make.py")))


@pytest.fixture
def data_dir(version: Path, tmp_path: Path) -> Path:
    pool = tmp_path / "data" / "fixtures"
    pool.mkdir(parents=True)
    for reel in version.glob("*.reel"):
        shutil.copy(reel, pool)
    return pool.parent


def assert_frames(memory: MemoryEngine, info: VideoInfo, made: SimpleNamespace) -> None:
    handles = [Handle(info.key, info.state.epoch, frame) for frame in range(info.state.length)]
    for frame, got in enumerate(memory.fetch(handles)):
        expected = made.frame_block(frame, 1, preview="preview" in got.parts)
        np.testing.assert_array_equal(got.embedding, expected.embeddings[0])
        assert {name: bytes(data) for name, data in got.parts.items()} == {
            name: payloads[0] for name, payloads in expected.parts.items()
        }


def test_every_version_has_fixtures() -> None:
    assert [f"v{number}" for number in range(1, FORMAT_VERSION + 1)] == VERSIONS


def test_reels_are_read(data_dir: Path, made: SimpleNamespace) -> None:
    memory = MemoryEngine(data_dir)
    listed = {info.key.video: info for info in memory.list_videos("fixtures")}
    assert {name: info.state.length for name, info in listed.items()} == {"empty": 0, "full": 5, "torn": 6}
    for info in listed.values():
        assert info.spec == made.SPEC
        assert (info.state.epoch, info.created_unix_ms) == (made.EPOCH, made.CREATED_UNIX_MS)
        assert memory.get_video(info.key).state.length == info.state.length
        assert_frames(memory, info, made)
    assert list(memory.retrievals(made.key("full"))) == [made.retrieval("full")]
    (recovery,) = memory.recoveries
    assert (recovery.path.name, recovery.frames_kept) == ("torn.reel", 6)
    memory.close()


def test_reels_are_written_on(data_dir: Path, made: SimpleNamespace) -> None:
    memory = MemoryEngine(data_dir)
    for name, length in (("empty", 0), ("full", 5), ("torn", 6)):
        memory.append(made.key(name), made.frame_block(length, 2), epoch=made.EPOCH)
    memory.close()
    memory = MemoryEngine(data_dir)
    for name, length in (("empty", 2), ("full", 7), ("torn", 8)):
        info = memory.get_video(made.key(name))
        assert info.state.length == length
        assert_frames(memory, info, made)
    memory.close()


def test_the_current_version_is_written_byte_for_byte(tmp_path: Path) -> None:
    folder = FIXTURES / f"v{FORMAT_VERSION}"
    runpy.run_path(str(folder / "make.py"))["make"](tmp_path)
    for reel in sorted(folder.glob("*.reel")):
        assert (tmp_path / reel.name).read_bytes() == reel.read_bytes(), reel.name
