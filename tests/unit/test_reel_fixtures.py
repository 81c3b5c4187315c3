"""Reels written by former versions stay readable, and this version writes what its number promises."""

import runpy
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from memory_service.engine import MemoryEngine
from memory_service.reel import FORMAT_VERSION
from memory_service.types import Handle, Parent, VideoInfo

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "reel"
VERSIONS = sorted(path.name for path in FIXTURES.iterdir())
LENGTHS = {"empty": 0, "full": 5, "torn": 6}
"""Videos that the fixtures of every version have."""


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
    for file in (*version.glob("*.reel"), *version.glob("*.base*")):
        shutil.copy(file, pool)
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
    assert {name: listed[name].state.length for name in LENGTHS} == LENGTHS
    for info in (listed[name] for name in LENGTHS):
        assert info.spec == made.SPEC
        assert (info.state.epoch, info.created_unix_ms) == (made.EPOCH, made.CREATED_UNIX_MS)
        assert memory.get_video(info.key).state.length == info.state.length
        assert_frames(memory, info, made)
    assert list(memory.retrievals(made.key("full"))) == [made.retrieval("full")]
    (recovery,) = (one for one in memory.recoveries if one.path.name == "torn.reel")
    assert recovery.frames_kept == 6
    memory.close()


def test_reels_are_written_on(data_dir: Path, made: SimpleNamespace) -> None:
    memory = MemoryEngine(data_dir)
    for name, length in LENGTHS.items():
        memory.append(made.key(name), made.frame_block(length, 2), epoch=made.EPOCH)
    memory.close()
    memory = MemoryEngine(data_dir)
    for name, length in LENGTHS.items():
        info = memory.get_video(made.key(name))
        assert info.state.length == length + 2
        assert_frames(memory, info, made)
    memory.close()


def test_reels_live_on(data_dir: Path, made: SimpleNamespace) -> None:
    """Whatever wrote a reel: it is forked, truncated, sealed, exported and imported."""
    memory = MemoryEngine(data_dir)
    copy, fork = made.key("copy"), made.key("of.full")
    info = memory.import_video(copy, memory.export_video(made.key("full")), expected=made.SPEC)
    assert_frames(memory, info, made)
    assert [replace(entry, key=made.key("full")) for entry in memory.retrievals(copy)] == [
        made.retrieval("full")
    ]
    memory.fork_video(made.key("full"), fork, length=3)
    memory.truncate_video(made.key("full"), 1)
    memory.append(fork, made.frame_block(3, 1))
    memory.seal_video(fork)
    memory.close()
    memory = MemoryEngine(data_dir)
    assert memory.get_video(made.key("full")).state.length == 1
    assert memory.get_video(fork).sealed
    assert_frames(memory, memory.get_video(fork), made)
    memory.close()


class TestVersion2:
    """What came with version 2."""

    @pytest.fixture
    def version(self) -> Path:
        return FIXTURES / "v2"

    @pytest.mark.parametrize(("name", "length"), [("rich", 6), ("fork", 7)])
    def test_frames_with_everything(
        self, data_dir: Path, made: SimpleNamespace, name: str, length: int
    ) -> None:
        memory = MemoryEngine(data_dir)
        (listed,) = (info for info in memory.list_videos("fixtures") if info.key.video == name)
        info = memory.get_video(made.key(name))
        assert info == listed
        assert (info.spec, info.state.length, info.sealed) == (made.RICH, length, name == "fork")
        starts = {0: 0, 1: 0, 2: 2, 3: 2, 4: 2, 5: 5, 6: 5}
        epochs = {"rich": {0: made.EPOCH}, "fork": dict.fromkeys(starts, made.FORK_EPOCH)}[name]
        for frame in range(length):
            block = made.frame_block(starts[frame], 3, rich=True)
            (got,) = memory.fetch([Handle(info.key, epochs.get(starts[frame], made.NEXT_EPOCH), frame)])
            row = frame - starts[frame]
            np.testing.assert_array_equal(got.embedding, block.embeddings[row])
            assert {kind: bytes(rows) for kind, rows in got.named.items()} == {
                kind: rows[row].tobytes() for kind, rows in block.named.items()
            }
            assert bytes(got.parts["latent"]) == block.parts["latent"][row]
            assert (got.metadata, got.unix_ms) == (block.metadata, block.unix_ms)
        memory.close()

    def test_a_fork_knows_its_parent(self, data_dir: Path, made: SimpleNamespace) -> None:
        memory = MemoryEngine(data_dir)
        parent = Parent(made.key("rich"), made.NEXT_EPOCH, 5)
        assert memory.get_video(made.key("fork")).parent == parent
        memory.drop_video(made.key("rich"))
        assert memory.get_video(made.key("fork")).state.length == 7
        memory.close()

    def test_exports_are_written_and_read(self, data_dir: Path, version: Path, made: SimpleNamespace) -> None:
        memory = MemoryEngine(data_dir)
        export = (version / "export").read_bytes()
        assert b"".join(memory.export_video(made.key("fork"))) == export
        assert memory.import_video(made.key("copy"), [export], expected=made.RICH).sealed
        memory.close()


def test_the_current_version_is_written_byte_for_byte(tmp_path: Path) -> None:
    folder = FIXTURES / f"v{FORMAT_VERSION}"
    runpy.run_path(str(folder / "make.py"))["make"](tmp_path)
    made = {path.name for path in folder.iterdir()} - {"make.py", "__pycache__"}
    assert {path.name for path in tmp_path.iterdir()} == made
    for name in made:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name
