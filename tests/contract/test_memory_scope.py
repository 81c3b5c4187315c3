"""What every memory does: searches of several videos, or of a pool, as if they were one."""

import dataclasses

import pytest
from rich_videos import LENGTH, Slow, answered, fill, frames_of, like, named, search_one
from samples import DIM, KEY, SPEC, block, embeddings, query

from memory_service.errors import InvalidArgument, NotFound, TooLarge
from memory_service.memory import Memory
from memory_service.types import Block, Filter, Policy, Scope, ScopeVideo, Span, Term, VideoKey

A, B = (dataclasses.replace(KEY, video=name) for name in ("a", "b"))
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
