"""What every memory does: policies, filters and terms, and what the log says of them."""

from typing import Any

import numpy as np
import pytest
from rich_videos import LENGTH, MINUTE, Slow, answered, frames_of, like, named, rich_block, search_one
from samples import KEY, SPEC, block, embeddings

from memory_service.errors import InvalidArgument, NotFound, TooLarge
from memory_service.memory import Memory
from memory_service.search.fusion import fused
from memory_service.select import cosines
from memory_service.types import Block, Filter, Policy, Span, Term


class TestPolicies:
    @pytest.mark.parametrize(
        "changes",
        [
            {"min_gap": 4},
            {"min_gap": 1},
            {"min_gap": 1000},
            {"mmr_lambda": 0.5},
            {"mmr_lambda": 0.0},
            {"mmr_lambda": 1.0},
            {"min_score": 0.25},
            {"min_score": -1.0},
            {"min_score": 1.5},
            {"min_gap": 3, "mmr_lambda": 0.25, "min_score": -0.5},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("k", [1, 6, LENGTH])
    def test_hits_are_those_of_the_obvious_loop(self, rich: Memory, k: int, changes: dict[str, Any]) -> None:
        policy = Policy(
            min_gap_frames=changes.get("min_gap", 0),
            mmr_lambda=changes.get("mmr_lambda"),
            min_score=changes.get("min_score"),
        )
        slow = Slow([(KEY, LENGTH, 0)], embeddings(100, 1)[0])
        span = Span(2, 22)
        hits = search_one(rich, like(100, k, span, policy=policy))
        assert answered(hits) == slow.chosen(k, candidates=range(2, 22), **changes)
        assert not any(hit.pinned for hit in hits)

    def test_a_gap_keeps_hits_apart(self, rich: Memory) -> None:
        frames = sorted(frames_of(search_one(rich, like(7, 6, policy=Policy(min_gap_frames=4)))))
        assert len(frames) >= 3
        assert min(np.diff(frames)) >= 4

    def test_relevance_alone_is_top_k(self, rich: Memory) -> None:
        assert search_one(rich, like(7, policy=Policy(mmr_lambda=1.0))) == search_one(rich, like(7))

    def test_unlike_hits_leave_repetitions_out(self, memory: Memory) -> None:
        memory.create_video(KEY, SPEC)
        rows = np.repeat(embeddings(0, 3), [5, 1, 1], axis=0)
        memory.append(KEY, Block(0, rows, {"latent": [bytes(SPEC.latent_bytes)] * 7}))
        assert frames_of(search_one(memory, like(0, 3))) == [0, 1, 2]
        hits = search_one(memory, like(0, 3, policy=Policy(mmr_lambda=0.25)))
        assert sorted(frames_of(hits)) == [0, 5, 6]
        assert frames_of(hits)[0] == 0

    def test_pinned_frames_come_first_in_their_order(self, rich: Memory) -> None:
        hits = search_one(rich, like(100, 5, Span(3, 20), policy=Policy(pinned_frames=(23, 0))))
        assert frames_of(hits)[:2] == [23, 0]
        assert [hit.pinned for hit in hits] == [True, True, False, False, False]
        slow = Slow([(KEY, LENGTH, 0)], embeddings(100, 1)[0])
        assert answered(hits) == slow.chosen(5, pinned=(23, 0), candidates=range(3, 20))

    @pytest.mark.parametrize(("max_pinned", "k", "pinned"), [(0, 4, 0), (1, 4, 1), (9, 4, 3), (3, 2, 2)])
    def test_pinned_frames_take_their_slots_at_most(
        self, rich: Memory, max_pinned: int, k: int, pinned: int
    ) -> None:
        policy = Policy(pinned_frames=(5, 6, 11), max_pinned=max_pinned)
        hits = search_one(rich, like(100, k, policy=policy))
        assert [hit.pinned for hit in hits] == [True] * pinned + [False] * (k - pinned)
        assert len(set(frames_of(hits))) == k
        slow = Slow([(KEY, LENGTH, 0)], embeddings(100, 1)[0])
        assert answered(hits) == slow.chosen(k, pinned=(5, 6, 11)[:pinned])

    def test_gap_and_unlikeness_count_pinned_frames_too(self, rich: Memory) -> None:
        slow = Slow([(KEY, LENGTH, 0)], embeddings(100, 1)[0])
        for changes in ({"min_gap": 5}, {"mmr_lambda": 0.3}, {"min_gap": 2, "mmr_lambda": 0.6}):
            policy = Policy(
                min_gap_frames=changes.get("min_gap", 0),
                mmr_lambda=changes.get("mmr_lambda"),
                pinned_frames=(8, 9),
            )
            hits = search_one(rich, like(100, 6, Span(0, 20), policy=policy))
            assert answered(hits) == slow.chosen(6, pinned=(8, 9), candidates=range(20), **changes)

    def test_a_pinned_frame_that_is_not_kept_is_not_found(self, rich: Memory) -> None:
        with pytest.raises(NotFound) as error:
            rich.search(KEY, [like(0), like(0, policy=Policy(pinned_frames=(0, LENGTH)))])
        assert error.value.field == "queries[1].policy.pinned_frames[1]"
        assert len(rich.retrievals(KEY)) == 0

    def test_advance_pins_frames_of_its_block_and_changes_nothing_otherwise(self, rich: Memory) -> None:
        with pytest.raises(NotFound) as error:
            rich.advance(KEY, rich_block(LENGTH), like(0, policy=Policy(pinned_frames=(LENGTH + 3,))))
        assert error.value.field == "query.policy.pinned_frames[0]"
        assert rich.get_video(KEY).state.length == LENGTH
        answer = rich.advance(
            KEY, rich_block(LENGTH), like(0, 2, Span(0, 9), policy=Policy(pinned_frames=(LENGTH + 2,)))
        )
        assert frames_of(answer.hits)[0] == LENGTH + 2
        assert [frame.handle.frame for frame in answer.frames] == frames_of(answer.hits)

    def test_queries_of_a_batch_have_their_own_policies(self, rich: Memory) -> None:
        queries = [
            like(100),
            like(101, policy=Policy(min_gap_frames=3)),
            like(102),
            like(100, policy=Policy(mmr_lambda=0.4, pinned_frames=(3,))),
            like(103, filter=Filter({"scene": "harbour"})),
        ]
        found = rich.search(KEY, queries)
        assert list(found.hits) == [search_one(rich, one) for one in queries]

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"policy": Policy(mmr_lambda=1.5)}, "queries[0].policy.mmr_lambda"),
            ({"policy": Policy(mmr_lambda=float("nan"))}, "queries[0].policy.mmr_lambda"),
            ({"policy": Policy(min_gap_frames=-1)}, "queries[0].policy.min_gap_frames"),
            ({"policy": Policy(pinned_frames=(3, 3))}, "queries[0].policy.pinned_frames[1]"),
            ({"policy": Policy(max_pinned=-1)}, "queries[0].policy.max_pinned"),
            ({"filter": Filter({"": "x"})}, "queries[0].filter.metadata"),
            ({"filter": Filter({}, 9, 8)}, "queries[0].filter.before_unix_ms"),
            ({"terms": (Term("sound", np.ones(4, np.float32), 1.0),)}, "queries[0].terms[0].name"),
            ({"terms": (Term("text", np.ones(3, np.float32), 1.0),)}, "queries[0].terms[0].embedding"),
            ({"weight": float("inf")}, "queries[0].weight"),
        ],
    )
    def test_what_cannot_be_right_names_its_field(
        self, rich: Memory, changes: dict[str, Any], field: str
    ) -> None:
        with pytest.raises(InvalidArgument) as error:
            search_one(rich, like(0, **changes))
        assert error.value.field == field

    def test_more_terms_than_allowed_are_too_large(self, rich: Memory) -> None:
        with pytest.raises(TooLarge) as error:
            search_one(rich, like(0, terms=(Term("text", np.ones(4, np.float32), 1.0),) * 17))
        assert error.value.field == "queries[0].terms"


class TestFilters:
    @pytest.mark.parametrize(
        ("wanted", "passing"),
        [
            (Filter({"scene": "harbour"}), [f for f in range(LENGTH) if f // 3 % 2]),
            (Filter({"scene": "harbour", "take": "0"}), [9, 10, 11]),
            (Filter({"scene": "sea"}), []),
            (Filter({"weather": ""}), []),
            (Filter(after_unix_ms=1 + 2 * MINUTE), list(range(6, LENGTH))),
            (Filter(before_unix_ms=1 + 2 * MINUTE), list(range(6))),
            (Filter({"take": "1"}, 1 + MINUTE, 2 + 4 * MINUTE), [3, 4, 5, 12, 13, 14]),
            (Filter(after_unix_ms=5, before_unix_ms=5), []),
        ],
        ids=str,
    )
    def test_only_what_passes_is_found(self, rich: Memory, wanted: Filter, passing: list[int]) -> None:
        slow = Slow([(KEY, LENGTH, 0)], embeddings(100, 1)[0])
        hits = search_one(rich, like(100, LENGTH, filter=wanted))
        assert answered(hits) == slow.chosen(LENGTH, candidates=passing)
        eligible = [frame for frame in passing if 4 <= frame < 13]
        hits = search_one(rich, like(100, 4, Span(4, 13), filter=wanted, policy=Policy(min_gap_frames=2)))
        assert answered(hits) == slow.chosen(4, candidates=eligible, min_gap=2)
        (*_, entry) = rich.retrievals(KEY)
        assert entry.num_candidates == len(eligible)

    def test_blocks_without_a_time_have_that_of_the_append(self, memory: Memory) -> None:
        memory.create_video(KEY, SPEC)
        memory.append(KEY, block(0))
        (kept,) = memory.fetch([search_one(memory, like(0, 1))[0].handle])
        now = kept.unix_ms
        assert now > 1_600_000_000_000
        assert len(search_one(memory, like(0, filter=Filter(after_unix_ms=now)))) == 3
        assert len(search_one(memory, like(0, filter=Filter(before_unix_ms=now)))) == 0


class TestTerms:
    @pytest.mark.parametrize("weight", [1.0, 0.0, -1.0, 0.3])
    @pytest.mark.parametrize("policy", [Policy(), Policy(min_gap_frames=3), Policy(mmr_lambda=0.5)], ids=str)
    def test_the_score_is_the_weighted_sum(self, rich: Memory, weight: float, policy: Policy) -> None:
        terms = (
            Term("text", named(90, 1, 4)[0], 0.5),
            Term("pose", named(91, 1, 3)[0], -0.25),
            Term("text", named(92, 1, 4)[0], 0.125),
        )
        weight = float(np.float32(weight))
        slow = Slow([(KEY, LENGTH, 0)], embeddings(100, 1)[0])
        slow.scores = fused(
            [
                cosines(slow.rows, embeddings(100, 1)[0]),
                cosines(named(0, LENGTH, 4), terms[0].embedding),
                cosines(named(0, LENGTH, 3), terms[1].embedding),
                cosines(named(0, LENGTH, 4), terms[2].embedding),
            ],
            [weight, 0.5, -0.25, 0.125],
        ).tolist()
        hits = search_one(rich, like(100, 6, Span(1, 23), weight=weight, terms=terms, policy=policy))
        assert answered(hits) == slow.chosen(
            6, candidates=range(1, 23), min_gap=policy.min_gap_frames, mmr_lambda=policy.mmr_lambda
        )

    def test_a_weight_alone_scales_the_cosine(self, rich: Memory) -> None:
        plain, halved = search_one(rich, like(100)), search_one(rich, like(100, weight=0.5))
        assert frames_of(plain) == frames_of(halved)
        assert [hit.score / 2 for hit in plain] == [hit.score for hit in halved]

    def test_named_embeddings_come_back_with_the_frame(self, rich: Memory) -> None:
        (frame,) = rich.fetch([search_one(rich, like(7, 1))[0].handle])
        np.testing.assert_array_equal(frame.named["text"], named(7, 1, 4)[0])
        assert frame.metadata == {"scene": "village", "take": "2"}


class TestWhy:
    def test_the_log_says_from_how_many_and_how_close(self, rich: Memory) -> None:
        hits = search_one(rich, like(100, 4, Span(3, 20)))
        (entry,) = rich.retrievals(KEY)
        slow = Slow([(KEY, LENGTH, 0)], embeddings(100, 1)[0])
        ranking = slow.chosen(LENGTH, candidates=range(3, 20))
        assert entry.videos == ()
        assert entry.num_candidates == 17
        assert entry.frames == tuple(frames_of(hits))
        near = list(zip(entry.runner_up_frames, entry.runner_up_scores, strict=True))
        assert near == [(frame, score) for _, frame, score in ranking[4 : 4 + len(near)]]
        assert 3 <= len(near) <= 8

    @pytest.mark.parametrize(
        ("changes", "name"),
        [
            ({}, "top-k"),
            ({"policy": Policy(min_gap_frames=1)}, "top-k"),
            ({"policy": Policy(4, 0.5, 0.25, (1, 2), 1)}, "min-gap=4 mmr=0.5 min-score=0.25 pinned=1"),
            ({"filter": Filter({"take": "1"})}, "top-k filtered"),
            (
                {"terms": (Term("text", np.ones(4, np.float32), -0.5),), "weight": 2.0},
                "top-k weight=2 terms=text:-0.5",
            ),
        ],
    )
    def test_policies_have_names(self, rich: Memory, changes: dict[str, Any], name: str) -> None:
        search_one(rich, like(0, **changes))
        (entry,) = rich.retrievals(KEY)
        assert entry.policy == name

    def test_with_a_policy_runners_up_are_the_best_not_chosen(self, rich: Memory) -> None:
        policy = Policy(min_gap_frames=5, pinned_frames=(0,))
        hits = search_one(rich, like(100, 4, policy=policy))
        (entry,) = rich.retrievals(KEY)
        slow = Slow([(KEY, LENGTH, 0)], embeddings(100, 1)[0])
        left = [(f, s) for _, f, s in slow.chosen(LENGTH) if f not in frames_of(hits)][:8]
        assert list(zip(entry.runner_up_frames, entry.runner_up_scores, strict=True)) == left

    def test_the_log_is_read_page_by_page_either_way(self, rich: Memory) -> None:
        for k in range(1, 8):
            search_one(rich, like(k, k))

        def page(**changes: Any) -> list[int]:
            return [entry.k for entry in rich.retrievals(KEY, **changes)]

        assert page() == [1, 2, 3, 4, 5, 6, 7]
        assert page(newest_first=True) == [7, 6, 5, 4, 3, 2, 1]
        assert page(start=2, limit=3) == [3, 4, 5]
        assert page(start=5, limit=9) == [6, 7]
        assert page(start=7) == page(start=99, limit=1) == page(limit=0) == []
        assert page(start=1, limit=2, newest_first=True) == [6, 5]
        assert page(start=6, limit=5, newest_first=True) == [1]
        assert page(start=7, newest_first=True) == []

    def test_a_page_that_cannot_be_is_refused(self, rich: Memory) -> None:
        for bad in ({"start": -1}, {"limit": -1}):
            with pytest.raises(InvalidArgument):
                rich.retrievals(KEY, **bad)
