"""A search is the oracle's, for any history, span, k and any number of equal or nearly equal vectors."""

import tempfile
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from samples import KEY, oracle

from memory_service.engine import MemoryEngine
from memory_service.index.base import Probe, load_index
from memory_service.select import top_k
from memory_service.types import Block, Embeddings, Query, Span, VideoSpec

INDEXES = ["flat", "faiss-flat"]
HUGE = float(np.float32(1e30))
VALUES = st.floats(-4, 4, width=32).map(lambda x: round(x, 1)) | st.floats(-HUGE, HUGE, width=32)


@st.composite
def histories(draw: Callable[..., Embeddings]) -> Embeddings:
    """float32 [n, D] without zero rows; rows repeat, exactly, scaled, or but for rounding."""
    dim = draw(st.integers(1, 24))
    pool = draw(hnp.arrays(np.float32, (draw(st.integers(1, 6)), dim), elements=VALUES))
    pool = pool[(np.abs(pool) > 1e-30).any(axis=1)]
    if not len(pool):
        pool = np.ones((1, dim), np.float32)
    picks = draw(st.lists(st.integers(0, len(pool) - 1), min_size=1, max_size=60))
    scales = draw(
        hnp.arrays(np.float32, len(picks), elements=st.sampled_from([1, 1, 1, 0.5, 3, -1, 1.0000001]))
    )
    return (pool[picks] * scales[:, None]).astype(np.float32)


@pytest.mark.parametrize("name", INDEXES)
@given(history=histories(), data=st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_ranking_is_the_oracles(name: str, history: Embeddings, data: st.DataObject) -> None:
    n = len(history)
    index = load_index(name)
    cuts = sorted(data.draw(st.sets(st.integers(1, n), max_size=4)) | {0, n})
    for start, stop in pairwise(cuts):
        index.add(KEY, history[start:stop])
    start = data.draw(st.integers(0, n))
    span = Span(start, data.draw(st.integers(start, n)))
    k = data.draw(st.integers(1, n + 3))
    query = history[data.draw(st.integers(0, n - 1))]
    (ranked,) = top_k(index, [Probe(KEY, query, k, span)], lambda frames: history[list(frames)])
    assert (ranked.frames, ranked.scores) == oracle(history, query, k, span)


@pytest.mark.parametrize("name", INDEXES)
@given(history=histories(), data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_searching_an_engine_is_the_oracles(name: str, history: Embeddings, data: st.DataObject) -> None:
    n = len(history)
    with tempfile.TemporaryDirectory() as data_dir:
        memory = MemoryEngine(data_dir, index=name)
        memory.create_video(KEY, VideoSpec(history.shape[1], "float16", (1,), "x"))
        memory.append(KEY, Block(0, history, {"latent": [b"ab"] * n}))
        start = data.draw(st.integers(0, n + 2))
        span = Span(start, data.draw(st.integers(start, n + 9)))
        frame = data.draw(st.integers(0, n - 1))
        k = data.draw(st.integers(1, 70))
        (hits,) = memory.search(KEY, [Query(k, span, frame=frame)]).hits
        memory.close()
    found = tuple(hit.handle.frame for hit in hits), tuple(hit.score for hit in hits)
    assert found == oracle(history, history[frame], k, span)
