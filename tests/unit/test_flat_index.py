"""The matrix behind the flat index: what it holds while it grows, and what it gives back."""

import os
from pathlib import Path

import numpy as np
import pytest

from memory_service.index.base import Probe
from memory_service.index.flat import FlatIndex, _Matrix
from memory_service.types import Embeddings, Span, VideoKey

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
