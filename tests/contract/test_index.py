"""What every index plug-in does, judged against one-vector-at-a-time arithmetic in float64."""

from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points

import numpy as np
import pytest
from samples import oracle

from memory_service.errors import InvalidArgument
from memory_service.index.base import GROUP, Candidates, Index, Probe, load_index
from memory_service.select import Ranked, coarse_error, top_k
from memory_service.types import Embeddings, Span, VideoKey

INDEXES = sorted(point.name for point in entry_points(group=GROUP))
ONE, TWO = VideoKey("p", "one"), VideoKey("p", "two")


@pytest.fixture(params=INDEXES)
def index(request: pytest.FixtureRequest) -> Index:
    return load_index(request.param)


def rows(n: int, dim: int, seed: int = 0) -> Embeddings:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def drifting(n: int, dim: int, step: float, seed: int = 0) -> Embeddings:
    """Frames of one slow scene: neighbours differ by about `step`, below float32's errors if it is tiny."""
    base = rows(1, dim, seed)
    return (base + step * rows(n, dim, seed + 1).cumsum(axis=0)).astype(np.float32)


def cosine(row: Embeddings, query: Embeddings) -> float:
    (score,) = oracle(row[None], query, 1, Span(0, 1))[1]
    return score


def search_one(index: Index, query: Embeddings, k: int, span: Span, key: VideoKey = ONE) -> Candidates:
    (found,) = index.search([Probe(key, query, k, span)])
    return found


def rank_one(index: Index, history: Embeddings, query: Embeddings, k: int, span: Span) -> Ranked:
    def gather(frames: list[int]) -> Embeddings:
        return history[frames]

    (ranked,) = top_k(index, [Probe(ONE, query, k, span)], gather)
    return ranked


def test_both_exact_indexes_are_known() -> None:
    assert {"flat", "faiss-flat"} <= set(INDEXES)


def test_unknown_index_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidArgument) as error:
        load_index("annoy")
    assert "faiss-flat" in error.value.expected
    assert "flat" in error.value.expected


def test_an_index_says_what_it_is(index: Index, request: pytest.FixtureRequest) -> None:
    assert index.name == request.node.callspec.params["index"]
    assert isinstance(index.exact, bool)


@pytest.mark.parametrize(("n", "dim"), [(1, 1), (7, 3), (300, 64), (480, 1024)])
def test_candidates_are_the_best_up_to_rounding(index: Index, n: int, dim: int) -> None:
    history, query = rows(n, dim), rows(1, dim, 9)[0]
    index.add(ONE, history)
    error = coarse_error(dim)
    true = np.array([cosine(row, query) for row in history])
    for k, span in [(1, Span(0, n)), (6, Span(0, n)), (n + 5, Span(0, n)), (3, Span(n // 3, n // 2 + 1))]:
        found = search_one(index, query, min(k, len(span)), span)
        assert found.frames.dtype == np.int64
        assert found.scores.dtype == np.float32
        assert len(set(found.frames.tolist())) == len(found.frames) == len(found.scores)
        assert ((found.frames >= span.start) & (found.frames < span.stop)).all()
        assert (np.abs(found.scores - true[found.frames]) <= error).all()
        if index.exact:
            assert len(found.frames) == min(k, len(span))
            kth = np.sort(true[span.start : span.stop])[-len(found.frames)]
            assert (true[found.frames] >= kth - 2 * error).all()


@pytest.mark.parametrize(
    "history",
    [
        rows(200, 8),
        rows(480, 1024),
        drifting(200, 256, 1e-2),
        drifting(200, 1024, 1e-6),
        drifting(100, 16, 1e-9),
        np.repeat(rows(40, 32), 5, axis=0),
        rows(300, 2).round(),
        rows(60, 12) * np.float32(1e30),
        rows(60, 12) * np.float32(1e-37),
    ],
    ids=["small", "full", "slow", "slower", "still", "repeated", "coarse", "huge", "tiny"],
)
def test_exact_indexes_rank_as_the_oracle(index: Index, history: Embeddings) -> None:
    if not index.exact:
        pytest.skip("judged by recall")
    history = history[history.any(axis=1)]
    index.add(ONE, history)
    n = len(history)
    for query in (history[n // 2], rows(1, history.shape[1], 5)[0]):
        for k, span in [(1, Span(0, n)), (6, Span(1, n - 4)), (37, Span(n // 4, n)), (n, Span(0, n))]:
            ranked = rank_one(index, history, query, k, span)
            assert (ranked.frames, ranked.scores) == oracle(history, query, k, span)


def test_adding_in_pieces_is_adding_at_once(index: Index) -> None:
    history, query = rows(130, 16), rows(1, 16, 3)[0]
    start = 0
    for n in (1, 3, 60, 5, 61):
        index.add(ONE, history[start : start + n])
        start += n
    index.add(TWO, history)
    pieces = search_one(index, query, 20, Span(0, 130))
    whole = search_one(index, query, 20, Span(0, 130), TWO)
    np.testing.assert_array_equal(pieces.frames, whole.frames)


def test_the_callers_array_is_not_kept(index: Index) -> None:
    history, query = rows(20, 16), rows(1, 16, 3)[0]
    mine = history.copy()
    index.add(ONE, mine)
    mine[:] = 1
    assert rank_one(index, history, query, 3, Span(0, 20)).frames == oracle(history, query, 3, Span(0, 20))[0]


def test_partitions_are_apart(index: Index) -> None:
    one, two, query = rows(30, 16, 1), rows(10, 16, 2), rows(1, 16, 3)[0]
    index.add(ONE, one[:20])
    index.add(TWO, two)
    index.add(ONE, one[20:])
    for key, history in ((ONE, one), (TWO, two)):
        found = search_one(index, query, 1, Span(0, len(history)), key)
        assert tuple(found.frames) == oracle(history, query, 1, Span(0, len(history)))[0]


def test_a_batch_spans_partitions_and_keeps_its_order(index: Index) -> None:
    one, two = rows(30, 16, 1), rows(10, 4, 2)
    index.add(ONE, one)
    index.add(TWO, two)
    found = index.search(
        [
            Probe(TWO, two[3], 1, Span(0, 10)),
            Probe(ONE, one[29], 1, Span(5, 30)),
            Probe(ONE, one[7], 1, Span(7, 8)),
        ]
    )
    assert [candidates.frames[0] for candidates in found] == [3, 29, 7]
    assert index.search([]) == []


def test_truncated_frames_are_gone_and_replaced(index: Index) -> None:
    history, query = rows(40, 16), rows(1, 16, 3)[0]
    index.add(ONE, history)
    index.truncate(ONE, 25)
    index.truncate(ONE, 25)
    changed = np.concatenate([history[:25], rows(9, 16, 8)])
    index.add(ONE, changed[25:])
    ranked = rank_one(index, changed, query, 6, Span(0, 34))
    assert ranked.frames == oracle(changed, query, 6, Span(0, 34))[0]
    index.truncate(ONE, 0)
    index.add(ONE, changed[:1])
    assert search_one(index, query, 1, Span(0, 1)).frames.tolist() == [0]


def test_a_dropped_partition_starts_again(index: Index) -> None:
    index.add(ONE, rows(40, 16))
    index.drop(ONE)
    index.drop(ONE)
    index.truncate(ONE, 0)
    again = rows(5, 7)
    index.add(ONE, again)
    assert search_one(index, again[4], 1, Span(0, 5)).frames.tolist() == [4]


def test_equal_spans_of_one_partition_are_answered_apart(index: Index) -> None:
    history, queries = rows(300, 48), rows(40, 48, 5)
    index.add(ONE, history)
    spans = [Span(0, 300), Span(10, 200), Span(10, 200), Span(299, 300)]
    probes = [Probe(ONE, query, 1 + i % 7, spans[i % 4]) for i, query in enumerate(queries)]
    for probe, found in zip(probes, index.search(probes), strict=True):
        (alone,) = index.search([probe])
        assert found.frames.tolist() == alone.frames.tolist()
        assert np.abs(found.scores - alone.scores).max() <= 2 * coarse_error(48)


def test_the_bytes_of_a_partition_are_those_of_its_rows(index: Index) -> None:
    assert index.num_bytes(ONE) == 0
    for _ in range(160):
        index.add(ONE, rows(3, 1024))
    assert 480 * 4096 <= index.num_bytes(ONE) <= 480 * 4608
    index.truncate(ONE, 30)
    assert 30 * 4096 <= index.num_bytes(ONE) <= 30 * 4608
    assert index.num_bytes(TWO) == 0
    index.drop(ONE)
    assert index.num_bytes(ONE) == 0


def test_partitions_are_used_by_threads_at_once(index: Index) -> None:
    history = rows(90, 64)

    def live(number: int) -> bool:
        key = VideoKey("threads", str(number))
        for start in range(0, 90, 3):
            index.add(key, history[start : start + 3])
            found = search_one(index, history[start], 1, Span(0, start + 3), key)
            if found.frames.tolist() != [start]:
                return False
        index.drop(key)
        return True

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(live, range(16)))
