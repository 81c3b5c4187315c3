"""What every memory does, written once against the `Memory` protocol: export, import, append as a stream."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from samples import KEY, SPEC, assert_frames, block, embeddings, handle, latents, query, state

from memory_service.errors import (
    AlreadyExists,
    DataLoss,
    Fenced,
    InvalidArgument,
    NotFound,
    OutOfOrder,
    Sealed,
    ServiceError,
)
from memory_service.memory import Memory
from memory_service.types import Appended, Block, VideoKey, VideoSpec

COPY = VideoKey("other.pool", "copy")
RICH = replace(SPEC, named_dims={"text": 3, "audio": 5})


def rich_block(start: int, n: int) -> Block:
    """A block with everything that a block can have."""
    plain = block(start, n, preview=[b"p" * (i % 3) for i in range(n)])
    named = {name: embeddings(start + 900, n, dim) for name, dim in RICH.named_dims.items()}
    return replace(plain, named=named, metadata={"shot": str(start)}, unix_ms=1_700_000_000_000 + start)


@pytest.fixture
def rich(memory: Memory) -> Memory:
    """KEY with blocks of everything at [0, 3), [3, 6), [6, 8), one logged search, and a last block."""
    memory.create_video(KEY, RICH)
    for start, n in ((0, 3), (3, 3), (6, 2)):
        memory.append(KEY, rich_block(start, n))
    memory.search(KEY, [query(4, frame=5)])
    memory.append(KEY, rich_block(8, 4))
    return memory


def assert_rich(memory: Memory, key: VideoKey, length: int) -> None:
    starts = [0] * 3 + [3] * 3 + [6] * 2 + [8] * 4
    for frame, got in enumerate(memory.fetch([handle(memory, f, key) for f in range(length)])):
        start = starts[frame]
        whole = rich_block(start, starts.count(start))
        np.testing.assert_array_equal(got.embedding, whole.embeddings[frame - start])
        assert {name: bytes(data) for name, data in got.parts.items()} == {
            name: payloads[frame - start] for name, payloads in whole.parts.items()
        }
        assert got.named.keys() == whole.named.keys()
        for name, rows in whole.named.items():
            np.testing.assert_array_equal(got.named[name], rows[frame - start])
        assert (got.metadata, got.unix_ms) == (whole.metadata, whole.unix_ms)


def exported(memory: Memory, key: VideoKey = KEY) -> bytes:
    return b"".join(memory.export_video(key))


def in_pieces(data: bytes, size: int = 1000) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


class TestExportAndImport:
    def test_a_copy_is_the_video(self, rich: Memory) -> None:
        info = rich.import_video(COPY, in_pieces(exported(rich)), expected=RICH)
        assert (info.key, info.spec, info.sealed, info.parent) == (COPY, RICH, False, None)
        assert (info.state.length, info.state.durable) == (12, 12)
        assert info.state.epoch != state(rich).epoch
        assert rich.get_video(COPY) == info
        assert_rich(rich, COPY, 12)
        for like in (2, 7, 11):
            there, here = (rich.search(key, [query(12, like=like)], log=False) for key in (KEY, COPY))
            assert [(h.handle.frame, h.score) for h in there.hits[0]] == [
                (h.handle.frame, h.score) for h in here.hits[0]
            ]
        assert [replace(entry, key=KEY) for entry in rich.retrievals(COPY)] == list(rich.retrievals(KEY))

    def test_blocks_keep_their_boundaries(self, rich: Memory) -> None:
        rich.import_video(COPY, [exported(rich)])
        for length in (3, 6, 8, 12):
            rich.fork_video(COPY, VideoKey("pool", f"at-{length}"), length=length)
        with pytest.raises(InvalidArgument):
            rich.fork_video(COPY, VideoKey("pool", "inside"), length=4)

    def test_the_copy_goes_on(self, rich: Memory) -> None:
        epoch = rich.import_video(COPY, [exported(rich)]).state.epoch
        assert rich.append(COPY, rich_block(8, 4), epoch=epoch).duplicate
        assert rich.append(COPY, rich_block(12, 2), epoch=epoch).state.length == 14
        assert state(rich).length == 12

    def test_a_fork_is_exported_whole(self, rich: Memory) -> None:
        fork = VideoKey("pool", "fork")
        rich.fork_video(KEY, fork, length=8)
        rich.append(fork, rich_block(8, 4))
        data = exported(rich, fork)
        for key in (KEY, fork):
            rich.drop_video(key)
        assert rich.import_video(COPY, in_pieces(data)).parent is None
        assert_rich(rich, COPY, 12)

    def test_what_was_truncated_is_not_exported(self, rich: Memory) -> None:
        before = len(exported(rich))
        rich.truncate_video(KEY, 7)
        data = exported(rich)
        assert len(data) < before
        assert rich.import_video(COPY, [data]).state.length == 7
        assert_rich(rich, COPY, 7)

    def test_a_seal_goes_along(self, rich: Memory) -> None:
        rich.seal_video(KEY)
        assert rich.import_video(COPY, [exported(rich)]).sealed
        with pytest.raises(Sealed):
            rich.append(COPY, rich_block(12, 1))

    def test_an_empty_video(self, video: Memory) -> None:
        info = video.import_video(COPY, [exported(video)])
        assert (info.spec, info.state.length) == (SPEC, 0)
        video.append(COPY, block(0))
        assert_frames(video, 0, 3, COPY)

    def test_large_ones_come_in_chunks(self, memory: Memory) -> None:
        spec = VideoSpec(8, "float32", (1 << 16,), "x")
        memory.create_video(KEY, spec)
        payloads = [np.random.default_rng(i).bytes(1 << 18) for i in range(12)]
        for start in range(0, 12, 4):
            part = {"latent": payloads[start : start + 4]}
            memory.append(KEY, Block(start, embeddings(start, 4), part))
        chunks = list(memory.export_video(KEY))
        assert len(chunks) > 3
        memory.import_video(COPY, chunks)
        frames = memory.fetch([handle(memory, frame, COPY) for frame in range(12)])
        assert [bytes(frame.parts["latent"]) for frame in frames] == payloads

    def test_names_must_be_there_and_free(self, rich: Memory) -> None:
        with pytest.raises(NotFound) as missing:
            exported(rich, VideoKey("pool", "nobody"))
        assert missing.value.field == "key"
        data = exported(rich)
        with pytest.raises(AlreadyExists) as taken:
            rich.import_video(KEY, [data])
        assert taken.value.field == "key"
        with pytest.raises(InvalidArgument) as bad:
            rich.import_video(VideoKey("pool", "../x"), [data])
        assert bad.value.field == "key.video"

    @pytest.mark.parametrize(
        "other",
        [
            {"embedding_dim": 9},
            {"latent_dtype": "float16"},
            {"latent_shape": (3, 4)},
            {"encoder_id": "tests/sha256:01"},
            {"named_dims": {"text": 3}},
        ],
    )
    def test_what_was_expected_must_be_in_it(self, rich: Memory, other: dict[str, Any]) -> None:
        data = exported(rich)
        with pytest.raises(InvalidArgument) as error:
            rich.import_video(COPY, [data], expected=replace(RICH, **other))
        assert error.value.field == f"expected.{next(iter(other))}"
        with pytest.raises(NotFound):
            rich.get_video(COPY)
        assert rich.import_video(COPY, [data], expected=replace(RICH, metadata={})).spec == RICH

    def test_whatever_is_damaged_or_missing_is_refused(self, rich: Memory) -> None:
        data = exported(rich)
        rng = np.random.default_rng(5)
        spoilt = [data[:size] for size in (1, 63, 64, 500, len(data) // 2, len(data) - 128, len(data) - 1)]
        spoilt += [data + b"more", data[64:], data[:640] + data[704:], bytes(len(data)), b"not a reel" * 99]
        for place in rng.choice(len(data) // 64, 24, replace=False).tolist():
            flipped = bytearray(data)
            flipped[64 * place] ^= 1 << int(rng.integers(8))
            spoilt.append(bytes(flipped))
        for bad in spoilt:
            with pytest.raises(ServiceError) as error:
                rich.import_video(COPY, in_pieces(bad))
            assert isinstance(error.value, DataLoss | InvalidArgument), error.value
            assert error.value.field == "data"
            with pytest.raises(NotFound):
                rich.get_video(COPY)
        rich.import_video(COPY, in_pieces(data, 7))
        assert_rich(rich, COPY, 12)

    def test_nothing_is_refused(self, rich: Memory) -> None:
        for nothing in ([], [b""], [b"", b""]):
            with pytest.raises(InvalidArgument) as error:
                rich.import_video(COPY, nothing)
            assert error.value.field == "data"


class TestAppendStream:
    def test_answers_come_in_order(self, video: Memory) -> None:
        epoch = state(video).epoch
        answers = list(video.append_stream(KEY, (block(s) for s in range(0, 60, 3)), epoch=epoch))
        assert [answer.state.length for answer in answers] == list(range(3, 61, 3))
        assert not any(answer.duplicate for answer in answers)
        assert_frames(video, 0, 60)

    def test_none_is_none(self, video: Memory) -> None:
        assert list(video.append_stream(KEY, [])) == []

    def test_it_is_safe_to_repeat(self, video: Memory) -> None:
        blocks = [block(s) for s in range(0, 12, 3)]
        list(video.append_stream(KEY, blocks[:2]))
        answers = list(video.append_stream(KEY, blocks))
        assert [answer.duplicate for answer in answers] == [True, True, False, False]
        assert answers[-1].state.length == 12

    def test_the_first_error_ends_it(self, video: Memory) -> None:
        answers: list[Appended] = []
        stream = video.append_stream(KEY, [block(0), block(3), block(9), block(6)])
        with pytest.raises(OutOfOrder) as error:
            answers.extend(stream)
        assert error.value.expected_start == 6
        assert [answer.state.length for answer in answers] == [3, 6]
        assert state(video).length == 6

    def test_epoch_and_sync_hold_for_all(self, video: Memory) -> None:
        epoch = state(video).epoch
        for answer in video.append_stream(KEY, [block(0), block(3)], epoch=epoch, sync=True):
            assert answer.state.durable == answer.state.length
        with pytest.raises(Fenced):
            list(video.append_stream(KEY, [block(6)], epoch=epoch + 1))
        assert state(video).length == 6


class TestContentOfBlocks:
    def test_named_embeddings_metadata_and_time_come_back(self, rich: Memory) -> None:
        assert_rich(rich, KEY, 12)
        answer = rich.advance(KEY, rich_block(12, 1), query(3, like=4))
        assert [set(frame.named) for frame in answer.frames] == [{"text", "audio"}] * 3

    def test_they_count_as_content(self, rich: Memory) -> None:
        good = rich_block(3, 3)
        assert rich.append(KEY, good).duplicate
        assert rich.append(KEY, replace(good, unix_ms=0)).duplicate
        moved = {**good.named, "text": good.named["text"] + np.float32(1)}
        for other in (
            replace(good, named=moved),
            replace(good, metadata={}),
            replace(good, metadata={"shot": "4"}),
            replace(good, metadata={**good.metadata, "take": "2"}),
            replace(good, unix_ms=good.unix_ms + 1),
        ):
            with pytest.raises(AlreadyExists) as error:
                rich.append(KEY, other)
            assert error.value.field == "block"

    def test_the_time_of_keeping_where_none_is_given(self, video: Memory) -> None:
        video.append(KEY, block(0))
        video.append(KEY, replace(block(3), unix_ms=5))
        first, last = video.fetch([handle(video, 0), handle(video, 5)])
        assert abs(first.unix_ms - video.get_video(KEY).created_unix_ms) < 60_000
        assert last.unix_ms == 5
        assert video.append(KEY, block(0)).duplicate
        assert video.append(KEY, replace(block(0), unix_ms=first.unix_ms)).duplicate
        assert bytes(first.parts["latent"]) == latents(0, 1)[0]

    def test_exactly_the_named_ones_of_the_spec(self, rich: Memory) -> None:
        good = rich_block(12, 2)
        for named in ({}, {"text": good.named["text"]}, {**good.named, "more": good.named["text"]}):
            with pytest.raises(InvalidArgument) as error:
                rich.append(KEY, replace(good, named=named))
            assert error.value.field == "block.named"
