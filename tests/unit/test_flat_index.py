"""The matrix behind the flat index: what it holds while it grows, and what it gives back."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import samples
from samples import ALL

from memory_service.engine import MemoryEngine
from memory_service.errors import Unavailable
from memory_service.index.base import Probe
from memory_service.index.flat import FlatIndex, _Matrix
from memory_service.types import LATENT, Block, Embeddings, Query, Span, VideoKey, VideoSpec

KEY = VideoKey("p", "v")


def rows(n: int, dim: int, seed: int = 0) -> Embeddings:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def anonymous_bytes() -> int:
    """Anonymous memory of this process that is resident now."""
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


@pytest.mark.parametrize("dim", [1, 3, 1000, 1024, 65_536])
def test_rows_stay_as_they_were_while_the_matrix_grows(dim: int) -> None:
    matrix, history = _Matrix(dim), rows(200, dim)
    for start in range(0, 200, 7):
        matrix.extend(history[start : start + 7])
        np.testing.assert_array_equal(matrix.rows, history[: start + 7])
    matrix.truncate(50)
    matrix.extend(history[150:])
    np.testing.assert_array_equal(matrix.rows, np.concatenate([history[:50], history[150:]]))


@contextmanager
def no_more_addresses(spare_bytes: int) -> Iterator[None]:
    """The kernel gives this process hardly more: mmap and mremap fail with ENOMEM."""
    lines = Path(f"/proc/{os.getpid()}/status").read_text().splitlines()
    used = next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmSize"))
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + spare_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def extended(matrix: _Matrix, history: Embeddings, start: int) -> int:
    """Extend the matrix as far as memory goes, and return how far that was."""
    for stop in range(start + 64, len(history) + 1, 64):
        try:
            matrix.extend(history[stop - 64 : stop])
        except (OSError, MemoryError):
            return stop - 64
    raise AssertionError("memory for all of it")


@pytest.mark.parametrize("viewed", [False, True], ids=["moved", "copied"])
def test_a_matrix_that_cannot_grow_stays_as_it_was(viewed: bool) -> None:
    dim, matrix = 1024, _Matrix(1024)
    history = rows(3 * 4096, dim)
    matrix.extend(history[:4096])
    matrix.extend(history[4096:8192])
    held = matrix.rows if viewed else None
    with no_more_addresses(8 << 20):
        kept = extended(matrix, history, 8192)
    assert matrix.length == kept
    assert 8192 <= kept < len(history)
    np.testing.assert_array_equal(matrix.rows, history[:kept])
    del held
    matrix.extend(history[kept:])
    np.testing.assert_array_equal(matrix.rows, history)


def test_an_append_without_memory_for_the_index_changes_nothing(tmp_path: Path) -> None:
    """At the first block for which the index must grow, and again when there is memory."""
    video, large = samples.KEY, VideoSpec(1024, "float32", (1,), "test")
    memory = MemoryEngine(tmp_path / "data")
    memory.create_video(video, large)
    history = rows(9000, 1024)

    def append(start: int) -> None:
        some = history[start : start + 3]
        memory.append(video, Block(start, some, {LATENT: [bytes(4)] * len(some)}))

    for start in range(0, 6000, 3):
        append(start)
    failed = None
    with no_more_addresses(4 << 20):
        for start in range(6000, 9000, 3):
            try:
                append(start)
            except Unavailable as exc:
                failed = start, exc
                break
    assert failed is not None
    start, error = failed
    assert "index" in error.message
    assert "memory" in error.expected
    assert memory.get_video(video).state.length == start
    for later in range(start, 9000, 3):
        append(later)
    for frame in (0, 5999, start, 8999):
        (hits,) = memory.search(video, [Query(1, ALL, embedding=history[frame])], log=False).hits
        assert hits[0].handle.frame == frame
    memory.close()


def test_a_view_that_lives_on_does_not_stop_growth() -> None:
    matrix, history = _Matrix(1024), rows(2000, 1024)
    matrix.extend(history[:40])
    held = matrix.rows
    matrix.extend(history[40:])
    np.testing.assert_array_equal(matrix.rows, history)
    np.testing.assert_array_equal(held, history[:40])


def test_a_frame_takes_little_more_than_its_row() -> None:
    index, block = FlatIndex(), rows(3, 1024)
    index.add(VideoKey("p", "warm"), block)
    before, most = anonymous_bytes(), 0
    for _ in range(4000):
        index.add(KEY, block)
        most = max(most, anonymous_bytes() - before)
    assert index.num_bytes(KEY) >= 12_000 * 4096
    assert most <= 12_000 * 4608
    index.truncate(KEY, 100)
    assert anonymous_bytes() - before <= 4 << 20
    index.drop(KEY)
    assert index.num_bytes(KEY) == 0


def test_many_small_partitions_take_pages_not_reserves() -> None:
    index, block = FlatIndex(), rows(8, 1024)
    before = anonymous_bytes()
    keys = [VideoKey("p", str(i)) for i in range(500)]
    for key in keys:
        index.add(key, block)
    assert anonymous_bytes() - before <= 500 * 8 * 4608 + (1 << 20)
    for key in keys:
        index.drop(key)
    assert anonymous_bytes() - before <= 2 << 20


def test_a_batch_that_exceeds_one_product_is_answered_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memory_service.index.flat._MAX_PRODUCT_BYTES", 4 * 100 * 3)
    index, history, queries = FlatIndex(), rows(100, 16), rows(10, 16, 1)
    index.add(KEY, history)
    found = index.search([Probe(KEY, query, 5, Span(0, 100)) for query in queries])
    for query, one in zip(queries, found, strict=True):
        (alone,) = index.search([Probe(KEY, query, 5, Span(0, 100))])
        assert one.frames.tolist() == alone.frames.tolist()
