"""What every memory does, written once against the `Memory` protocol: videos."""

import dataclasses
import time
from typing import Any

import numpy as np
import pytest
from samples import DIM, KEY, SPEC, assert_frames, block, handle, latents, query, state

from memory_service.errors import AlreadyExists, Fenced, InvalidArgument, NotFound, TooLarge
from memory_service.memory import Memory
from memory_service.types import Handle, VideoKey, VideoSpec

BAD_IDS = ["", ".", "..", ".hidden", "-a", "a/b", "../a", "a\\b", "a b", "a\0", "\u00e4", "a" * 129]


class TestVideos:
    def test_created_video_is_empty_and_has_its_spec(self, memory: Memory) -> None:
        before_ms = time.time_ns() // 1_000_000
        info = memory.create_video(KEY, SPEC)
        assert (info.key, info.spec) == (KEY, SPEC)
        assert (info.state.length, info.state.durable) == (0, 0)
        assert 1 <= info.state.epoch < 2**52
        assert before_ms <= info.created_unix_ms <= time.time_ns() // 1_000_000
        assert memory.get_video(KEY) == info

    def test_same_spec_again_gives_the_video_that_is_there(self, video: Memory) -> None:
        video.append(KEY, block(0))
        again = video.create_video(KEY, dataclasses.replace(SPEC, metadata=dict(SPEC.metadata)))
        assert again.state.length == 3

    @pytest.mark.parametrize(
        "change",
        [
            {"embedding_dim": DIM + 1},
            {"latent_dtype": "float16"},
            {"latent_shape": (2, 3, 2)},
            {"encoder_id": "tests/sha256:01"},
            {"metadata": {}},
        ],
    )
    def test_another_spec_is_refused(self, video: Memory, change: dict[str, Any]) -> None:
        with pytest.raises(AlreadyExists):
            video.create_video(KEY, dataclasses.replace(SPEC, **change))
        assert video.get_video(KEY).spec == SPEC

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"embedding_dim": 0}, "spec.embedding_dim"),
            ({"embedding_dim": -1}, "spec.embedding_dim"),
            ({"embedding_dim": 1 << 20}, "spec.embedding_dim"),
            ({"latent_dtype": "int8"}, "spec.latent_dtype"),
            ({"encoder_id": ""}, "spec.encoder_id"),
            ({"latent_shape": ()}, "spec.latent_shape"),
            ({"latent_shape": (3, 0, 2)}, "spec.latent_shape"),
            ({"latent_shape": (3, -1, 2)}, "spec.latent_shape"),
            ({"latent_shape": (1,) * 9}, "spec.latent_shape"),
            ({"metadata": {"": "x"}}, "spec.metadata"),
        ],
    )
    def test_impossible_spec_is_refused(self, memory: Memory, change: dict[str, Any], field: str) -> None:
        with pytest.raises(InvalidArgument) as error:
            memory.create_video(KEY, dataclasses.replace(SPEC, **change))
        assert error.value.field.startswith(field)
        assert len(memory.list_videos(KEY.pool)) == 0

    @pytest.mark.parametrize(
        "change",
        [{"metadata": {"prompt": "x" * 70_000}}, {"latent_shape": (1 << 14, 1 << 14)}],
        ids=["metadata", "latent"],
    )
    def test_oversize_spec_is_refused(self, memory: Memory, change: dict[str, Any]) -> None:
        with pytest.raises(TooLarge):
            memory.create_video(KEY, dataclasses.replace(SPEC, **change))

    @pytest.mark.parametrize("bad", BAD_IDS)
    def test_bad_ids_are_refused(self, memory: Memory, bad: str) -> None:
        for key, field in ((VideoKey(bad, "v"), "key.pool"), (VideoKey("p", bad), "key.video")):
            for verb in (memory.get_video, memory.drop_video, memory.retrievals):
                with pytest.raises(InvalidArgument) as error:
                    verb(key)
                assert error.value.field == field
            with pytest.raises(InvalidArgument) as error:
                memory.create_video(key, SPEC)
            assert error.value.field == field

    @pytest.mark.parametrize("good", ["a", "0", "A.b-c_d", "a..b", "LOCK", "a" * 128])
    def test_all_good_ids_are_taken(self, memory: Memory, good: str) -> None:
        key = VideoKey(good, good)
        memory.create_video(key, SPEC)
        memory.append(key, block(0))
        assert_frames(memory, 0, 3, key)
        assert [info.key for info in memory.list_videos(good)] == [key]

    def test_unknown_video_is_not_found(self, memory: Memory) -> None:
        for verb in (memory.get_video, memory.drop_video, memory.retrievals):
            with pytest.raises(NotFound):
                verb(KEY)
        with pytest.raises(NotFound):
            memory.append(KEY, block(0))
        with pytest.raises(NotFound):
            memory.search(KEY, [query(like=0)])
        with pytest.raises(NotFound):
            memory.advance(KEY, block(0), query())
        with pytest.raises(NotFound):
            memory.fetch([Handle(KEY, 1, 0)])

    def test_videos_are_listed_by_pool_and_name(self, memory: Memory) -> None:
        for name in ("b", "a10", "a", "a2", "B", "a.reel"):
            memory.create_video(VideoKey("one", name), SPEC)
        memory.create_video(VideoKey("two", "c"), SPEC)
        memory.append(VideoKey("one", "a2"), block(0))
        listed = memory.list_videos("one")
        assert [info.key.video for info in listed] == ["B", "a", "a.reel", "a10", "a2", "b"]
        assert [info.state.length for info in listed] == [0, 0, 0, 0, 3, 0]
        assert [info.key.video for info in memory.list_videos("two")] == ["c"]
        assert len(memory.list_videos("three")) == 0

    def test_dropped_video_is_gone(self, video: Memory) -> None:
        video.append(KEY, block(0))
        old = handle(video, 0)
        (held,) = video.fetch([old])
        video.drop_video(KEY)
        for verb in (video.get_video, video.drop_video, video.retrievals):
            with pytest.raises(NotFound):
                verb(KEY)
        with pytest.raises(NotFound):
            video.fetch([old])
        assert len(video.list_videos(KEY.pool)) == 0
        assert bytes(held.parts["latent"]) == latents(0, 1)[0]

    def test_video_created_anew_revives_no_handle_and_fences_the_old_writer(self, video: Memory) -> None:
        video.append(KEY, block(0))
        old = handle(video, 0)
        video.drop_video(KEY)
        video.create_video(KEY, SPEC)
        assert state(video).length == 0
        video.append(KEY, block(0))
        with pytest.raises(NotFound) as error:
            video.fetch([handle(video, 0), old])
        assert error.value.field.startswith("handles[1]")
        with pytest.raises(Fenced):
            video.append(KEY, block(3), epoch=old.epoch)
        assert state(video).length == 3

    def test_video_created_anew_is_searched_without_the_old_one(self, video: Memory) -> None:
        video.append(KEY, block(0))
        video.drop_video(KEY)
        video.create_video(KEY, SPEC)
        video.append(KEY, dataclasses.replace(block(100, 60), start=0))
        for frame in (0, 2, 3, 59):
            (hits,) = video.search(KEY, [query(1, like=100 + frame)]).hits
            assert [(hit.handle.frame, hit.score) for hit in hits] == [(frame, 1.0)]


class TestMemory:
    def test_info_names_index_and_limits(self, memory: Memory) -> None:
        memory.create_video(KEY, SPEC)
        info = memory.info()
        assert info.index in {"flat", "faiss-flat"}
        assert info.version
        assert info.uptime_s >= 0
        assert info.hot_videos >= 1
        assert min(info.max_k, info.max_queries, info.max_message_bytes) > 0

    def test_close_is_idempotent(self, video: Memory) -> None:
        video.append(KEY, block(0))
        video.close()
        video.close()

    def test_a_shape_may_be_a_list_of_numpy_integers(self, memory: Memory) -> None:
        shape: Any = [np.int64(3), np.int64(2), np.int64(2)]
        spec = VideoSpec(DIM, "bfloat16", shape, SPEC.encoder_id, SPEC.metadata)
        assert memory.create_video(KEY, spec).spec == SPEC
