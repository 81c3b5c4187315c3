"""What every memory does, written once against the `Memory` protocol: fetch."""

import dataclasses

import pytest
from samples import KEY, SPEC, block, handle, latents, state

from memory_service.errors import InvalidArgument, NotFound, TooLarge
from memory_service.memory import Memory
from memory_service.types import VideoKey


class TestFetch:
    @pytest.fixture
    def filled(self, video: Memory) -> Memory:
        for start in (0, 3, 6):
            video.append(KEY, block(start))
        return video

    def test_order_and_repetition_are_the_callers(self, filled: Memory) -> None:
        wanted = [7, 0, 4, 7, 8, 1]
        got = filled.fetch([handle(filled, frame) for frame in wanted])
        assert [frame.handle.frame for frame in got] == wanted
        assert [bytes(frame.parts["latent"]) for frame in got] == [latents(f, 1)[0] for f in wanted]

    def test_nothing_asked_is_nothing_fetched(self, filled: Memory) -> None:
        assert len(filled.fetch([])) == 0

    def test_handles_may_be_of_several_videos(self, filled: Memory) -> None:
        other = VideoKey("other", "video")
        filled.create_video(other, SPEC)
        filled.append(other, block(0, 5))
        got = filled.fetch([handle(filled, 8), handle(filled, 4, other), handle(filled, 2)])
        assert [(frame.handle.key, frame.handle.frame) for frame in got] == [(KEY, 8), (other, 4), (KEY, 2)]
        assert [bytes(frame.parts["latent"]) for frame in got] == [latents(f, 1)[0] for f in (8, 4, 2)]

    def test_parts_are_as_appended_and_chosen_by_name(self, video: Memory) -> None:
        previews = [b"jpeg", b"", bytes(range(256)) * 5]
        video.append(KEY, block(0, preview=previews, depth=[b"d0", b"d1", b"d2"]))
        for frame in range(3):
            (got,) = video.fetch([handle(video, frame)])
            assert {name: bytes(data) for name, data in got.parts.items()} == {
                "latent": latents(frame, 1)[0],
                "preview": previews[frame],
                "depth": b"d%d" % frame,
            }
            (got,) = video.fetch([handle(video, frame)], parts=["preview"])
            assert {name: bytes(data) for name, data in got.parts.items()} == {"preview": previews[frame]}

    def test_a_part_that_a_frame_lacks_is_not_found(self, filled: Memory) -> None:
        filled.append(KEY, block(9, preview=[b"x"] * 3))
        assert len(filled.fetch([handle(filled, 9)], parts=["latent", "preview"])) == 1
        with pytest.raises(NotFound):
            filled.fetch([handle(filled, 9), handle(filled, 8)], parts=["preview"])

    def test_too_many_parts_are_refused(self, filled: Memory) -> None:
        for parts in (["latent"] * 17, ["latent"] * 17 + ["nothing"], ["latent"] * 5000):
            with pytest.raises(TooLarge) as error:
                filled.fetch([handle(filled, 0)], parts=parts)
            assert error.value.field == "parts"

    @pytest.mark.parametrize("bad", ["", "../x", "a b", "x" * 129])
    def test_bad_names_of_parts_are_refused(self, filled: Memory, bad: str) -> None:
        for handles in ([], [handle(filled, 0)]):
            with pytest.raises(InvalidArgument) as error:
                filled.fetch(handles, parts=["latent", bad])
            assert error.value.field == "parts[1]"

    @pytest.mark.parametrize("frame", [9, 10, 1 << 40])
    def test_frames_past_the_end_are_not_found(self, filled: Memory, frame: int) -> None:
        with pytest.raises(NotFound) as error:
            filled.fetch([handle(filled, 0), handle(filled, frame)])
        assert error.value.field.startswith("handles[1]")

    def test_another_epoch_is_not_found(self, filled: Memory) -> None:
        stale = dataclasses.replace(handle(filled, 0), epoch=state(filled).epoch + 1)
        with pytest.raises(NotFound):
            filled.fetch([stale])

    def test_negative_frames_are_refused(self, filled: Memory) -> None:
        with pytest.raises(InvalidArgument) as error:
            filled.fetch([handle(filled, -1)])
        assert error.value.field == "handles[0].frame"

    def test_too_many_handles_are_refused(self, filled: Memory) -> None:
        with pytest.raises(TooLarge):
            filled.fetch([handle(filled, 0)] * 5000)

    def test_payloads_outlive_later_appends(self, filled: Memory) -> None:
        got = filled.fetch([handle(filled, frame) for frame in range(9)])
        for start in range(9, 60, 3):
            filled.append(KEY, block(start))
        filled.drop_video(KEY)
        assert [bytes(frame.parts["latent"]) for frame in got] == latents(0, 9)
