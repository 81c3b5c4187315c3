"""A data directory of each version under this server: read, searched, written on, killed, verified."""

import contextlib
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from samples import ALL, oracle
from serving import ServerProcess

from memory_service.client import MemoryClient
from memory_service.crc32c import crc32c
from memory_service.errors import Unavailable
from memory_service.store.findings import Class
from memory_service.types import Query, VideoKey
from memory_service.verify import verify

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "reel"
LENGTHS = {"empty": 0, "full": 5, "torn": 6}
"""Videos that the fixtures of every version have; the last one ends in a torn tail."""


@pytest.fixture(params=sorted(path.name for path in FIXTURES.iterdir()))
def version(request: pytest.FixtureRequest) -> Path:
    return FIXTURES / str(request.param)


@pytest.fixture
def made(version: Path) -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(version / "make.py")))


@pytest.fixture
def data_dir(version: Path, tmp_path: Path) -> Path:
    pool = tmp_path / "data" / "fixtures"
    pool.mkdir(parents=True)
    for file in (*version.glob("*.reel"), *version.glob("*.base*")):
        shutil.copy(file, pool)
    return pool.parent


def check(memory: MemoryClient, made: SimpleNamespace, key: VideoKey, length: int) -> None:
    """All frames are found, with the scores of an exact search, and hold what the generator script wrote."""
    assert memory.get_video(key).state.length == length
    vector = np.array([0.5, -1.0, 0.25, 2.0], np.float32)
    (hits,) = memory.search(key, [Query(20, ALL, embedding=vector)], log=False).hits
    rows = made.frame_block(0, max(length, 1)).embeddings[:length]
    found = tuple(hit.handle.frame for hit in hits), tuple(hit.score for hit in hits)
    assert found == oracle(rows, vector, 20, ALL)
    for frame in memory.fetch([hit.handle for hit in hits]) if hits else ():
        expected = made.frame_block(frame.handle.frame, 1, preview="preview" in frame.parts)
        assert {name: bytes(data) for name, data in frame.parts.items()} == {
            name: bytes(payloads[0]) for name, payloads in expected.parts.items()
        }


@pytest.mark.usefixtures("impatient")
def test_a_server_takes_over_what_an_earlier_version_left(data_dir: Path, made: SimpleNamespace) -> None:
    before = verify(data_dir)
    assert {finding.kind for finding in before.findings} == {Class.TORN_TAIL}
    assert "torn" in {finding.video for finding in before.findings}
    lengths = dict(LENGTHS)
    for life in range(2):
        with ServerProcess(data_dir) as server:
            memory = MemoryClient(server.address)
            listed = {info.key.video: info.state.length for info in memory.list_videos("fixtures")}
            assert {name: listed[name] for name in LENGTHS} == lengths
            for name, length in lengths.items():
                key = made.key(name)
                check(memory, made, key, length)
                memory.append(key, made.frame_block(length, 3), sync=life == 0)
                memory.search(key, [Query(2, ALL, frame=0)])
                lengths[name] = length + 3
                check(memory, made, key, length + 3)
            server.kill()
            with contextlib.suppress(Unavailable):
                memory.close()
        assert "Traceback" not in server.log.read_text()
    with ServerProcess(data_dir) as server, MemoryClient(server.address) as memory:
        for info in memory.list_videos("fixtures"):
            handles = memory.search(info.key, [Query(50, ALL, embedding=np.ones(4, np.float32))], log=False)
            assert len(handles.hits[0]) == info.state.length
            memory.fetch([hit.handle for hit in handles.hits[0]])
        for name, length in lengths.items():
            check(memory, made, made.key(name), length)
    after = verify(data_dir)
    assert after.findings == ()
    assert after.videos == before.videos


def test_what_this_version_cannot_read_is_kept_and_told(data_dir: Path) -> None:
    """The other way round: a record of a version to come is neither cut nor taken for damage."""
    path = data_dir / "fixtures" / "full.reel"
    whole = bytearray(path.read_bytes())
    whole[4:6] = (99).to_bytes(2, "little")
    checksum = int(crc32c(bytes(whole[:60])))
    whole[60:64] = checksum.to_bytes(4, "little")
    path.write_bytes(whole)
    told = [finding for finding in verify(data_dir).findings if finding.video == "full"]
    assert [finding.kind for finding in told] == [Class.NEWER]
    assert not verify(data_dir).clean
    with ServerProcess(data_dir) as server, MemoryClient(server.address, timeout_s=1) as memory:
        with pytest.raises(Unavailable, match="version 99") as error:
            memory.get_video(VideoKey("fixtures", "full"))
        assert error.value.expected
    assert path.read_bytes() == whole
