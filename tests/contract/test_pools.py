"""Pools: their coming and going, what they use, and quotas that hold."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from samples import KEY, SPEC, assert_frames, block, embeddings, query, state

from memory_service.errors import AlreadyExists, Exhausted, InvalidArgument, NotEmpty, NotFound, TooLarge
from memory_service.memory import Memory
from memory_service.types import Block, PoolSpec, PoolUsage, VideoKey

EMPTY = PoolUsage(0, 0, 0, 0)


def large(start: int, size: int = 1 << 16) -> Block:
    """One frame with a preview of `size` bytes."""
    parts = {"latent": [bytes(SPEC.latent_bytes)], "preview": [bytes(size)]}
    return Block(start, embeddings(start, 1), parts)


def used(memory: Memory, pool: str = KEY.pool) -> int:
    return memory.get_pool(pool).usage.num_bytes


class TestComingAndGoing:
    def test_created_pools_are_there_and_empty(self, memory: Memory) -> None:
        spec = PoolSpec(max_bytes=1 << 30, max_videos=7, ttl_ms=60_000)
        made = memory.create_pool("films", spec)
        assert (made.pool, made.spec, made.usage) == ("films", spec, EMPTY)
        assert memory.get_pool("films") == made
        assert len(memory.list_videos("films")) == 0

    def test_the_same_spec_again_gives_the_pool_that_is_there(self, memory: Memory) -> None:
        spec = PoolSpec(max_videos=2)
        memory.create_pool("films", spec)
        memory.create_video(VideoKey("films", "a"), SPEC)
        assert memory.create_pool("films", spec).usage.num_videos == 1

    def test_another_spec_is_refused(self, memory: Memory) -> None:
        memory.create_pool("films", PoolSpec(max_videos=2))
        with pytest.raises(AlreadyExists) as error:
            memory.create_pool("films", PoolSpec(max_videos=3))
        assert error.value.field == "spec"
        assert memory.get_pool("films").spec == PoolSpec(max_videos=2)

    def test_the_first_video_makes_its_pool(self, memory: Memory) -> None:
        with pytest.raises(NotFound) as error:
            memory.get_pool(KEY.pool)
        assert error.value.field == "pool"
        memory.create_video(KEY, SPEC)
        there = memory.get_pool(KEY.pool)
        assert (there.spec, there.usage.num_videos) == (PoolSpec(), 1)

    def test_pools_are_listed_by_name(self, memory: Memory) -> None:
        for name in ("b", "a.2", "c", "a"):
            memory.create_pool(name, PoolSpec(max_videos=len(name)))
        memory.create_video(VideoKey("by-video", "x"), SPEC)
        listed = memory.list_pools()
        assert [found.pool for found in listed] == ["a", "a.2", "b", "by-video", "c"]
        assert [found.spec.max_videos for found in listed] == [1, 3, 1, 0, 1]

    def test_update_replaces_the_spec(self, memory: Memory) -> None:
        memory.create_pool("films", PoolSpec(max_videos=2))
        updated = memory.update_pool("films", PoolSpec(max_bytes=5, ttl_ms=0))
        assert updated.spec == memory.get_pool("films").spec == PoolSpec(max_bytes=5)
        with pytest.raises(NotFound):
            memory.update_pool("none", PoolSpec())

    def test_a_pool_with_videos_is_dropped_only_when_told_so(self, memory: Memory) -> None:
        memory.create_video(KEY, SPEC)
        memory.append(KEY, block(0))
        memory.create_video(VideoKey("other", "x"), SPEC)
        with pytest.raises(NotEmpty):
            memory.drop_pool(KEY.pool)
        assert_frames(memory, 0, 3)
        memory.drop_pool(KEY.pool, with_videos=True)
        assert [found.pool for found in memory.list_pools()] == ["other"]
        for missing in (lambda: memory.get_pool(KEY.pool), lambda: memory.get_video(KEY)):
            with pytest.raises(NotFound):
                missing()
        assert memory.info().num_videos == 1

    def test_an_empty_pool_is_dropped_and_can_come_again(self, memory: Memory) -> None:
        memory.create_pool("films", PoolSpec(max_videos=2))
        memory.drop_pool("films")
        with pytest.raises(NotFound):
            memory.drop_pool("films")
        assert memory.create_pool("films", PoolSpec(max_videos=5)).spec.max_videos == 5

    @pytest.mark.parametrize("spec", [PoolSpec(-1), PoolSpec(max_videos=-1), PoolSpec(ttl_ms=-5)])
    def test_negative_limits_are_refused(self, memory: Memory, spec: PoolSpec) -> None:
        with pytest.raises(InvalidArgument) as error:
            memory.create_pool("films", spec)
        assert error.value.field.startswith("spec.")
        assert len(memory.list_pools()) == 0

    @pytest.mark.parametrize("name", ["", ".pool", "../up", "a/b", "x" * 129])
    def test_odd_names_are_refused(self, memory: Memory, name: str) -> None:
        for verb in (
            lambda: memory.create_pool(name, PoolSpec()),
            lambda: memory.get_pool(name),
            lambda: memory.update_pool(name, PoolSpec()),
            lambda: memory.drop_pool(name),
        ):
            with pytest.raises(InvalidArgument) as error:
                verb()
            assert error.value.field == "pool"


class TestUsage:
    def test_usage_grows_with_appends_and_ends_with_drops(self, video: Memory) -> None:
        start = used(video)
        assert start > 0
        video.append(KEY, large(0))
        assert 1 << 16 < used(video) - start < (1 << 16) + 2048
        usage = video.get_pool(KEY.pool).usage
        assert (usage.num_videos, usage.hot_videos) == (1, 1)
        assert usage.index_bytes > 0
        info = video.info()
        assert (info.num_bytes, info.num_videos) == (usage.num_bytes, 1)
        assert info.index_bytes == usage.index_bytes
        video.drop_video(KEY)
        assert video.get_pool(KEY.pool).usage == EMPTY
        assert video.info().num_bytes == 0

    def test_a_video_says_what_it_uses(self, video: Memory) -> None:
        video.append(KEY, large(0), sync=True)
        assert video.get_video(KEY).num_bytes == used(video)

    def test_duplicates_and_refusals_use_nothing(self, video: Memory) -> None:
        video.append(KEY, block(0), sync=True)
        before = used(video)
        assert video.append(KEY, block(0)).duplicate
        with pytest.raises(AlreadyExists):
            video.append(KEY, block(0, 2, preview=[b"1", b"2"]))
        assert used(video) == before


class TestQuota:
    def test_bytes_are_refused_before_they_are_written(self, memory: Memory) -> None:
        memory.create_pool(KEY.pool, PoolSpec(max_bytes=200_000))
        memory.create_video(KEY, SPEC)
        for frame in range(3):
            memory.append(KEY, large(frame))
        with pytest.raises(Exhausted) as error:
            memory.append(KEY, large(3))
        details = error.value.details
        assert (details["unit"], details["allowed"], details["pool"]) == ("bytes", "200000", KEY.pool)
        assert 3 << 16 < int(details["used"]) <= used(memory) <= 200_000
        assert state(memory).length == 3
        memory.append(KEY, block(3))
        assert state(memory).length == 6

    def test_videos_are_counted(self, memory: Memory) -> None:
        memory.create_pool("films", PoolSpec(max_videos=2))
        for name in ("a", "b"):
            memory.create_video(VideoKey("films", name), SPEC)
        with pytest.raises(Exhausted) as error:
            memory.create_video(VideoKey("films", "c"), SPEC)
        assert error.value.details["unit"] == "videos"
        assert (error.value.details["used"], error.value.details["allowed"]) == ("2", "2")
        memory.create_video(VideoKey("films", "a"), SPEC)
        memory.drop_video(VideoKey("films", "a"))
        memory.create_video(VideoKey("films", "c"), SPEC)

    def test_one_pool_does_not_pay_for_another(self, memory: Memory) -> None:
        memory.create_pool("small", PoolSpec(max_bytes=1000, max_videos=1))
        memory.create_video(VideoKey("small", "a"), SPEC)
        memory.create_video(KEY, SPEC)
        memory.append(KEY, large(0))
        with pytest.raises(Exhausted):
            memory.append(VideoKey("small", "a"), large(0))

    def test_a_quota_below_what_is_used_takes_nothing_away(self, video: Memory) -> None:
        for frame in range(3):
            video.append(KEY, large(frame))
        video.update_pool(KEY.pool, PoolSpec(max_bytes=1000, max_videos=1))
        with pytest.raises(Exhausted):
            video.append(KEY, large(3))
        assert video.append(KEY, large(2)).duplicate
        assert state(video).length == 3
        video.update_pool(KEY.pool, PoolSpec())
        video.append(KEY, large(3))

    def test_reads_go_on_at_the_quota(self, memory: Memory) -> None:
        """Searches are answered even where their log finds no room."""
        memory.create_video(KEY, SPEC)
        memory.append(KEY, block(0))
        memory.update_pool(KEY.pool, PoolSpec(max_bytes=1))
        found = memory.search(KEY, [query(like=0)])
        assert found.hits[0][0].handle.frame == 0
        assert_frames(memory, 0, 3)

    def test_appends_together_do_not_pass_the_quota_together(self, memory: Memory) -> None:
        memory.create_pool("films", PoolSpec(max_bytes=1_000_000))
        keys = [VideoKey("films", str(number)) for number in range(8)]
        for key in keys:
            memory.create_video(key, SPEC)

        def fill(key: VideoKey) -> int:
            for frame in range(40):
                try:
                    memory.append(key, large(frame, 20_000))
                except Exhausted:
                    return frame
            return 40

        with ThreadPoolExecutor(len(keys)) as threads:
            kept = list(threads.map(fill, keys))
        usage = memory.get_pool("films").usage
        assert usage.num_bytes <= 1_000_000
        assert 1_000_000 - usage.num_bytes < 25_000
        assert sum(kept) * 20_000 < usage.num_bytes
        assert [state(memory, key).length for key in keys] == kept


class TestHeartbeat:
    def test_keys_that_are_not_there_come_back(self, video: Memory) -> None:
        missing = [VideoKey(KEY.pool, "none"), VideoKey("nowhere", "none")]
        assert list(video.heartbeat([KEY, *missing])) == missing
        assert list(video.heartbeat([])) == []
        assert [found.pool for found in video.list_pools()] == [KEY.pool]

    def test_one_heartbeat_names_a_bounded_number_of_videos(self, video: Memory) -> None:
        with pytest.raises(TooLarge) as error:
            video.heartbeat([KEY] * 20_000)
        assert error.value.field == "keys"

    def test_keys_are_checked(self, video: Memory) -> None:
        with pytest.raises(InvalidArgument) as error:
            video.heartbeat([KEY, VideoKey("pool", "../x")])
        assert error.value.field == "keys[1].video"


class TestPages:
    def test_videos_come_page_by_page(self, memory: Memory) -> None:
        names = [f"v{number:02}" for number in range(12)]
        for name in names:
            memory.create_video(VideoKey("films", name), SPEC)
        listed, after = [], ""
        while page := memory.list_videos("films", after=after, limit=5):
            assert len(page) <= 5
            listed += [info.key.video for info in page]
            after = listed[-1]
        assert listed == names
        assert [info.key.video for info in memory.list_videos("films", after="v05a")] == names[6:]
        assert len(memory.list_videos("films", after="v99", limit=3)) == 0
