"""What every memory does, written once against the `Memory` protocol: fork."""

import threading

import numpy as np
import pytest
from samples import KEY, SPEC, assert_frames, block, embeddings, handle, query, state

from memory_service.errors import AlreadyExists, Fenced, InvalidArgument, NotFound, OutOfOrder, Sealed
from memory_service.memory import Memory
from memory_service.types import Block, Handle, Parent, VideoKey

FORK = VideoKey("pool", "fork")
OTHER = VideoKey("other.pool", "video.0a.base0")
"""In another pool, with a name that looks like one of the memory's own files."""


@pytest.fixture
def parent(video: Memory) -> Memory:
    """KEY with blocks [0, 3), [3, 6), [6, 8)."""
    for start, n in ((0, 3), (3, 3), (6, 2)):
        video.append(KEY, block(start, n))
    return video


class TestFork:
    @pytest.mark.parametrize("length", [0, 3, 6, 8, None])
    def test_a_fork_begins_with_its_parents_frames(self, parent: Memory, length: int | None) -> None:
        of = state(parent)
        fork = parent.fork_video(KEY, FORK, length=length)
        shared = 8 if length is None else length
        assert (fork.key, fork.spec, fork.sealed) == (FORK, SPEC, False)
        assert fork.parent == Parent(KEY, of.epoch, shared)
        assert (fork.state.length, fork.state.durable) == (shared, shared)
        assert fork.state.epoch not in (of.epoch, 0)
        assert_frames(parent, 0, shared, FORK)
        assert parent.get_video(FORK) == fork
        assert fork in parent.list_videos("pool")

    def test_it_shares_and_does_not_copy(self, parent: Memory) -> None:
        before = parent.get_video(KEY).num_bytes
        fork = parent.fork_video(KEY, FORK)
        assert 0 < fork.num_bytes < before
        assert parent.append(FORK, block(8)).state.length == 11
        assert parent.get_video(FORK).num_bytes > fork.num_bytes

    def test_both_go_on_by_themselves(self, parent: Memory) -> None:
        parent.fork_video(KEY, FORK, length=6)
        parent.append(KEY, block(8))
        with pytest.raises(OutOfOrder):
            parent.append(FORK, block(8))
        parent.append(FORK, block(6, 4))
        assert (state(parent).length, state(parent, FORK).length) == (11, 10)
        assert_frames(parent, 0, 11)
        assert_frames(parent, 0, 10, FORK)
        assert parent.append(FORK, block(2, 5)).duplicate

    def test_it_is_searched_like_any_video(self, parent: Memory) -> None:
        parent.fork_video(KEY, FORK, length=6)
        parent.append(FORK, block(6, 2))
        asked = [query(9, like=7), query(4, frame=2), query(9, frame=6)]
        there, here = parent.search(KEY, asked), parent.search(FORK, asked)
        for mine, its in zip(there.hits, here.hits, strict=True):
            assert [(hit.handle.frame, hit.score) for hit in mine] == [
                (hit.handle.frame, hit.score) for hit in its
            ]
        assert {hit.handle.epoch for hit in here.hits[0]} == {state(parent, FORK).epoch}
        assert len(parent.retrievals(FORK)) == 3
        assert len(parent.retrievals(KEY)) == 3

    def test_handles_of_parent_and_fork_are_not_each_others(self, parent: Memory) -> None:
        parent.fork_video(KEY, FORK)
        for key, other in ((KEY, FORK), (FORK, KEY)):
            with pytest.raises(NotFound) as error:
                parent.fetch([Handle(key, state(parent, other).epoch, 0)])
            assert error.value.field == "handles[0].epoch"

    def test_it_outlives_its_parent(self, parent: Memory) -> None:
        fork = parent.fork_video(KEY, FORK, length=6)
        hits = parent.search(FORK, [query(6, like=1)]).hits
        parent.drop_video(KEY)
        assert_frames(parent, 0, 6, FORK)
        assert parent.search(FORK, [query(6, like=1)]).hits == hits
        parent.create_video(KEY, SPEC)
        parent.append(KEY, block(0))
        assert parent.append(FORK, block(6)).state.length == 9
        assert_frames(parent, 0, 9, FORK)
        assert parent.get_video(FORK).parent == fork.parent

    def test_it_outlives_a_truncation_of_its_parent(self, parent: Memory) -> None:
        parent.fork_video(KEY, FORK)
        parent.truncate_video(KEY, 1)
        parent.append(KEY, block(1, 6))
        assert_frames(parent, 0, 8, FORK)

    def test_a_parent_outlives_its_forks(self, parent: Memory) -> None:
        parent.fork_video(KEY, FORK)
        parent.append(FORK, block(8))
        parent.truncate_video(FORK, 2)
        assert_frames(parent, 0, 8)
        parent.drop_video(FORK)
        assert_frames(parent, 0, 8)
        with pytest.raises(NotFound):
            parent.get_video(FORK)
        assert parent.fork_video(KEY, FORK).state.length == 8

    def test_forks_of_forks(self, parent: Memory) -> None:
        keys = [KEY]
        for number in range(5):
            key = VideoKey(("pool", "other.pool")[number % 2], f"fork-{number}")
            length = state(parent, keys[-1]).length
            assert parent.fork_video(keys[-1], key).parent == Parent(
                keys[-1], state(parent, keys[-1]).epoch, length
            )
            parent.append(key, block(length, 2))
            keys.append(key)
        parent.fork_video(keys[-1], OTHER, length=10)
        for key in keys[:-1]:
            parent.drop_video(key)
        assert_frames(parent, 0, 18, keys[-1])
        parent.drop_video(keys[-1])
        assert_frames(parent, 0, 10, OTHER)
        found = parent.search(OTHER, [query(10, like=4)]).hits[0]
        assert sorted(hit.handle.frame for hit in found) == list(range(10))

    def test_into_another_pool(self, parent: Memory) -> None:
        parent.fork_video(KEY, OTHER, length=3)
        parent.append(OTHER, block(3))
        assert_frames(parent, 0, 6, OTHER)
        assert [info.key for info in parent.list_videos("other.pool")] == [OTHER]
        assert [info.key for info in parent.list_videos("pool")] == [KEY]

    def test_metadata_of_its_own(self, parent: Memory) -> None:
        mine = {"prompt": "a harbour by night"}
        fork = parent.fork_video(KEY, FORK, metadata=mine)
        assert fork.spec.metadata == mine
        assert parent.fork_video(KEY, FORK, metadata=mine) == fork
        assert parent.fork_video(KEY, FORK) == fork
        with pytest.raises(AlreadyExists) as error:
            parent.fork_video(KEY, FORK, metadata={"prompt": "another"})
        assert error.value.field == "metadata"

    def test_at_what_a_truncation_left_of_a_block(self, parent: Memory) -> None:
        parent.truncate_video(KEY, 4)
        fork = parent.fork_video(KEY, FORK)
        assert fork.state.length == 4
        assert_frames(parent, 0, 4, FORK)
        parent.append(FORK, block(4, 1))
        parent.append(KEY, block(4, 3))
        parent.fork_video(KEY, OTHER, length=4)
        assert_frames(parent, 0, 5, FORK)
        assert_frames(parent, 0, 4, OTHER)

    def test_a_truncated_fork_of_a_truncated_fork(self, parent: Memory) -> None:
        parent.fork_video(KEY, FORK)
        parent.truncate_video(FORK, 5)
        parent.append(FORK, block(5, 4))
        parent.truncate_video(FORK, 7)
        parent.fork_video(FORK, OTHER, length=5)
        assert_frames(parent, 0, 5, OTHER)
        parent.truncate_video(OTHER, 4)
        third = VideoKey("pool", "third")
        parent.fork_video(OTHER, third)
        parent.drop_video(OTHER)
        parent.drop_video(FORK)
        parent.drop_video(KEY)
        assert_frames(parent, 0, 4, third)

    def test_a_fork_cut_inside_what_it_shares_goes_on(self, parent: Memory) -> None:
        parent.fork_video(KEY, FORK, length=6)
        parent.append(FORK, block(6))
        parent.truncate_video(FORK, 4)
        moved = block(300, 5)
        parent.append(FORK, Block(4, moved.embeddings, moved.parts))
        for frame in range(9):
            like = frame if frame < 4 else frame + 296
            by_vector, by_frame = parent.search(FORK, [query(3, like=like), query(3, frame=frame)]).hits
            assert by_vector[0].handle.frame == frame
            assert by_frame == by_vector

    def test_of_a_sealed_video(self, parent: Memory) -> None:
        parent.seal_video(KEY)
        assert not parent.fork_video(KEY, FORK).sealed
        parent.append(FORK, block(8))
        assert_frames(parent, 0, 11, FORK)
        with pytest.raises(Sealed):
            parent.append(KEY, block(8))

    def test_the_same_fork_again_is_the_one_that_is_there(self, parent: Memory) -> None:
        epoch = state(parent).epoch
        fork = parent.fork_video(KEY, FORK, length=6, epoch=epoch)
        assert parent.fork_video(KEY, FORK, length=6) == fork
        parent.append(FORK, block(6))
        parent.truncate_video(KEY, 0)
        again = parent.fork_video(KEY, FORK, length=6, epoch=epoch)
        assert (again.parent, again.state.length) == (fork.parent, 9)
        parent.drop_video(KEY)
        gone = parent.fork_video(KEY, FORK, length=6, epoch=epoch)
        assert (gone.parent, gone.state.epoch, gone.state.length) == (fork.parent, fork.state.epoch, 9)

    def test_another_one_under_its_name_is_refused(self, parent: Memory) -> None:
        parent.fork_video(KEY, FORK, length=6)
        parent.create_video(OTHER, SPEC)
        for key, length in ((FORK, 3), (FORK, None), (OTHER, 6), (OTHER, 0), (KEY, 6), (KEY, None)):
            with pytest.raises(AlreadyExists) as error:
                parent.fork_video(KEY, key, length=length)
            assert error.value.field == "key"
        assert_frames(parent, 0, 6, FORK)
        assert state(parent, OTHER).length == 0

    @pytest.mark.parametrize("length", [1, 2, 4, 7, 9, 1 << 40])
    def test_only_at_the_end_of_a_block(self, parent: Memory, length: int) -> None:
        with pytest.raises(InvalidArgument) as error:
            parent.fork_video(KEY, FORK, length=length)
        assert error.value.field == "length"
        assert "end of a block" in error.value.expected
        with pytest.raises(NotFound):
            parent.get_video(FORK)

    def test_the_parent_must_be_there_in_that_epoch(self, parent: Memory) -> None:
        with pytest.raises(NotFound) as missing:
            parent.fork_video(VideoKey("pool", "nobody"), FORK)
        assert missing.value.field == "parent"
        with pytest.raises(Fenced) as over:
            parent.fork_video(KEY, FORK, epoch=state(parent).epoch + 1)
        assert (over.value.field, over.value.expected) == ("parent_epoch", str(state(parent).epoch))
        with pytest.raises(NotFound):
            parent.get_video(FORK)

    @pytest.mark.parametrize(
        ("parent_key", "key", "length", "field"),
        [
            (VideoKey("..", "v"), FORK, None, "parent.pool"),
            (KEY, VideoKey("pool", "a/b"), None, "key.video"),
            (KEY, FORK, -1, "length"),
        ],
    )
    def test_bad_requests_name_the_field(
        self, parent: Memory, parent_key: VideoKey, key: VideoKey, length: int | None, field: str
    ) -> None:
        with pytest.raises(InvalidArgument) as error:
            parent.fork_video(parent_key, key, length=length)
        assert error.value.field == field

    def test_while_the_parent_grows(self, parent: Memory) -> None:
        """Each fork has a prefix of its parent, whole blocks, whatever is appended meanwhile."""
        done = threading.Event()

        def grow() -> None:
            for start in range(8, 8 + 3 * 60, 3):
                parent.append(KEY, block(start))
            done.set()

        thread = threading.Thread(target=grow)
        thread.start()
        forks = []
        while not done.is_set() or len(forks) < 3:
            forks.append(VideoKey("pool", f"fork-{len(forks)}"))
            parent.fork_video(KEY, forks[-1])
        thread.join()
        for key in forks[:: max(1, len(forks) // 8)]:
            length = state(parent, key).length
            assert length == 8 or (length - 8) % 3 == 0
            assert_frames(parent, 0, length, key)
        np.testing.assert_array_equal(parent.fetch([handle(parent, 100)])[0].embedding, embeddings(100, 1)[0])
