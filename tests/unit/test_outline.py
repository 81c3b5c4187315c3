"""Where a video stands, by its records alone: the same for a list of cold videos as for an open one."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from samples import KEY, SPEC, block, state

from memory_service.engine import MemoryEngine
from memory_service.errors import InvalidArgument
from memory_service.histories.frames import Frames
from memory_service.histories.outline import Outline
from memory_service.histories.stored_frame import Pages
from memory_service.records import pack_truncation, unpack_block
from memory_service.reel import Kind, Prefix, Record
from memory_service.types import Span, VideoKey

VIDEO = Record(
    0,
    Prefix(Kind.VIDEO, 0, 0, 64, 0, 7, 0, 0, 0),
    {
        "pool": "p",
        "video": "v",
        "epoch": 7,
        "created_unix_ms": 1,
        "embedding_dim": 2,
        "latent_dtype": "float32",
        "latent_shape": [1],
        "encoder_id": "",
        "metadata": {},
    },
)


def record(number: int, kind: Kind, header: dict[str, object]) -> Record:
    """Record `number`, which ends at byte 128 * (number + 1)."""
    return Record(128 * number, Prefix(kind, 0, 64, 0, number, 7, 0, 0, 0), header)


def block_record(number: int, start: int, n: int) -> Record:
    header = {
        "start": start,
        "n": n,
        "dim": 2,
        "embedding_crcs": [0] * n,
        "parts": {"latent": [[0, 4, 0]] * n},
    }
    return record(number, Kind.BLOCK, header)


@dataclass
class NoPages:
    """A reel of which nothing is read."""

    path: Path = Path("reel")
    inode: int = 1

    def check_size(self) -> None:
        raise AssertionError("outlines and tables read no payload")

    def view(self, offset: int, length: int) -> memoryview:  # noqa: ARG002
        raise AssertionError("outlines and tables read no payload")


def test_any_blocks_and_truncations_against_lists_of_frames() -> None:
    """Frames as (number, record that brought it): the obvious way to follow a reel."""
    rng = np.random.default_rng(3)
    reel: Pages = NoPages()
    for _ in range(60):
        outline, frames = Outline(VIDEO), Frames(VideoKey("p", "v"))
        held: list[int] = []
        stops = {0}
        for number in range(1, int(rng.integers(2, 14))):
            if held and rng.random() < 0.4:
                length = int(rng.integers(0, len(held) + 1))
                cut = record(number, Kind.TRUNCATE, pack_truncation(1000 + number, length))
                outline.take(cut)
                frames.truncate(length, reel, cut.end)
                del held[length:]
                stops = {stop for stop in stops if stop < length} | {length}
                assert (outline.epoch, outline.ended_epoch is not None) == (1000 + number, True)
            else:
                n = int(rng.integers(1, 5))
                new = block_record(number, len(held), n)
                outline.take(new)
                frames.add(unpack_block(new), reel, outline.epoch)
                held += [number] * n
                stops.add(len(held))
                assert outline.ended_epoch is None
            assert outline.length == frames.length == len(held)
            for mark in range(0, 128 * (number + 2), 128):
                kept = [frame for frame, brought in enumerate(held) if 128 * (brought + 1) <= mark]
                assert outline.durable(mark) == len(kept)
            assert [
                span_of for kept in frames.blocks for span_of in range(kept.span.start, kept.span.stop)
            ] == [*range(len(held))]
            assert [frames.block(frame).stored.end // 128 - 1 for frame in range(len(held))] == held
            for length in range(len(held) + 2):
                if length in stops:
                    last = frames.block_before(length)
                    assert (last.span.stop if last else 0) == length
                else:
                    with pytest.raises(InvalidArgument):
                        frames.block_before(length)


def test_a_fork_begins_with_what_it_shares() -> None:
    outline = Outline(VIDEO)
    fork = {"pool": "p", "video": "parent", "epoch": 5, "length": 6, "bases": [[5, 640, 6]]}
    outline.take(record(1, Kind.FORK, fork))
    assert (outline.length, outline.durable(0)) == (6, 6)
    outline.take(block_record(2, 6, 3))
    assert (outline.length, outline.durable(383), outline.durable(384)) == (9, 6, 9)
    outline.take(record(3, Kind.TRUNCATE, pack_truncation(8, 4)))
    assert (outline.length, outline.durable(0)) == (4, 4)
    assert outline.parent is not None
    assert outline.parent.length == 6
    outline.take(record(4, Kind.SEAL, {}))
    assert outline.sealed
    assert outline.ended_epoch is None


def test_cold_and_open_are_told_alike(tmp_path: Path) -> None:
    memory = MemoryEngine(tmp_path / "data")
    memory.create_video(KEY, SPEC)
    for start in (0, 3, 6):
        memory.append(KEY, block(start))
    memory.fork_video(KEY, VideoKey("pool", "fork"), length=6)
    memory.append(VideoKey("pool", "fork"), block(6))
    memory.truncate_video(VideoKey("pool", "fork"), 5)
    memory.fork_video(VideoKey("pool", "fork"), VideoKey("pool", "cut"))
    memory.truncate_video(KEY, 4)
    memory.seal_video(KEY)
    memory.close()
    memory = MemoryEngine(tmp_path / "data")
    cold = memory.list_videos("pool")
    assert memory.info().hot_videos == 0
    assert [memory.get_video(info.key) for info in cold] == list(cold)
    assert [(info.state.length, info.state.durable, info.sealed) for info in cold] == [
        (5, 5, False),
        (5, 5, False),
        (4, 4, True),
    ]
    assert cold[0].parent is not None
    assert cold[0].parent.key == VideoKey("pool", "fork")
    assert memory.info().hot_videos == 3
    memory.close()


def test_a_recovery_counts_the_frames_that_are_there(tmp_path: Path) -> None:
    memory = MemoryEngine(tmp_path / "data")
    memory.create_video(KEY, SPEC)
    for start in (0, 3, 6):
        memory.append(KEY, block(start))
    fork = VideoKey("pool", "fork")
    memory.fork_video(KEY, fork)
    memory.append(fork, block(9))
    memory.truncate_video(KEY, 4)
    memory.close()
    for key in (KEY, fork):
        with (tmp_path / "data" / key.pool / f"{key.video}.reel").open("ab") as file:
            file.write(b"torn")
    memory = MemoryEngine(tmp_path / "data")
    assert (state(memory).length, state(memory, fork).length) == (4, 12)
    assert sorted(recovery.frames_kept for recovery in memory.recoveries) == [4, 12]
    memory.close()


def test_spans_of_cut_blocks_are_whole_for_their_bytes() -> None:
    """A frame's bytes are found by its place in the block that was written, not in what is left of it."""
    frames = Frames(VideoKey("p", "v"))
    reel: Pages = NoPages()
    frames.add(unpack_block(block_record(1, 0, 4)), reel, 7)
    frames.truncate(3, reel, 384)
    (kept,) = frames.blocks
    assert (kept.span, kept.stored.span) == (Span(0, 3), Span(0, 4))
    assert (kept.upto, kept.stored.end) == (384, 256)
