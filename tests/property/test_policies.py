"""Policies over any history choose what the obvious loop over all candidates chooses."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from samples import KEY, select_slowly

from memory_service.index.base import Candidates, Index, Probe, load_index
from memory_service.index.flat import FlatIndex
from memory_service.search.candidates import CandidateSet, estimated
from memory_service.search.fusion import fused
from memory_service.search.policy import Apart, Choice, best_apart, best_unlike
from memory_service.select import MAX_RUNNERS_UP, coarse_error, cosines
from memory_service.types import Embeddings, Span

INDEXES = ["flat", "faiss-flat", "rough"]
VALUES = st.floats(-4, 4, width=32).map(lambda x: round(x, 1))
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _some_of(numbers: set[int]) -> st.SearchStrategy[set[int]]:
    return st.sets(st.sampled_from(sorted(numbers))) if numbers else st.just(numbers)


class RoughIndex(FlatIndex):
    """An exact index whose scores are off by up to as much as they may be."""

    def search(self, probes: Sequence[Probe]) -> list[Candidates]:
        return [
            self._blurred(found, probe) for probe, found in zip(probes, super().search(probes), strict=True)
        ]

    @staticmethod
    def _blurred(found: Candidates, probe: Probe) -> Candidates:
        noise = np.random.default_rng(len(found.frames)).uniform(-0.9, 0.9, len(found.frames))
        scores = (found.scores + noise * coarse_error(len(probe.query))).astype(np.float32)
        order = np.argsort(-scores, kind="stable")
        return Candidates(found.frames[order], scores[order])


class Case:
    """A history, some candidates in it and a query, with exact scores and a pairwise cosine of candidates."""

    def __init__(self, name: str, history: Embeddings, data: st.DataObject) -> None:
        index: Index = RoughIndex() if name == "rough" else load_index(name)
        index.add(KEY, history)
        n = len(history)
        span = Span(data.draw(st.integers(0, n // 3)), n - data.draw(st.integers(0, n // 3)))
        everything = st.just(set(range(span.start, span.stop)))
        picked = data.draw(everything | everything.flatmap(_some_of))
        self.history = history
        self.frames = np.array(sorted(picked), np.int64)
        self.vector = history[data.draw(st.integers(0, n - 1))]
        self.weights = data.draw(st.sampled_from([[1.0], [1.0, 0.5], [-1.0], [0.25, -1.0, 0.0]]))
        self.set = CandidateSet(index, KEY, span, self.frames, lambda frames: history[list(frames)])
        terms = [cosines(history[self.frames][:, ::-1].copy(), self.vector) for _ in self.weights[1:]]
        self.scores = estimated(self.set, self.vector, self.weights, terms)
        self.exact: list[float] = fused(
            [cosines(history[self.frames], self.vector), *terms], self.weights
        ).tolist()

    def cosine(self, one: int, other: int) -> float:
        rows = self.history[self.frames[[one]]]
        return float(cosines(rows, self.history[self.frames[other]])[0])

    @property
    def places(self) -> list[tuple[object, int]]:
        return [("video", frame) for frame in self.frames.tolist()]

    def check(self, choice: Choice, expected: list[int]) -> None:
        assert [number for number, _ in choice.chosen] == expected
        assert [score for _, score in choice.chosen] == [self.exact[number] for number in expected]
        rest = [n for n in range(len(self.frames)) if n not in expected]
        rest.sort(key=lambda n: (-self.exact[n], n))
        assert choice.runners_up == [(n, self.exact[n]) for n in rest[:MAX_RUNNERS_UP]]


@st.composite
def histories(draw: Callable[..., Embeddings]) -> Embeddings:
    """float32 [n, D] without zero rows, many of them alike."""
    dim = draw(st.integers(1, 12))
    pool = draw(hnp.arrays(np.float32, (draw(st.integers(1, 8)), dim), elements=VALUES))
    pool = pool[pool.any(axis=1)]
    if not len(pool):
        pool = np.ones((1, dim), np.float32)
    picks = draw(st.lists(st.integers(0, len(pool) - 1), min_size=1, max_size=30))
    scales = draw(hnp.arrays(np.float32, len(picks), elements=st.sampled_from([1, 1, 0.5, -1, 1.0000001])))
    return (pool[picks] * scales[:, None]).astype(np.float32)


@pytest.mark.parametrize("name", INDEXES)
@given(history=histories(), data=st.data())
@SETTINGS
def test_frames_apart_are_those_of_the_obvious_loop(
    name: str, history: Embeddings, data: st.DataObject
) -> None:
    case = Case(name, history, data)
    k, gap = data.draw(st.integers(1, 12)), data.draw(st.sampled_from([0, 1, 2, 3, 7]))
    min_score = data.draw(st.sampled_from([None, None, -0.5, *case.exact[:3]]))
    choice = best_apart(
        case.scores, case.frames, k, min_gap=gap, min_score=-np.inf if min_score is None else min_score
    )
    case.check(
        choice,
        select_slowly(case.exact, case.places, case.cosine, k, min_gap=gap, min_score=min_score),
    )


@pytest.mark.parametrize("name", INDEXES)
@given(history=histories(), data=st.data())
@SETTINGS
def test_unlike_frames_are_those_of_the_obvious_loop(
    name: str, history: Embeddings, data: st.DataObject
) -> None:
    case = Case(name, history, data)
    k, gap = data.draw(st.integers(1, 12)), data.draw(st.integers(0, 4))
    min_score = data.draw(st.sampled_from([None, None, -0.5, *case.exact[:3]]))
    mmr_lambda = data.draw(st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]) | st.floats(0, 1, width=32))

    choice = best_unlike(
        case.scores,
        case.set,
        k,
        mmr_lambda=mmr_lambda,
        apart=Apart([0] * len(case.frames), case.frames, gap),
        min_score=-np.inf if min_score is None else min_score,
    )
    expected = select_slowly(
        case.exact,
        case.places,
        case.cosine,
        k,
        min_gap=gap,
        min_score=min_score,
        mmr_lambda=mmr_lambda,
    )
    case.check(choice, expected)
