"""What every memory does, written once against the `Memory` protocol: search, advance and their log."""

import dataclasses
import threading
import time

import numpy as np
import pytest
from samples import DIM, KEY, SPEC, block, embeddings, latents, oracle, query

from memory_service.errors import (
    AlreadyExists,
    Fenced,
    InvalidArgument,
    NotFound,
    OutOfOrder,
    ServiceError,
    TooLarge,
)
from memory_service.memory import Memory
from memory_service.types import Block, Embeddings, Found, Handle, Query, Span

LENGTH = 24


def frames_of(found: Found) -> list[tuple[int, ...]]:
    return [tuple(hit.handle.frame for hit in hits) for hits in found.hits]


def append_rows(memory: Memory, rows: Embeddings) -> None:
    """Append float32 [n, D] as one block at the end of KEY."""
    start = memory.get_video(KEY).state.length
    memory.append(KEY, Block(start, rows, {"latent": latents(start, len(rows))}))


@pytest.fixture
def empty(memory: Memory) -> Memory:
    memory.create_video(KEY, SPEC)
    return memory


@pytest.fixture
def video(empty: Memory) -> Memory:
    """A memory with LENGTH frames in video KEY."""
    for start in range(0, LENGTH, 3):
        empty.append(KEY, block(start))
    return empty


class TestSearch:
    @pytest.mark.parametrize("span", [Span(0, LENGTH), Span(5, 11), Span(23, 24), Span(20, 1 << 60)])
    @pytest.mark.parametrize("k", [1, 6, LENGTH, 4096])
    def test_hits_are_the_oracles(self, video: Memory, k: int, span: Span) -> None:
        found = video.search(KEY, [query(k, span, like=100)])
        frames, scores = oracle(embeddings(0, LENGTH), embeddings(100, 1)[0], k, span)
        assert frames_of(found) == [frames]
        assert tuple(hit.score for hit in found.hits[0]) == scores
        assert found.state.length == LENGTH
        assert {hit.handle for hit in found.hits[0]} == {
            Handle(KEY, found.state.epoch, frame) for frame in frames
        }

    def test_a_kept_frame_can_be_the_query(self, video: Memory) -> None:
        by_frame = video.search(KEY, [query(4, Span(0, 20), frame=7)])
        by_vector = video.search(KEY, [query(4, Span(0, 20), like=7)])
        assert by_frame.hits == by_vector.hits
        assert by_frame.hits[0][0].handle.frame == 7
        assert by_frame.hits[0][0].score == 1.0

    def test_queries_of_a_batch_are_answered_in_order(self, video: Memory) -> None:
        queries = [
            query(2, Span(0, 9), like=100),
            query(5, Span(4, 30), frame=3),
            query(1, Span(8, 8), like=101),
            query(30, Span(2, 22), like=102),
        ]
        batch = video.search(KEY, queries)
        assert list(batch.hits) == [video.search(KEY, [one]).hits[0] for one in queries]
        assert [len(hits) for hits in batch.hits] == [2, 5, 0, 20]

    def test_no_query_is_no_list(self, video: Memory) -> None:
        assert len(video.search(KEY, []).hits) == 0

    @pytest.mark.parametrize("span", [Span(0, 0), Span(7, 7), Span(LENGTH, 90), Span(1 << 40, 1 << 41)])
    def test_nothing_eligible_is_nothing_found(self, video: Memory, span: Span) -> None:
        assert frames_of(video.search(KEY, [query(3, span, like=0)])) == [()]

    def test_an_empty_video_has_no_hits(self, empty: Memory) -> None:
        assert frames_of(empty.search(KEY, [query(3, like=0)])) == [()]

    def test_equal_scores_come_older_first(self, empty: Memory) -> None:
        row = embeddings(0, 1)
        for scales in ([1, 1, 1], [-1, 1, 2], [0.5, 1, -3], [1, 4, 1]):
            append_rows(empty, row * np.array(scales, np.float32)[:, None])
        (hits,) = empty.search(KEY, [query(7, Span(1, 12), like=0)]).hits
        assert [hit.handle.frame for hit in hits] == [1, 2, 4, 5, 6, 7, 9]
        assert {hit.score for hit in hits} == {1.0}
        (hits,) = empty.search(KEY, [query(12, like=0)]).hits
        assert [hit.handle.frame for hit in hits[-2:]] == [3, 8]
        assert [hit.score for hit in hits[-2:]] == [-1.0, -1.0]

    @pytest.mark.parametrize("scale", [1e-38, 1e-20, 1e-3, 1e4, 1e20, 1e37])
    def test_norms_do_not_matter(self, empty: Memory, scale: float) -> None:
        rows = embeddings(0, 12)
        append_rows(empty, rows[:6] * np.float32(scale))
        append_rows(empty, rows[6:])
        found = empty.search(KEY, [query(12, like=50)])
        history = np.concatenate([rows[:6] * np.float32(scale), rows[6:]])
        frames, scores = oracle(history, embeddings(50, 1)[0], 12, Span(0, 12))
        assert frames_of(found) == [frames]
        assert tuple(hit.score for hit in found.hits[0]) == scores

    def test_a_search_sees_every_answered_append(self, empty: Memory) -> None:
        for start in range(0, 30, 3):
            empty.append(KEY, block(start))
            (hits,) = empty.search(KEY, [query(1, like=start + 2)]).hits
            assert hits[0].handle.frame == start + 2

    def test_videos_are_searched_apart(self, video: Memory) -> None:
        other = dataclasses.replace(KEY, video="other")
        video.create_video(other, SPEC)
        video.append(other, dataclasses.replace(block(100), start=0))
        (hits,) = video.search(other, [query(9, like=5)]).hits
        assert sorted(hit.handle.frame for hit in hits) == [0, 1, 2]
        assert {hit.handle.key for hit in hits} == {other}

    @pytest.mark.parametrize(
        ("bad", "field"),
        [
            (query(0, like=0), "k"),
            (query(-1, like=0), "k"),
            (query(4097, like=0), "k"),
            (query(1, Span(-1, 3), like=0), "eligible.start"),
            (query(1, Span(0, -1), like=0), "eligible.stop"),
            (query(1, Span(4, 3), like=0), "eligible"),
            (query(1), "vector"),
            (query(1, like=0, frame=0), "vector"),
            (query(1, frame=-1), "frame"),
            (Query(1, Span(0, 3), embedding=np.full(DIM, np.nan, np.float32)), "embedding"),
            (Query(1, Span(0, 3), embedding=np.full(DIM, np.inf, np.float32)), "embedding"),
            (Query(1, Span(0, 3), embedding=np.zeros(DIM, np.float32)), "embedding"),
            (Query(1, Span(0, 3), embedding=np.ones(DIM - 1, np.float32)), "embedding"),
            (Query(1, Span(0, 3), embedding=np.ones((1, DIM), np.float32)), "embedding"),
            (Query(1, Span(0, 3), embedding=np.ones(DIM, np.float64)), "embedding"),  # type: ignore[arg-type]
        ],
    )
    def test_bad_queries_are_refused(self, video: Memory, bad: Query, field: str) -> None:
        with pytest.raises(InvalidArgument) as error:
            video.search(KEY, [query(like=0), bad])
        assert error.value.field == f"queries[1].{field}"
        assert len(video.retrievals(KEY)) == 0

    def test_a_frame_that_is_not_kept_cannot_be_the_query(self, video: Memory) -> None:
        with pytest.raises(NotFound) as error:
            video.search(KEY, [query(frame=LENGTH)])
        assert error.value.field == "queries[0].frame"

    def test_too_many_queries_are_refused(self, video: Memory) -> None:
        with pytest.raises(TooLarge):
            video.search(KEY, [query(like=0)] * 1000)

    def test_too_many_hits_are_refused(self, video: Memory) -> None:
        with pytest.raises(TooLarge) as error:
            video.search(KEY, [query(4096, like=0)] * 5)
        assert error.value.field == "queries"
        assert "16384" in error.value.expected
        assert len(video.retrievals(KEY)) == 0
        assert len(video.search(KEY, [query(4096, like=0)] * 4).hits) == 4

    def test_searches_run_beside_appends(self, empty: Memory) -> None:
        """Every search of a growing video answers as the oracle does for the length it names."""
        failures: list[object] = []
        done = threading.Event()
        rows = embeddings(0, 150)

        def read() -> None:
            while not done.is_set():
                found = empty.search(KEY, [query(5, like=200)], log=False)
                frames, _ = oracle(rows[: found.state.length], embeddings(200, 1)[0], 5, Span(0, 999))
                if frames_of(found) != [frames]:
                    failures.append((found, frames))
                got = empty.fetch([hit.handle for hit in found.hits[0]])
                failures.extend(
                    frame
                    for frame in got
                    if bytes(frame.parts["latent"]) != latents(frame.handle.frame, 1)[0]
                )

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for start in range(0, 150, 3):
            empty.append(KEY, block(start))
        done.set()
        for reader in readers:
            reader.join()
        assert not failures


class TestAdvance:
    def test_the_block_is_kept_and_searched(self, video: Memory) -> None:
        answer = video.advance(KEY, block(LENGTH), query(4, Span(2, 99), like=LENGTH + 1))
        assert not answer.appended.duplicate
        assert answer.appended.state.length == LENGTH + 3
        frames, scores = oracle(embeddings(0, LENGTH + 3), embeddings(LENGTH + 1, 1)[0], 4, Span(2, 99))
        assert tuple(hit.handle.frame for hit in answer.hits) == frames
        assert tuple(hit.score for hit in answer.hits) == scores
        assert frames[0] == LENGTH + 1
        assert [frame.handle for frame in answer.frames] == [hit.handle for hit in answer.hits]
        for frame in answer.frames:
            assert bytes(frame.parts["latent"]) == latents(frame.handle.frame, 1)[0]
            np.testing.assert_array_equal(frame.embedding, embeddings(frame.handle.frame, 1)[0])

    def test_the_last_frame_is_the_query_unless_another_is_given(self, video: Memory) -> None:
        answer = video.advance(KEY, block(LENGTH), query(6, Span(1, 20)))
        (hits,) = video.search(KEY, [query(6, Span(1, 20), frame=LENGTH + 2)]).hits
        assert answer.hits == hits

    def test_a_frame_of_the_block_can_be_the_query(self, video: Memory) -> None:
        answer = video.advance(KEY, block(LENGTH), query(1, frame=LENGTH))
        assert [hit.handle.frame for hit in answer.hits] == [LENGTH]

    def test_the_first_block_has_no_history(self, empty: Memory) -> None:
        answer = empty.advance(KEY, block(0), query(6, Span(0, 0)))
        assert (answer.hits, answer.frames) == ((), ())
        assert answer.appended.state.length == 3

    def test_known_payloads_are_left_out(self, video: Memory) -> None:
        first = video.advance(KEY, block(LENGTH), query(6, Span(0, LENGTH)))
        known = [hit.handle for hit in first.hits[1::2]]
        stale = [dataclasses.replace(hit.handle, epoch=1) for hit in first.hits]
        other = [
            dataclasses.replace(hit.handle, key=dataclasses.replace(KEY, video="x")) for hit in first.hits
        ]
        again = video.advance(KEY, block(LENGTH), query(6, Span(0, LENGTH)), known=[*known, *stale, *other])
        assert again.hits == first.hits
        assert [frame.handle for frame in again.frames] == [hit.handle for hit in first.hits[0::2]]
        nothing = video.advance(
            KEY, block(LENGTH), query(6, Span(0, LENGTH)), known=[hit.handle for hit in first.hits]
        )
        assert (nothing.hits, nothing.frames) == (first.hits, ())

    def test_a_retry_gives_the_same_answer(self, video: Memory) -> None:
        first = video.advance(KEY, block(LENGTH), query(6, Span(1, 20)))
        again = video.advance(KEY, block(LENGTH), query(6, Span(1, 20)))
        assert again.appended.duplicate
        assert again.appended.state.length == LENGTH + 3
        assert again.hits == first.hits
        late = video.advance(KEY, block(3), query(6, Span(1, 20)))
        assert late.appended.duplicate
        assert late.hits == video.search(KEY, [query(6, Span(1, 20), frame=5)]).hits[0]

    def test_sync_answers_when_durable(self, video: Memory) -> None:
        state = video.advance(KEY, block(LENGTH), query(), sync=True).appended.state
        assert state.durable == state.length == LENGTH + 3

    def test_what_append_refuses_advance_refuses(self, video: Memory) -> None:
        cases: list[tuple[type[ServiceError], Block, int | None]] = [
            (OutOfOrder, block(LENGTH + 1), None),
            (AlreadyExists, dataclasses.replace(block(100), start=0), None),
            (AlreadyExists, block(LENGTH - 1), None),
            (Fenced, block(LENGTH), 1),
        ]
        for error, bad, epoch in cases:
            with pytest.raises(error):
                video.advance(KEY, bad, query(), epoch=epoch)
        assert video.get_video(KEY).state.length == LENGTH
        assert len(video.retrievals(KEY)) == 0

    @pytest.mark.parametrize(
        ("bad", "field"),
        [
            (query(0), "query.k"),
            (query(1, Span(3, 1)), "query.eligible"),
            (query(1, like=0, frame=0), "query.vector"),
            (Query(1, Span(0, 3), embedding=np.ones(DIM + 1, np.float32)), "query.embedding"),
        ],
    )
    def test_a_bad_query_changes_nothing(self, video: Memory, bad: Query, field: str) -> None:
        with pytest.raises(InvalidArgument) as error:
            video.advance(KEY, block(LENGTH), bad)
        assert error.value.field == field
        assert video.get_video(KEY).state.length == LENGTH

    def test_an_unkept_query_frame_changes_nothing(self, video: Memory) -> None:
        with pytest.raises(NotFound) as error:
            video.advance(KEY, block(LENGTH), query(1, frame=LENGTH + 3))
        assert error.value.field == "query.frame"
        assert video.get_video(KEY).state.length == LENGTH


class TestRetrievals:
    def test_an_unsearched_video_has_none(self, video: Memory) -> None:
        assert len(video.retrievals(KEY)) == 0

    def test_an_advance_that_is_repeated_is_logged_once(self, video: Memory) -> None:
        """Its caller has lost the answer; a search in between, or another query, is one of its own."""
        video.append(KEY, block(0))
        for _ in range(3):
            video.advance(KEY, block(3), query(2))
        assert len(video.retrievals(KEY)) == 1
        video.advance(KEY, block(3), query(3))
        assert [one.k for one in video.retrievals(KEY)] == [2, 3]
        video.advance(KEY, block(3), query(2))
        video.search(KEY, [query(2, frame=5)])
        assert [one.k for one in video.retrievals(KEY)] == [2, 3, 2, 2]

    def test_searches_are_logged_oldest_first(self, video: Memory) -> None:
        before_ms = time.time_ns() // 1_000_000
        found = video.search(KEY, [query(3, Span(1, 99), like=40), query(2, Span(0, 6), frame=9)])
        video.search(KEY, [query(1, like=1)], log=False)
        advanced = video.advance(KEY, block(LENGTH), query(6, Span(1, 20)))
        log = video.retrievals(KEY)
        assert [entry.query_frame for entry in log] == [None, 9, LENGTH + 2]
        assert [entry.eligible for entry in log] == [Span(1, 99), Span(0, 6), Span(1, 20)]
        assert [entry.k for entry in log] == [3, 2, 6]
        assert [entry.length for entry in log] == [LENGTH, LENGTH, LENGTH + 3]
        for entry, hits in zip(log, [*found.hits, advanced.hits], strict=True):
            assert entry.key == KEY
            assert entry.epoch == found.state.epoch
            assert entry.policy == "top-k"
            assert entry.frames == tuple(hit.handle.frame for hit in hits)
            assert entry.scores == tuple(hit.score for hit in hits)
            assert entry.search_us >= 0
            assert before_ms <= entry.unix_ms <= time.time_ns() // 1_000_000

    def test_each_video_has_its_own_log(self, video: Memory) -> None:
        other = dataclasses.replace(KEY, video="other")
        video.create_video(other, SPEC)
        video.search(KEY, [query(like=0)])
        assert len(video.retrievals(other)) == 0

    def test_the_log_goes_with_the_video(self, video: Memory) -> None:
        video.search(KEY, [query(like=0)])
        video.drop_video(KEY)
        video.create_video(KEY, SPEC)
        assert len(video.retrievals(KEY)) == 0
