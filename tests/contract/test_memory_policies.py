"""What every memory does: policies, filters, terms, and searches of several videos at once."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from samples import ALL, DIM, KEY, SPEC, block, embeddings, query, select_slowly

from memory_service.errors import InvalidArgument, NotFound, TooLarge
from memory_service.fusion import fused
from memory_service.memory import Memory
from memory_service.select import cosines
from memory_service.types import (
    Block,
    Embeddings,
    Filter,
    Found,
    Hit,
    Policy,
    Query,
    Scope,
    ScopeVideo,
    Span,
    Term,
    VideoKey,
)

RICH = dataclasses.replace(SPEC, named_dims={"text": 4, "pose": 3})
LENGTH = 24
MINUTE = 60_000


def named(start: int, n: int, dim: int) -> Embeddings:
    return embeddings(50_000 + 100 * dim + start, n, dim)


def rich_block(start: int, n: int = 3, shift: int = 0) -> Block:
    """A block with named embeddings, its number in its metadata, one minute after the block before."""
    number = start // 3
    return dataclasses.replace(
        block(start, n),
        embeddings=embeddings(start + shift, n),
        named={"text": named(start + shift, n, 4), "pose": named(start + shift, n, 3)},
        metadata={"scene": "harbour" if number % 2 else "village", "take": str(number % 3)},
        unix_ms=1 + number * MINUTE,
    )


def fill(memory: Memory, key: VideoKey, length: int, shift: int = 0) -> None:
    memory.create_video(key, RICH)
    for start in range(0, length, 3):
        memory.append(key, rich_block(start, shift=shift))


@pytest.fixture
def rich(memory: Memory) -> Memory:
    """A memory with LENGTH frames in KEY that carry more than an embedding."""
    fill(memory, KEY, LENGTH)
    return memory


def frames_of(hits: Sequence[Hit]) -> list[int]:
    return [hit.handle.frame for hit in hits]


def search_one(memory: Memory, asked: Query, scope: Scope | None = None) -> tuple[Hit, ...]:
    (hits,) = memory.search(KEY, [asked], scope=scope).hits
    return hits


def like(number: int, k: int = 6, eligible: Span = ALL, **changes: Any) -> Query:
    return dataclasses.replace(query(k, eligible, like=number), **changes)


class Slow:
    """Exact scores of frames of several videos in tie order, and the obvious selection among them."""

    def __init__(self, videos: Sequence[tuple[VideoKey, int, int]], vector: Embeddings) -> None:
        """`videos` are keys in order, the length of each, and the shift of its embeddings."""
        self.places = [(key, frame) for key, length, _ in videos for frame in range(length)]
        self.rows = np.concatenate([embeddings(shift, length) for _, length, shift in videos])
        self.scores = cosines(self.rows, vector).tolist()

    def chosen(self, k: int, **changes: Any) -> list[tuple[VideoKey, int, float]]:
        picks = select_slowly(self.scores, self.places, self.cosine, k, **changes)
        return [(*self.places[i], self.scores[i]) for i in picks]

    def cosine(self, one: int, other: int) -> float:
        return float(cosines(self.rows[[one]], self.rows[other])[0])


def answered(hits: Sequence[Hit]) -> list[tuple[VideoKey, int, float]]:
    return [(hit.handle.key, hit.handle.frame, hit.score) for hit in hits]


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


A, B, C = (dataclasses.replace(KEY, video=name) for name in ("a", "b", "c"))
ELSEWHERE = VideoKey("another", "video")


@pytest.fixture
def several(rich: Memory) -> Memory:
    """KEY, "a" with copies of KEY's frames, "b" with others, and one more in another pool."""
    fill(rich, A, 9)
    fill(rich, B, 12, shift=300)
    fill(rich, ELSEWHERE, 6, shift=600)
    return rich


class TestScope:
    SCOPES = (
        (Scope((ScopeVideo(B), ScopeVideo(A))), [(A, 9, 0), (B, 12, 300)]),
        (Scope((ScopeVideo(ELSEWHERE), ScopeVideo(KEY))), [(ELSEWHERE, 6, 600), (KEY, LENGTH, 0)]),
        (Scope(pool=True), [(A, 9, 0), (B, 12, 300), (KEY, LENGTH, 0)]),
    )

    @pytest.mark.parametrize(("scope", "videos"), SCOPES, ids=["two", "pools", "pool"])
    @pytest.mark.parametrize("policy", [Policy(), Policy(min_gap_frames=3), Policy(mmr_lambda=0.5)], ids=str)
    def test_videos_are_searched_as_one(
        self, several: Memory, scope: Scope, videos: list[tuple[VideoKey, int, int]], policy: Policy
    ) -> None:
        slow = Slow(videos, embeddings(4, 1)[0])
        hits = search_one(several, like(4, 9, policy=policy), scope)
        assert answered(hits) == slow.chosen(9, min_gap=policy.min_gap_frames, mmr_lambda=policy.mmr_lambda)
        for hit in hits:
            assert hit.handle.epoch == several.get_video(hit.handle.key).state.epoch
        assert len(several.fetch([hit.handle for hit in hits])) == len(hits)

    def test_each_video_has_its_own_span(self, several: Memory) -> None:
        scope = Scope((ScopeVideo(A, Span(2, 4)), ScopeVideo(B), ScopeVideo(KEY, Span(5, 5))))
        hits = search_one(several, like(4, 99, Span(1, 3)), scope)
        assert {(hit.handle.key.video, hit.handle.frame) for hit in hits} == {
            ("a", 2),
            ("a", 3),
            ("b", 1),
            ("b", 2),
        }

    def test_in_a_pool_only_the_video_itself_has_the_querys_span(self, several: Memory) -> None:
        hits = search_one(several, like(4, 99, Span(20, 22)), Scope(pool=True))
        assert sorted(hit.handle.frame for hit in hits if hit.handle.key == KEY) == [20, 21]
        assert len(hits) == 9 + 12 + 2

    def test_pinned_frames_are_of_the_video_that_is_asked(self, several: Memory) -> None:
        for policy in (Policy(pinned_frames=(7, 2)), Policy(pinned_frames=(7, 2), mmr_lambda=0.5)):
            hits = search_one(several, like(4, 5, policy=policy), Scope((ScopeVideo(B),)))
            assert [(hit.handle.key, hit.handle.frame) for hit in hits[:2]] == [(KEY, 7), (KEY, 2)]
            assert {hit.handle.key for hit in hits[2:]} == {B}
            whole = search_one(several, like(4, 45, policy=policy), Scope(pool=True))
            assert len({hit.handle for hit in whole}) == 45

    def test_filters_and_terms_hold_everywhere(self, several: Memory) -> None:
        term = Term("text", named(1, 1, 4)[0], 2.0)
        hits = search_one(
            several, like(4, 99, terms=(term,), filter=Filter({"scene": "harbour"})), Scope(pool=True)
        )
        assert len(hits) == 3 + 6 + 12
        assert {hit.handle.frame // 3 % 2 for hit in hits} == {1}
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)

    def test_a_batch_is_its_queries(self, several: Memory) -> None:
        queries = [
            like(4),
            like(301, policy=Policy(mmr_lambda=0.5)),
            like(302, policy=Policy(min_gap_frames=3)),
            dataclasses.replace(query(3, frame=5), eligible=Span(0, 4)),
        ]
        found = several.search(KEY, queries, scope=Scope(pool=True))
        assert list(found.hits) == [search_one(several, one, Scope(pool=True)) for one in queries]
        assert found.state.length == LENGTH

    def test_videos_of_other_encoders_are_refused_by_name_and_passed_over_in_a_pool(
        self, several: Memory
    ) -> None:
        for name, changes in (("x", {"encoder_id": "other"}), ("y", {"embedding_dim": DIM + 1})):
            key = dataclasses.replace(KEY, video=name)
            spec = dataclasses.replace(SPEC, **changes)
            several.create_video(key, spec)
            several.append(
                key,
                Block(0, embeddings(4, 1, spec.embedding_dim), {"latent": [bytes(SPEC.latent_bytes)]}),
            )
            with pytest.raises(InvalidArgument) as error:
                search_one(several, like(4), Scope((ScopeVideo(A), ScopeVideo(key))))
            assert error.value.field == "scope.videos[1]"
        hits = search_one(several, like(4, 99), Scope(pool=True))
        assert {hit.handle.key.video for hit in hits} == {"a", "b", KEY.video}

    def test_videos_without_the_terms_name_do_not_fit(self, several: Memory) -> None:
        bare = dataclasses.replace(KEY, video="bare")
        several.create_video(bare, SPEC)
        several.append(bare, block(0))
        term = Term("text", named(1, 1, 4)[0], 1.0)
        with pytest.raises(InvalidArgument) as error:
            search_one(several, like(4, terms=(term,)), Scope((ScopeVideo(bare),)))
        assert error.value.field == "scope.videos[0]"
        hits = search_one(several, like(4, 99, terms=(term,)), Scope(pool=True))
        assert bare not in {hit.handle.key for hit in hits}
        assert bare in {hit.handle.key for hit in search_one(several, like(4, 99), Scope(pool=True))}

    @pytest.mark.parametrize(
        ("scope", "field"),
        [
            (Scope(), "scope"),
            (Scope((ScopeVideo(A),), pool=True), "scope"),
            (Scope((ScopeVideo(A), ScopeVideo(A))), "scope.videos[1].key"),
            (Scope((ScopeVideo(VideoKey("../etc", "a")),)), "scope.videos[0].key.pool"),
            (Scope((ScopeVideo(A), ScopeVideo(B, Span(3, 2)))), "scope.videos[1].eligible"),
        ],
    )
    def test_a_scope_that_cannot_be_right_names_its_field(
        self, several: Memory, scope: Scope, field: str
    ) -> None:
        with pytest.raises(InvalidArgument) as error:
            search_one(several, like(4), scope)
        assert error.value.field == field

    def test_a_video_that_is_not_there_is_not_found(self, several: Memory) -> None:
        with pytest.raises(NotFound) as error:
            search_one(
                several, like(4), Scope((ScopeVideo(A), ScopeVideo(dataclasses.replace(KEY, video="no"))))
            )
        assert error.value.field == "scope.videos[1].key"

    def test_more_videos_than_allowed_are_too_large(self, several: Memory) -> None:
        many = tuple(ScopeVideo(dataclasses.replace(KEY, video=str(i))) for i in range(1025))
        with pytest.raises(TooLarge) as error:
            search_one(several, like(4), Scope(many))
        assert error.value.field == "scope.videos"

    def test_the_log_has_the_video_of_each_hit(self, several: Memory) -> None:
        hits = search_one(several, like(4, 5), Scope(pool=True))
        (entry,) = several.retrievals(KEY)
        assert entry.videos == tuple(hit.handle.key for hit in hits)
        assert entry.frames == tuple(frames_of(hits))
        assert entry.num_candidates == 9 + 12 + LENGTH
        assert len(several.retrievals(A)) == 0


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


def test_found_states_are_those_of_the_video_asked(several: Memory) -> None:
    found: Found = several.search(KEY, [like(4)], scope=Scope((ScopeVideo(B),)))
    assert found.state.length == LENGTH
