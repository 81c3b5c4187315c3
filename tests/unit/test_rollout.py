"""Properties of whole rollouts of a tiny random model; golden tests hold the numbers to the reference."""

from __future__ import annotations

import time

import pytest
import torch

from generator.configs import Sampling, Window
from generator.errors import ConfigError, MissingKVError
from generator.kv.config import KVConfig
from generator.kv.host_tier import HostTier
from generator.kv.traffic import Traffic
from generator.methods import POLICIES
from generator.rollout import rollout
from memory_service.types import Advanced, Handle, Hit, VideoKey

BLOCKS = 10


def first_difference(a, b) -> int | None:
    """First frame of the first block whose latents are not the same bits."""
    pairs = zip(a, b, strict=True)
    return next((x.span.start for x, y in pairs if not torch.equal(x.latents, y.latents)), None)


def test_methods_part_where_their_contexts_do(tiny) -> None:
    """bf16, bit for bit: native and rag part at frame 6 (window), native and relative at 12 (positions)."""
    tiny = tiny.variant(dtype=torch.bfloat16)
    made = {method: tiny.run(method, BLOCKS, video=method) for method in POLICIES}
    assert first_difference(made["native"], made["longlive_rag"]) == 6
    assert first_difference(made["native"], made["relative"]) == 12
    assert first_difference(made["relative"], made["longlive_rag"]) == 6


def test_without_retrieval_rag_is_the_relative_window(tiny) -> None:
    tiny = tiny.variant(window=Window(top_k=0))
    relative, rag = tiny.run("relative", BLOCKS, video="a"), tiny.run("longlive_rag", BLOCKS, video="b")
    assert first_difference(relative, rag) is None


def test_a_rollout_repeats_bit_for_bit(tiny) -> None:
    for method in POLICIES:
        first = tiny.run(method, BLOCKS, video=f"{method}-1")
        again = tiny.variant(fused=False).run(method, BLOCKS, video=f"{method}-2")
        assert first_difference(first, again) is None
        assert [[hit.handle.frame for hit in block.hits] for block in first] == [
            [hit.handle.frame for hit in block.hits] for block in again
        ]


def test_every_method_fills_the_memory_and_only_rag_searches(tiny, memory) -> None:
    for method in POLICIES:
        blocks = tiny.run(method, BLOCKS, video=method)
        key = VideoKey("tiny", method)
        assert memory.get_video(key).state.length == 3 * BLOCKS
        assert len(memory.retrievals(key)) == (4 if method == "longlive_rag" else 0)
        assert [block.span.start for block in blocks] == list(range(0, 3 * BLOCKS, 3))


def test_retrieved_frames_change_the_block_that_attends_them(tiny) -> None:
    relative = tiny.variant(window=Window(window_frames=6, top_k=0)).run("relative", BLOCKS, video="a")
    rag = tiny.run("longlive_rag", BLOCKS, video="b")
    assert [len(block.hits) for block in rag] == [0] * 6 + [1, 4, 6, 6]
    assert not torch.equal(rag[-1].latents, relative[-1].latents)


def test_only_retrieving_methods_keep_evicted_keys_and_values(tiny) -> None:
    assert tiny.run("native", BLOCKS, video="a")[-1].host_bytes == 0
    host = HostTier()
    blocks = tiny.variant(kv=KVConfig(device_frames=0)).run("longlive_rag", BLOCKS, video="b", host=host)
    slab_bytes = 2 * 2 * 4 * 24 * 4
    assert [block.host_bytes for block in blocks] == [3 * max(0, n - 3) * slab_bytes for n in range(BLOCKS)]
    assert blocks[-1].host_bytes == host.bytes
    distinct = {hit.handle for block in blocks for hit in block.hits}
    retrieved = sum(len(block.hits) for block in blocks)
    traffic = Traffic.total(block.traffic for block in blocks)
    assert traffic.retrieved == retrieved
    assert len(distinct) <= traffic.to_device_bytes // slab_bytes == traffic.from_host < retrieved
    assert traffic.to_host_bytes == host.bytes


def test_other_numbers_of_passes(tiny) -> None:
    sampling = Sampling(steps=(1000, 400), shift=1.0, warped=False)
    blocks = tiny.variant(sampling=sampling).run("native", 2)
    assert torch.isfinite(blocks[-1].latents).all()


def test_time_of_a_block_is_accounted_for(tiny) -> None:
    for block in tiny.variant(fused=False).run("longlive_rag", BLOCKS):
        t = block.timings
        in_turn = t.fetch + t.denoise + t.encode + t.recache + t.wait
        assert 0 < in_turn <= t.total
        assert t.append > 0
        assert (t.search > 0) == (3 * (block.index + 1) >= 18 and block.index + 1 < BLOCKS)
        assert t.advance == 0


class OtherVideosHits:
    """A memory that answers with frames of a video which this process did not make."""

    def __init__(self, memory) -> None:
        self._memory = memory

    def __getattr__(self, name: str):
        return getattr(self._memory, name)

    def advance(self, key, block, query, **kwargs) -> Advanced:
        answer = self._memory.advance(key, block, query, **kwargs)
        return Advanced(answer.appended, (Hit(Handle(VideoKey("tiny", "other"), 7, 2), 0.5),), ())


def test_frames_without_keys_and_values_are_an_error_that_names_them(tiny, memory) -> None:
    with pytest.raises(MissingKVError, match="tiny/other epoch 7 frame 2"):
        tiny.variant(memory=OtherVideosHits(memory)).run("longlive_rag", BLOCKS)
    assert memory.get_video(VideoKey("tiny", "video")).state.length == 18


def test_retrieved_frames_limit_only_methods_that_retrieve(tiny) -> None:
    tiny = tiny.variant(window=Window(window_frames=9, top_k=6))
    assert len(tiny.run("native", BLOCKS)) == BLOCKS
    with pytest.raises(ConfigError, match="longlive_rag could not attend to itself"):
        tiny.run("longlive_rag", BLOCKS, video="refused")


def test_positions_that_the_model_lacks_are_refused_before_the_first_block(tiny, memory) -> None:
    tiny.config("native").check_length(341)
    for method in ("relative", "longlive_rag"):
        tiny.config(method).check_length(10_000)
    with pytest.raises(ConfigError, match="native needs 1026 temporal positions"):
        tiny.run("native", 342)
    assert memory.get_video(VideoKey("tiny", "video")).state.length == 0


class Slow:
    """Stands before a memory or a model, and sleeps in every append and in every clean pass."""

    def __init__(self, inner, seconds: float) -> None:
        self._inner = inner
        self._seconds = seconds

    def __getattr__(self, name: str):
        return getattr(self._inner, name)

    def append(self, *args, **kwargs):
        time.sleep(self._seconds)
        return self._inner.append(*args, **kwargs)

    def flow(self, latents, timestep, attended):
        if attended.store is not None:
            time.sleep(self._seconds)
        return self._inner.flow(latents, timestep, attended)


def test_the_clean_pass_hides_the_memory(tiny, memory) -> None:
    memory_ms = 300
    tiny = tiny.variant(memory=Slow(memory, memory_ms / 1000), fused=False)
    model = Slow(tiny.model(), 4 * memory_ms / 1000)
    with tiny.history("video") as history:
        parts = rollout(model, tiny.config("native"), tiny.track(2), tiny.noise(2), tiny.encoder, history)
        for block in parts:
            t = block.timings
            assert t.append >= memory_ms
            assert t.wait <= t.total - (t.fetch + t.denoise + t.encode + t.recache) < memory_ms / 2
