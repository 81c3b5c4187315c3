"""Views of a file that grows: always its bytes, from the map that had them first."""

from pathlib import Path

import numpy as np
import pytest

from memory_service import growing_map
from memory_service.growing_map import GrowingMap


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> bytes:
    monkeypatch.setattr(growing_map, "_OVERLAP_BYTES", 10_000)
    return np.random.default_rng(0).bytes(200_000)


def test_every_short_piece_is_found_and_right(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    mapped = GrowingMap()
    rng = np.random.default_rng(1)
    for size in (1, 4096, 30_000, 30_001, 120_000, 200_000):
        path.write_bytes(data[:size])
        with path.open("rb") as file:
            mapped.grow(file.fileno(), size)
        assert mapped.size == size
        for _ in range(200):
            length = int(rng.integers(0, min(size, 10_000) + 1))
            offset = int(rng.integers(0, size - length + 1))
            view = mapped.view(offset, length)
            assert view is not None
            assert view == data[offset : offset + length]


def test_what_no_segment_has_is_not_found(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    mapped = GrowingMap()
    assert mapped.view(0, 1) is None
    for size in (100_000, 200_000):
        path.write_bytes(data[:size])
        with path.open("rb") as file:
            mapped.grow(file.fileno(), size)
    assert mapped.view(199_999, 2) is None
    assert mapped.view(0, 150_000) is None
    assert mapped.view(0, 100_000) is not None


def test_old_pieces_stay_in_the_map_that_had_them(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    mapped = GrowingMap()
    path.write_bytes(data[:100_000])
    with path.open("rb") as file:
        mapped.grow(file.fileno(), 100_000)
        before = mapped.view(50_000, 10)
        path.write_bytes(data)
        mapped.grow(file.fileno(), 200_000)
    after = mapped.view(50_000, 10)
    assert before is not None
    assert after is not None
    assert after.obj is before.obj


def test_a_file_that_grows_for_ever_takes_few_descriptors(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    mapped = GrowingMap()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with path.open("w+b") as file:
        for size in range(1000, 100_001, 1000):
            file.write(data[size - 1000 : size])
            file.flush()
            mapped.grow(file.fileno(), size)
            view = mapped.view(size - 700, 600)
            assert view == data[size - 700 : size - 100]
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1 + growing_map._MAX_SEGMENTS
    assert mapped.view(100, 900) == data[100:1000]
