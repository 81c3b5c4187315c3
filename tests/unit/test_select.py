"""Ranking: scores that depend on nothing but two vectors, and the k best by them."""

import numpy as np
import pytest
from samples import oracle

from memory_service.index.base import Candidates, Probe
from memory_service.index.flat import FlatIndex
from memory_service.select import coarse_error, cosines, top_k
from memory_service.types import Embeddings, Span, VideoKey

KEY = VideoKey("p", "v")


def rows(n: int, dim: int, seed: int = 0) -> Embeddings:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


@pytest.mark.parametrize("dim", [1, 2, 7, 127, 128, 129, 1024, 4099])
def test_a_score_does_not_depend_on_the_other_rows(dim: int) -> None:
    history, query = rows(1100, dim), rows(1, dim, 1)[0]
    together = cosines(history, query)
    for row in (0, 1, 511, 512, 1099):
        for first in (row, max(0, row - 1), max(0, row - 600)):
            assert cosines(history[first : row + 1], query)[-1] == together[row]
        assert cosines(history[row : row + 3], query)[0] == together[row]


def test_scores_are_cosines_in_float64_rounded_once() -> None:
    history, query = rows(50, 1024), rows(1, 1024, 1)[0]
    _, scores = oracle(history, query, 50, Span(0, 50))
    assert sorted(cosines(history, query).tolist(), reverse=True) == list(scores)


def test_nothing_in_common_is_nothing() -> None:
    history = np.eye(300, 8, dtype=np.float32) + np.eye(300, 8, -8, dtype=np.float32)
    history[16:] = history[3]
    assert cosines(history, history[3]).tolist() == [float(i in (3, 11) or i >= 16) for i in range(300)]


def test_scores_stay_within_one() -> None:
    history = rows(200, 3)
    for row in history:
        scores = cosines(np.stack([row, -row, 3 * row]), row)
        assert scores.tolist() == [1.0, -1.0, 1.0]


def test_float32_cosines_stay_within_the_error_that_ranking_assumes() -> None:
    for dim in (1, 16, 1024, 8192):
        index, history, query = FlatIndex(), np.abs(rows(200, dim)), np.abs(rows(1, dim, 1)[0])
        index.add(KEY, history)
        (found,) = index.search([Probe(KEY, query, 200, Span(0, 200))])
        exact = cosines(history[found.frames], query).astype(np.float64)
        assert np.abs(found.scores - exact).max() <= coarse_error(dim)


class Stingy:
    """An exact index whose scores are off by as much as they may be, against the best frames."""

    name = "stingy"
    exact = True

    def __init__(self, history: Embeddings) -> None:
        self.history = history
        self.asked: list[int] = []

    def add(self, partition: VideoKey, embeddings: Embeddings) -> None: ...

    def truncate(self, partition: VideoKey, length: int) -> None: ...

    def drop(self, partition: VideoKey) -> None: ...

    def num_bytes(self, partition: VideoKey) -> int:
        return self.history.nbytes if partition == KEY else 0

    def search(self, probes: list[Probe]) -> list[Candidates]:
        (probe,) = probes
        self.asked.append(probe.k)
        start, stop = probe.eligible.start, probe.eligible.stop
        true = cosines(self.history[start:stop], probe.query)
        best = np.argsort(-true, kind="stable")[: len(true) // 2]
        error = np.float32(0.99 * coarse_error(self.history.shape[1]) / 2)
        scores = true + error
        scores[best] -= 2 * error
        order = np.argsort(-scores, kind="stable")[: probe.k]
        return [Candidates(order.astype(np.int64) + start, scores[order])]


def test_an_index_at_the_edge_of_its_error_changes_no_hit() -> None:
    base = rows(1, 64)
    history = (base + np.float32(1e-7) * rows(400, 64, 1)).astype(np.float32)
    index = Stingy(history)
    (ranked,) = top_k(index, [Probe(KEY, base[0], 5, Span(10, 390))], lambda frames: history[list(frames)])
    assert (ranked.frames, ranked.scores) == oracle(history, base[0], 5, Span(10, 390))
    assert len(index.asked) > 1


def test_separated_hits_take_one_search() -> None:
    history = rows(400, 64)
    index = Stingy(history)
    top_k(index, [Probe(KEY, history[3], 5, Span(0, 400))], lambda frames: history[list(frames)])
    assert len(index.asked) == 1


def test_an_approximate_index_is_asked_once() -> None:
    history = np.repeat(rows(1, 64), 100, axis=0)
    index = Stingy(history)
    index.exact = False
    (ranked,) = top_k(index, [Probe(KEY, history[0], 5, Span(0, 100))], lambda frames: history[list(frames)])
    assert len(index.asked) == 1
    assert len(ranked.frames) == 5
