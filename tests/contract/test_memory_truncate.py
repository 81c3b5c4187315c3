"""What every memory does, written once against the `Memory` protocol: truncate and seal."""

import pytest
from samples import KEY, SPEC, block, handle, latents, query, state

from memory_service.errors import AlreadyExists, Fenced, InvalidArgument, NotFound, OutOfOrder, Sealed
from memory_service.memory import Memory
from memory_service.types import Block, Handle, VideoKey

NOBODY = VideoKey("pool", "nobody")


@pytest.fixture
def grown(video: Memory) -> Memory:
    """KEY with blocks [0, 3), [3, 6), [6, 8)."""
    for start, n in ((0, 3), (3, 3), (6, 2)):
        video.append(KEY, block(start, n))
    return video


def other_block(start: int, n: int) -> Block:
    """Frames with other bytes than `block` has at these numbers."""
    moved = block(start + 500, n)
    return Block(start, moved.embeddings, moved.parts)


class TestTruncate:
    @pytest.mark.parametrize("length", range(9))
    def test_the_first_frames_stay(self, grown: Memory, length: int) -> None:
        handles = [handle(grown, frame) for frame in range(8)]
        before = state(grown)
        info = grown.truncate_video(KEY, length)
        assert (info.key, info.spec, info.sealed, info.parent) == (KEY, SPEC, False, None)
        assert (info.state.length, info.state.durable) == (length, length)
        assert info.state.epoch != before.epoch
        assert grown.get_video(KEY) == info
        for frame, got in enumerate(grown.fetch(handles[:length])):
            assert (got.handle, bytes(got.parts["latent"])) == (handles[frame], latents(frame, 1)[0])
        for one in handles[length:]:
            with pytest.raises(NotFound) as error:
                grown.fetch([handles[0]] * (length > 0) + [one])
            assert error.value.field.startswith(f"handles[{int(length > 0)}].")

    def test_what_went_is_found_no_more(self, grown: Memory) -> None:
        grown.truncate_video(KEY, 4)
        found = grown.search(KEY, [query(9, like=6)])
        assert sorted(hit.handle.frame for hit in found.hits[0]) == [0, 1, 2, 3]
        assert found.state == state(grown)
        with pytest.raises(NotFound) as error:
            grown.search(KEY, [query(3, frame=4)])
        assert error.value.field == "queries[0].frame"

    def test_new_frames_under_old_numbers(self, grown: Memory) -> None:
        old = [handle(grown, frame) for frame in range(8)]
        grown.truncate_video(KEY, 4)
        grown.append(KEY, other_block(4, 5))
        for one in old[4:]:
            with pytest.raises(NotFound) as error:
                grown.fetch([one])
            assert (error.value.field, error.value.expected) == ("handles[0].epoch", str(state(grown).epoch))
        new = [*old[:4], *(handle(grown, frame) for frame in range(4, 9))]
        got = grown.fetch(new)
        assert [bytes(frame.parts["latent"]) for frame in got] == [*latents(0, 4), *latents(504, 5)]
        hits = grown.search(KEY, [query(9, like=506)]).hits[0]
        assert {hit.handle for hit in hits} == set(new)
        assert hits[0].handle == new[6]

    def test_searches_see_the_new_frames_and_not_the_old(self, grown: Memory) -> None:
        """Many frames and few hits: the best must be found, not only scored rightly."""
        for start in range(8, 68, 3):
            grown.append(KEY, block(start))
        grown.truncate_video(KEY, 20)
        grown.append(KEY, other_block(20, 40))
        for frame in range(60):
            like = frame if frame < 20 else frame + 500
            by_vector, by_frame = grown.search(KEY, [query(2, like=like), query(2, frame=frame)]).hits
            assert by_vector[0].handle.frame == frame
            assert by_vector[0].score == 1.0
            assert by_frame == by_vector

    def test_a_writer_of_the_old_epoch_is_fenced(self, grown: Memory) -> None:
        before = state(grown).epoch
        now = grown.truncate_video(KEY, 8).state
        assert now.length == 8
        for start in (0, 8):
            with pytest.raises(Fenced) as error:
                grown.append(KEY, block(start), epoch=before)
            assert (error.value.field, error.value.expected) == ("epoch", str(now.epoch))
        with pytest.raises(Fenced):
            grown.advance(KEY, block(8), query(), epoch=before)
        with pytest.raises(Fenced):
            grown.truncate_video(KEY, 3, epoch=before)
        with pytest.raises(Fenced):
            grown.seal_video(KEY, epoch=before)
        assert state(grown) == now
        assert grown.append(KEY, block(8), epoch=now.epoch).state.length == 11

    def test_duplicates_and_gaps_count_from_the_new_end(self, grown: Memory) -> None:
        grown.truncate_video(KEY, 4)
        assert grown.append(KEY, block(0, 4)).duplicate
        assert grown.append(KEY, block(3, 1)).duplicate
        with pytest.raises(AlreadyExists) as partly:
            grown.append(KEY, block(3))
        assert partly.value.details["expected_start"] == "4"
        with pytest.raises(OutOfOrder) as gap:
            grown.append(KEY, block(6, 2))
        assert gap.value.expected_start == 4

    def test_the_same_truncation_again_changes_nothing(self, grown: Memory) -> None:
        before = state(grown).epoch
        info = grown.truncate_video(KEY, 4, epoch=before)
        assert grown.truncate_video(KEY, 4, epoch=before) == info
        grown.search(KEY, [query(2, frame=1)])
        assert grown.truncate_video(KEY, 4, epoch=before).state == info.state
        with pytest.raises(Fenced):
            grown.truncate_video(KEY, 3, epoch=before)
        grown.append(KEY, block(4))
        with pytest.raises(Fenced):
            grown.truncate_video(KEY, 4, epoch=before)
        again = grown.truncate_video(KEY, 4)
        assert again.state.epoch not in (before, info.state.epoch)
        with pytest.raises(Fenced):
            grown.truncate_video(KEY, 4, epoch=before)

    def test_truncation_upon_truncation(self, grown: Memory) -> None:
        old = [handle(grown, frame) for frame in range(8)]
        grown.truncate_video(KEY, 7)
        grown.append(KEY, block(7, 4))
        middle = handle(grown, 8)
        grown.truncate_video(KEY, 9)
        grown.truncate_video(KEY, 5)
        assert state(grown).length == 5
        assert len(grown.fetch(old[:5])) == 5
        for one in (*old[5:], middle):
            with pytest.raises(NotFound):
                grown.fetch([one])

    def test_the_log_of_retrievals_stays(self, grown: Memory) -> None:
        epoch = state(grown).epoch
        hits = grown.search(KEY, [query(3, frame=7)]).hits[0]
        grown.truncate_video(KEY, 1)
        (entry,) = grown.retrievals(KEY)
        assert (entry.epoch, entry.length) == (epoch, 8)
        assert entry.frames == tuple(hit.handle.frame for hit in hits)

    @pytest.mark.parametrize("length", [-1, 9, 1 << 62])
    def test_a_length_that_is_not_there_is_refused(self, grown: Memory, length: int) -> None:
        before = state(grown)
        with pytest.raises(InvalidArgument) as error:
            grown.truncate_video(KEY, length)
        assert error.value.field == "length"
        assert (state(grown).epoch, state(grown).length) == (before.epoch, 8)

    def test_there_must_be_a_video(self, memory: Memory) -> None:
        for verb in (lambda: memory.truncate_video(NOBODY, 0), lambda: memory.seal_video(NOBODY)):
            with pytest.raises(NotFound) as error:
                verb()
            assert error.value.field == "key"


class TestSeal:
    def test_a_sealed_video_takes_no_more_frames(self, grown: Memory) -> None:
        before = state(grown)
        info = grown.seal_video(KEY, epoch=before.epoch)
        assert info.sealed
        assert (info.state.epoch, info.state.length, info.state.durable) == (before.epoch, 8, 8)
        for refused in (
            lambda: grown.append(KEY, block(8)),
            lambda: grown.append(KEY, block(9)),
            lambda: grown.advance(KEY, block(8), query()),
            lambda: grown.truncate_video(KEY, 3),
            lambda: grown.truncate_video(KEY, 8, epoch=before.epoch),
        ):
            with pytest.raises(Sealed) as error:
                refused()
            assert error.value.field == "key"
        assert grown.get_video(KEY).state == info.state

    def test_sealing_again_does_nothing(self, grown: Memory) -> None:
        info = grown.seal_video(KEY)
        assert grown.seal_video(KEY) == info
        assert grown.seal_video(KEY, epoch=info.state.epoch) == info
        with pytest.raises(Fenced):
            grown.seal_video(KEY, epoch=info.state.epoch + 1)

    def test_what_is_there_is_still_a_duplicate(self, grown: Memory) -> None:
        grown.seal_video(KEY)
        assert grown.append(KEY, block(3)).duplicate
        with pytest.raises(AlreadyExists):
            grown.append(KEY, other_block(3, 3))
        assert grown.advance(KEY, block(6, 2), query(2, frame=1)).appended.duplicate

    def test_it_is_read_and_dropped_like_any_other(self, grown: Memory) -> None:
        handles = [handle(grown, frame) for frame in range(8)]
        grown.seal_video(KEY)
        assert len(grown.search(KEY, [query(8, like=2)]).hits[0]) == 8
        assert [bytes(f.parts["latent"]) for f in grown.fetch(handles)] == latents(0, 8)
        assert grown.retrievals(KEY)
        grown.drop_video(KEY)
        assert not grown.create_video(KEY, SPEC).sealed
        with pytest.raises(NotFound):
            grown.fetch([Handle(KEY, handles[0].epoch, 0)])

    def test_an_empty_video_can_be_sealed(self, video: Memory) -> None:
        assert video.seal_video(KEY).sealed
        with pytest.raises(Sealed):
            video.append(KEY, block(0))
