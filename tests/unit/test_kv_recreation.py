"""Keys and values made anew from latents, beside those that they stand for; a tiny random model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import pytest
import torch
from tiny_rollouts import TinyRollouts

from generator.block_sampler import BlockSampler
from generator.errors import KVBudgetError
from generator.history.history import History
from generator.history.past import Past
from generator.kv.arena import bytes_for
from generator.kv.config import LAYOUTS, KVConfig
from generator.kv.host_tier import HostTier
from generator.kv.traffic import Traffic
from generator.rollout import RolledBlock, rollout
from generator.story.text import PromptTrack
from memory_service.types import Handle, VideoKey

BLOCKS = 12
SLAB = 2 * 2 * 4 * 24 * 4
"""Bytes of a frame of the tiny model: layers, key and value, tokens, heads * D, float32."""


@pytest.fixture
def samplers(monkeypatch) -> list[BlockSampler]:
    """The samplers of all rollouts, which can still re-create when these are over."""
    made: list[BlockSampler] = []

    def make(*args) -> BlockSampler:
        made.append(BlockSampler(*args))
        return made[-1]

    monkeypatch.setattr("generator.rollout.BlockSampler", make)
    return made


def exact(tiny: TinyRollouts, video: str = "video", rows: tuple[int, ...] = (0,) * BLOCKS) -> HostTier:
    """Roll out in exact mode, with two prompts; what was evicted."""
    host = HostTier()
    embeds = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(1))
    track = PromptTrack(embeds=embeds, rows=rows)
    with tiny.history(video) as history:
        config = tiny.config("longlive_rag")
        list(rollout(tiny.model(), config, track, tiny.noise(BLOCKS), tiny.encoder, history, host))
    return host


def handles_of(tiny: TinyRollouts, *frames: int, video: str = "video") -> list[Handle]:
    key = VideoKey("tiny", video)
    return [Handle(key, tiny.memory.get_video(key).state.epoch, frame) for frame in frames]


def error(made: dict[Handle, torch.Tensor], host: HostTier, layer: int) -> float:
    """Relative RMS of one layer over all frames."""
    ours = torch.stack([slab[layer] for slab in made.values()])
    theirs = torch.stack([host.get(each)[layer] for each in made])
    return ((ours - theirs).norm() / theirs.norm()).item()


@torch.inference_mode()
def test_layer_0_comes_back_and_more_context_is_nearer(tiny, samplers) -> None:
    host = exact(tiny)
    handles = handles_of(tiny, *range(3, 24))
    errors = {}
    for layout in LAYOUTS:
        made = samplers[0].recreation(layout).recreate(handles)
        assert list(made) == handles
        assert error(made, host, 0) < 1e-6
        errors[layout] = error(made, host, 1)
    assert errors["block_with_sink"] < errors["with_sink"] < errors["alone"] < 1


@torch.inference_mode()
def test_the_first_block_comes_back_whole_under_its_own_prompt(tiny, samplers) -> None:
    host = exact(tiny, rows=(1, *(0,) * (BLOCKS - 1)))
    made = samplers[0].recreation("block_with_sink").recreate(handles_of(tiny, 1, 2))
    for layer in range(2):
        assert error(made, host, layer) < 1e-6


@torch.inference_mode()
def test_frames_of_one_block_share_a_pass(tiny, samplers, monkeypatch) -> None:
    exact(tiny)
    passed: list[int] = []
    flow = samplers[0]._model.flow
    monkeypatch.setattr(
        samplers[0]._model, "flow", lambda x, *rest: (passed.append(len(x)), flow(x, *rest))[1]
    )
    recreation = samplers[0].recreation("block_with_sink")
    recreation.recreate(handles_of(tiny, 8, 3, 5, 4, 16))
    assert passed == [3, 3, 3]
    assert recreation.taken().recreation_ms > 0
    samplers[0].recreation("with_sink").recreate(handles_of(tiny, 3, 4))
    assert passed[3:] == [1, 1]


@torch.inference_mode()
def test_frames_of_another_video_are_made_with_their_own_sink(tiny, samplers) -> None:
    exact(tiny, "theirs")
    ours = tiny.variant(window=replace(tiny.window, guard_frames=4))
    exact(ours, "ours")
    frames = handles_of(tiny, 4, 5, 10, video="theirs")
    for layout in LAYOUTS:
        by_them = samplers[0].recreation(layout).recreate(frames)
        by_us = samplers[1].recreation(layout).recreate(frames)
        for each in frames:
            torch.testing.assert_close(by_us[each], by_them[each], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_frame_without_its_block_is_made_alone_and_that_is_counted(tiny, memory, samplers) -> None:
    exact(tiny, "theirs")
    exact(tiny, "ours")
    frames = handles_of(tiny, 3, video="theirs")
    memory.truncate_video(frames[0].key, 4)
    recreation = samplers[1].recreation("block_with_sink")
    (made,) = recreation.recreate(frames).values()
    assert recreation.taken().recreated_alone == 1
    alone = samplers[1].recreation("alone")
    assert torch.equal(made, alone.recreate(frames)[frames[0]])
    assert alone.taken().recreated_alone == 0, "nothing was missing"


def run(tiny: TinyRollouts, video: str, **kv) -> list[RolledBlock]:
    return tiny.variant(kv=KVConfig(**kv)).run("longlive_rag", BLOCKS, video=video)


def same(one: list[RolledBlock], other: list[RolledBlock]) -> bool:
    return all(torch.equal(a.latents, b.latents) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("device_frames", [1, 2, 5, 100])
def test_no_tier_changes_a_bit(tiny, dtype, device_frames) -> None:
    tiny = tiny.variant(dtype=dtype)
    plain = run(tiny, "plain", device_frames=0)
    assert same(run(tiny, "tiers", device_frames=device_frames), plain)
    size = bytes_for(24, SLAB)
    assert same(run(tiny, "bounded", mode="bounded", host_bytes=size, device_frames=device_frames), plain)


def test_nothing_is_re_created_while_all_stays_on_the_device(tiny) -> None:
    blocks = run(tiny, "latent", mode="latent", device_frames=24)
    assert same(blocks, run(tiny, "exact"))
    traffic = Traffic.total(block.traffic for block in blocks)
    assert traffic.recreated == traffic.approximate == traffic.from_host == traffic.to_host_bytes == 0
    assert traffic.retrieved == traffic.in_slots + traffic.from_device > 0


@pytest.mark.parametrize("fused", [True, False])
def test_latent_mode_keeps_nothing_on_the_host_and_repeats(tiny, fused) -> None:
    tiny = tiny.variant(fused=fused)
    blocks = run(tiny, "latent", mode="latent", device_frames=2)
    traffic = Traffic.total(block.traffic for block in blocks)
    assert traffic.recreated > 0 == traffic.recreated_alone
    assert traffic.recreated < traffic.approximate <= traffic.retrieved, "what stayed in its slot counts too"
    assert traffic.recreation_ms > 0
    assert [block.host_bytes for block in blocks] == [0] * BLOCKS
    assert same(blocks, run(tiny, "again", mode="latent", device_frames=2))
    plain = run(tiny, "exact")
    assert same(blocks[:6], plain[:6]), "nothing was retrieved yet"
    assert not same(blocks, plain)


@pytest.mark.parametrize("made", [5, 8, 11])
@pytest.mark.parametrize(
    "kv",
    [
        KVConfig(mode="latent", device_frames=0),
        KVConfig(mode="latent", device_frames=3),
        KVConfig(mode="bounded", host_bytes=8 * SLAB, device_frames=0),
        KVConfig(mode="bounded", host_bytes=8 * SLAB, device_frames=3),
    ],
)
def test_what_was_re_created_is_so_again_when_the_rollout_is_resumed(tiny, memory, kv, made) -> None:
    tiny = tiny.variant(kv=kv)
    whole = tiny.run("longlive_rag", BLOCKS, video="whole")
    assert Traffic.total(block.traffic for block in whole).recreated > 0

    def blocks(history: History) -> Iterator[RolledBlock]:
        track, noise = tiny.track(BLOCKS), tiny.noise(BLOCKS)
        return rollout(tiny.model(), tiny.config("longlive_rag"), track, noise, tiny.encoder, history)

    with tiny.history("video") as history:
        list(islice(blocks(history), made))
    past = Past.taken_over(memory, VideoKey("tiny", "video"), tiny.window.block_frames)
    with History(memory, past.key, past.spec, past=past) as history:
        assert same(list(blocks(history)), whole)


def test_a_bounded_host_stays_under_its_budget(tiny) -> None:
    budget = 8 * SLAB
    host = HostTier(budget, forgets=True)
    tiny = tiny.variant(kv=KVConfig(mode="bounded", device_frames=0))
    blocks = tiny.run("longlive_rag", BLOCKS, host=host)
    traffic = Traffic.total(block.traffic for block in blocks)
    assert traffic.recreated > 0 < traffic.from_host
    assert max(block.host_bytes for block in blocks) <= host.reserved_bytes <= budget


def test_what_exact_mode_cannot_keep_is_refused_before_the_first_block(tiny, memory) -> None:
    with pytest.raises(KVBudgetError) as refused:
        run(tiny, "video", host_bytes=SLAB)
    assert (refused.value.needed_bytes, refused.value.allowed_bytes) == (bytes_for(24, SLAB), SLAB)
    assert memory.get_video(VideoKey("tiny", "video")).state.length == 0
    tiny.variant(kv=KVConfig(host_bytes=0)).run("native", BLOCKS, video="native")


def test_frames_that_the_memory_alone_has_are_attended(tiny) -> None:
    """A rollout whose host tier lost what another process would have had."""

    class Forgetful(HostTier):
        def put(self, *_, **__) -> bool:
            return False

    blocks = tiny.variant(kv=KVConfig(device_frames=0)).run("longlive_rag", BLOCKS, host=Forgetful())
    assert sum(block.traffic.recreated for block in blocks) > 0
    assert torch.isfinite(blocks[-1].latents).all()
