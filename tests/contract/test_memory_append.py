"""What every memory does, written once against the `Memory` protocol: append."""

import dataclasses
import threading
import time
from typing import Any

import numpy as np
import pytest
from samples import DIM, KEY, SPEC, assert_frames, block, embeddings, handle, latents, query, state

from memory_service.errors import AlreadyExists, Fenced, InvalidArgument, OutOfOrder, TooLarge
from memory_service.memory import Memory
from memory_service.types import Block, VideoKey


class TestAppend:
    def test_blocks_follow_each_other(self, video: Memory) -> None:
        length = 0
        for n in (3, 1, 5):
            answer = video.append(KEY, block(length, n), epoch=state(video).epoch)
            length += n
            assert not answer.duplicate
            assert answer.state.length == length == state(video).length
            assert answer.state.durable <= length
        assert_frames(video, 0, length)

    def test_durable_follows_within_moments(self, video: Memory) -> None:
        video.append(KEY, block(0))
        deadline = time.monotonic() + 5
        while state(video).durable < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def test_sync_answers_when_durable(self, video: Memory) -> None:
        for start in (0, 3, 6):
            assert video.append(KEY, block(start), sync=True).state.durable == start + 3
        assert video.append(KEY, block(0), sync=True).state.durable == 9

    @pytest.mark.parametrize(("start", "n"), [(0, 3), (3, 3), (6, 2), (0, 8), (1, 1), (2, 5), (7, 1)])
    def test_kept_frames_again_are_a_duplicate(self, video: Memory, start: int, n: int) -> None:
        for first, count in ((0, 3), (3, 3), (6, 2)):
            video.append(KEY, block(first, count))
        answer = video.append(KEY, block(start, n))
        assert answer.duplicate
        assert answer.state.length == 8
        assert_frames(video, 0, 8)

    @pytest.mark.parametrize("start", [0, 3])
    def test_other_bytes_are_refused(self, video: Memory, start: int) -> None:
        video.append(KEY, block(0, preview=[b"x", b"", b"yz"]))
        video.append(KEY, block(3, preview=[b"x", b"", b"yz"]))
        good = block(start, preview=[b"x", b"", b"yz"])
        nudged = good.embeddings.copy()
        nudged[2, 5] = np.nextafter(nudged[2, 5], np.float32(9))
        last = bytearray(good.parts["latent"][2])
        last[-1] ^= 1
        others = [
            Block(start, nudged, good.parts),
            Block(start, good.embeddings, {**good.parts, "latent": [*good.parts["latent"][:2], last]}),
            Block(start, good.embeddings, {**good.parts, "preview": [b"x", b"", b"yy"]}),
            Block(start, good.embeddings, {**good.parts, "preview": [b"x", b"", b"y"]}),
            Block(start, good.embeddings, {**good.parts, "extra": [b"", b"", b""]}),
            block(start),
        ]
        for other in others:
            with pytest.raises(AlreadyExists):
                video.append(KEY, other)
        assert state(video).length == 6
        assert_frames(video, 0, 6)

    def test_a_gap_is_out_of_order(self, video: Memory) -> None:
        video.append(KEY, block(0))
        for start in (4, 100):
            with pytest.raises(OutOfOrder) as error:
                video.append(KEY, block(start))
            assert error.value.expected_start == 3
            assert error.value.field == "block.start"
        assert state(video).length == 3

    @pytest.mark.parametrize("start", [1, 2])
    def test_a_block_across_the_end_is_refused(self, video: Memory, start: int) -> None:
        video.append(KEY, block(0))
        with pytest.raises(AlreadyExists):
            video.append(KEY, block(start))
        assert state(video).length == 3

    def test_another_epoch_is_fenced(self, video: Memory) -> None:
        epoch = state(video).epoch
        for start in (0, 7):
            with pytest.raises(Fenced) as error:
                video.append(KEY, block(start), epoch=epoch + 1)
            assert error.value.field == "epoch"
        assert state(video).length == 0

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    def test_payloads_are_any_buffer_of_bytes(self, video: Memory, kind: type) -> None:
        good = block(0)
        video.append(KEY, Block(0, good.embeddings, {"latent": [kind(p) for p in good.parts["latent"]]}))
        assert_frames(video, 0, 3)

    def test_embeddings_may_be_a_view(self, video: Memory) -> None:
        wide = np.zeros((3, 2 * DIM), np.float32)
        wide[:, ::2] = embeddings(0)
        video.append(KEY, Block(0, wide[:, ::2], {"latent": latents(0)}))
        assert_frames(video, 0, 3)

    def test_the_callers_buffers_are_free_after_the_answer(self, video: Memory) -> None:
        rows, payloads = embeddings(0), [bytearray(p) for p in latents(0)]
        video.append(KEY, Block(0, rows, {"latent": payloads}))
        rows[:] = 7
        for payload in payloads:
            payload[:] = bytes(len(payload))
        assert_frames(video, 0, 3)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_embeddings_must_be_finite(self, video: Memory, value: float) -> None:
        rows = embeddings(0)
        rows[1, 2] = value
        self.assert_refused(video, Block(0, rows, {"latent": latents(0)}), "block.embeddings")

    def test_embeddings_must_not_be_zero(self, video: Memory) -> None:
        rows = embeddings(0)
        rows[2] = 0
        self.assert_refused(video, Block(0, rows, {"latent": latents(0)}), "block.embeddings")

    @pytest.mark.parametrize(
        "rows",
        [
            embeddings(0, 3, DIM - 1),
            embeddings(0, 3, DIM + 1),
            embeddings(0, 0).reshape(0, DIM),
            embeddings(0).astype(np.float64),
            embeddings(0).astype(np.float16),
            embeddings(0).astype(">f4"),
            embeddings(0)[0],
            embeddings(0)[None],
        ],
        ids=["narrow", "wide", "empty", "float64", "float16", "big-endian", "flat", "cube"],
    )
    def test_embeddings_must_fit_the_video(self, video: Memory, rows: Any) -> None:
        self.assert_refused(video, Block(0, rows, {"latent": latents(0, len(rows))}), "block.embeddings")

    @pytest.mark.parametrize(
        "parts",
        [
            {},
            {"preview": [b"x"] * 3},
            {"latent": latents(0, 2)},
            {"latent": latents(0, 4)},
            {"latent": [*latents(0, 2), b""]},
            {"latent": [*latents(0, 2), bytes(SPEC.latent_bytes - 1)]},
            {"latent": [*latents(0, 2), bytes(SPEC.latent_bytes + 1)]},
            {"latent": latents(0), "preview": [b"x"] * 2},
            {"latent": latents(0), "a/b": [b"x"] * 3},
            {"latent": latents(0), "": [b"x"] * 3},
        ],
    )
    def test_parts_must_fit_the_video(self, video: Memory, parts: dict[str, list[bytes]]) -> None:
        self.assert_refused(video, Block(0, embeddings(0), parts), "block.parts")

    def test_start_must_not_be_negative(self, video: Memory) -> None:
        self.assert_refused(video, block(0), "block.start", start=-1)

    def test_too_many_frames_or_parts_are_refused(self, video: Memory) -> None:
        many = Block(0, np.ones((300, DIM), np.float32), {"latent": [bytes(SPEC.latent_bytes)] * 300})
        parts = {f"p{i}": [b"", b"", b""] for i in range(16)}
        for oversize in (many, block(0, **parts)):
            with pytest.raises(TooLarge):
                video.append(KEY, oversize)
        assert state(video).length == 0

    def test_videos_do_not_mix(self, memory: Memory) -> None:
        one, two = VideoKey("p", "one"), VideoKey("p", "two")
        memory.create_video(one, SPEC)
        memory.create_video(two, dataclasses.replace(SPEC, embedding_dim=5, latent_shape=(4,)))
        memory.append(one, block(0))
        memory.append(two, Block(0, embeddings(50, 2, 5), {"latent": latents(50, 2, 8)}))
        assert_frames(memory, 0, 3, one)
        (got,) = memory.fetch([handle(memory, 1, two)])
        assert bytes(got.parts["latent"]) == latents(51, 1, 8)[0]

    def test_threads_append_exactly_once(self, video: Memory) -> None:
        """Writers that race with the same blocks write each one once."""
        duplicates: list[bool] = []

        def write() -> None:
            for start in range(0, 30, 3):
                while True:
                    try:
                        duplicates.append(video.append(KEY, block(start)).duplicate)
                        break
                    except OutOfOrder:
                        time.sleep(0.001)

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert duplicates.count(False) == 10
        assert len(duplicates) == 40
        assert_frames(video, 0, 30)

    @staticmethod
    def assert_refused(memory: Memory, bad: Block, field: str, start: int | None = None) -> None:
        """Refused with `field`, and nothing has changed: the good block still fits."""
        if start is not None:
            bad = dataclasses.replace(bad, start=start)
        with pytest.raises(InvalidArgument) as error:
            memory.append(KEY, bad)
        assert error.value.field.startswith(field)
        with pytest.raises(InvalidArgument):
            memory.advance(KEY, bad, query())
        assert memory.append(KEY, block(0)).state.length == 3
        assert_frames(memory, 0, 3)
