"""What a rollout holds on the device and the host is gone when it is, without the garbage collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import torch
from tiny_rollouts import TINY, TinyRollouts

from generator import block_sampler
from generator.block_sampler import TEXTS, BlockSampler
from generator.history.history import History
from generator.kv.arena import bytes_for
from generator.kv.config import KVConfig
from generator.kv.host_tier import HostTier
from generator.kv.kv_cache import KVCache
from generator.kv.recreation import Recreation
from generator.kv.slots import FrameSlots
from generator.kv.tiers import KVTiers
from generator.kv.token_slots import TokenSlots
from generator.methods.context import Scenes
from generator.rollout import RolledBlock, rollout
from generator.story.text import PromptTrack
from generator.wan.causal_wan import CausalWan
from generator.wan.reference_numerics import ReferenceWan
from memory_service.engine import MemoryEngine

BLOCKS = 12
KINDS = (HostTier, KVTiers, Recreation, KVCache, FrameSlots, TokenSlots, BlockSampler)
SLAB = 2 * 2 * 4 * 24 * 4


@pytest.fixture
def tiny(tmp_path) -> Iterator[TinyRollouts]:
    engine = MemoryEngine(tmp_path / "memory")
    yield TinyRollouts(engine)
    engine.close()


@pytest.fixture
def made(monkeypatch) -> Iterator[list[weakref.ref]]:
    """All objects of these kinds since the test began; nothing collects cycles."""
    references: list[weakref.ref] = []

    def watched(init):
        def noted(self, *args, **kwargs) -> None:
            init(self, *args, **kwargs)
            references.append(weakref.ref(self))

        return noted

    for kind in KINDS:
        monkeypatch.setattr(kind, "__init__", watched(kind.__init__))
    gc.disable()
    yield references
    gc.enable()


def alive(references: list[weakref.ref]) -> set[str]:
    return {type(found).__name__ for reference in references if (found := reference()) is not None}


def begun(tiny: TinyRollouts, method: str, model: CausalWan, history: History) -> Iterator[RolledBlock]:
    track, noise = tiny.track(BLOCKS), tiny.noise(BLOCKS)
    return rollout(model, tiny.config(method), track, noise, tiny.encoder, history)


@pytest.mark.parametrize("wan", [CausalWan, ReferenceWan])
@pytest.mark.parametrize(
    ("method", "kv"),
    [
        ("longlive_rag", KVConfig()),
        ("longlive_rag", KVConfig(mode="latent", device_frames=2)),
        ("longlive_rag", KVConfig(mode="bounded", host_bytes=bytes_for(8, SLAB), device_frames=2)),
        ("native", KVConfig()),
        ("deep_forcing", KVConfig()),
    ],
)
@pytest.mark.parametrize("blocks", [BLOCKS, 7])
def test_nothing_is_left_of_a_rollout_that_ends_or_is_stopped(tiny, made, wan, method, kv, blocks) -> None:
    tiny = tiny.variant(kv=kv)
    model = wan(tiny.model().transformer)
    with tiny.history("video") as history:
        generator = begun(tiny, method, model, history)
        for _ in range(blocks):
            next(generator)
        assert {"BlockSampler", "KVCache", "FrameSlots"} <= alive(made)
        if blocks == BLOCKS:
            assert next(generator, None) is None
        else:
            generator.close()
    assert not alive(made), "though its model and its history are there still"


def test_nothing_is_left_of_a_rollout_whose_model_fails(tiny, made) -> None:
    model = tiny.model()
    with tiny.history("video") as history:
        generator = begun(tiny, "longlive_rag", model, history)
        for _ in range(8):
            next(generator)
        projection = model.transformer.proj_out

        def fails(_module, _inputs) -> None:
            raise torch.OutOfMemoryError

        hook = projection.register_forward_pre_hook(fails)
        with pytest.raises(torch.OutOfMemoryError):
            next(generator)
        hook.remove()
    assert not alive(made)


def test_one_rollout_after_the_other_has_the_whole_budget(tiny, made, monkeypatch) -> None:
    """With room for the frames of one: what is available is what no tier has taken."""
    total = 2 * bytes_for(3 * BLOCKS, SLAB)

    def available() -> int:
        tiers = (found for reference in made if isinstance(found := reference(), HostTier))
        return total - sum(tier.reserved_bytes for tier in tiers)

    monkeypatch.setattr("generator.kv.config.available_bytes", available)
    model = tiny.model()
    for number in range(4):
        with tiny.history(f"video-{number}") as history:
            assert len([*begun(tiny, "longlive_rag", model, history)]) == BLOCKS


class Prompts:
    """A prompt per block, and which of their keys and values are alive."""

    def __init__(self, tiny: TinyRollouts) -> None:
        self.model = tiny.model()
        embeds = torch.randn(BLOCKS, 5, TINY["text_dim"], generator=torch.Generator().manual_seed(1))
        self.track = PromptTrack(embeds=embeds, rows=tuple(range(BLOCKS)), scenes=Scenes())
        self._made: list[weakref.ref] = []
        text_kv = self.model.text_kv

        def noted(embeds_LD: torch.Tensor):
            made = text_kv(embeds_LD)
            self._made.append(weakref.ref(made[0][0]))
            return made

        self.model.text_kv = noted

    def alive(self) -> int:
        return sum(reference() is not None for reference in self._made)


def test_few_prompts_are_kept_and_those_made_again_are_the_same(tiny, monkeypatch) -> None:
    tiny = tiny.variant(kv=KVConfig(mode="latent", device_frames=2))

    def run(video: str) -> tuple[list[RolledBlock], int]:
        prompts, most, blocks = Prompts(tiny), 0, []
        config, noise = tiny.config("longlive_rag"), tiny.noise(BLOCKS)
        with tiny.history(video) as history:
            for block in rollout(prompts.model, config, prompts.track, noise, tiny.encoder, history):
                blocks.append(block)
                most = max(most, prompts.alive())
        return blocks, most

    few, most = run("few")
    assert most == TEXTS + 1, "and that of now"
    assert sum(block.traffic.recreated for block in few) > TEXTS
    monkeypatch.setattr(block_sampler, "TEXTS", BLOCKS)
    all_kept, most = run("all")
    assert most == BLOCKS
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(few, all_kept, strict=True))
