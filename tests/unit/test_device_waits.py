"""The host never waits for the device while a block is made, but where it must.

The model lies on torch's meta device, which has no data: whatever would read a value of it raises, and each
copy from the host to it is seen by the dispatcher. On a GPU the first would wait for all that is queued, and
so would the second.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import pytest
import torch
from diffusers import WanTransformer3DModel
from tiny_rollouts import GEOMETRY, TINY
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from generator.block_sampler import BlockSampler
from generator.configs import Sampling, Window
from generator.course import Course
from generator.kv.config import KVConfig
from generator.kv.host_tier import HostTier
from generator.methods import POLICIES, policy_named
from generator.methods.context import block_spans, eligible
from generator.noise import BlockNoise
from generator.rollout_config import RolloutConfig
from generator.story.text import PromptTrack
from generator.wan.causal_wan import CausalWan
from generator.wan.reference_numerics import ReferenceWan
from memory_service.types import Span

BLOCKS = 11
"""Deep Forcing compresses in two of them."""


TWO_PASSES = Sampling(steps=(1000, 500))


class HostTouches(TorchDispatchMode):
    """Operations that take tensors of the host; scalars of no dimension travel with a launch and are free."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        result = function(*arguments, **(named or {}))
        tensors = [leaf for leaf in tree_leaves((arguments, named, result)) if isinstance(leaf, torch.Tensor)]
        if any(not tensor.is_meta for tensor in tensors):
            self.seen.append(str(function))
        return result


@contextmanager
def untouched() -> Iterator[None]:
    with HostTouches() as touches:
        yield
    assert touches.seen == []


def noise_on_the_device() -> BlockNoise:
    shape = (3, *GEOMETRY.latent_shape)
    return BlockNoise(torch.empty(shape, device="meta"), torch.empty(1, *shape, device="meta"))


CASES = [*((method, CausalWan) for method in sorted(POLICIES)), ("longlive_rag", ReferenceWan)]


@pytest.mark.parametrize(("method", "kind"), CASES)
@torch.inference_mode()
def test_passes_need_nothing_of_the_host(method, kind, tiny) -> None:
    """After the first block, which brings tables and the prompt to the device; with frames of the tiers.

    deep_forcing too, which lets each layer choose tokens in its first pass.
    """
    with torch.device("meta"):
        model = kind(WanTransformer3DModel(**TINY))
    policy = policy_named(method)
    window = policy.window(Window())
    spans = list(block_spans(BLOCKS, window))
    track = PromptTrack(embeds=torch.zeros(1, 5, TINY["text_dim"]), rows=(0,) * BLOCKS)
    config = RolloutConfig(
        policy=policy, geometry=GEOMETRY, window=window, sampling=TWO_PASSES, kv=KVConfig(device_frames=2)
    )
    history = tiny.history("video")
    sampler = BlockSampler(model, Course(config, track.scenes, BLOCKS), track, history, HostTier())
    for index, span in enumerate(spans):
        allowed = eligible(window, span) if policy.retrieves else Span(0, 0)
        frames = range(allowed.start, allowed.stop)[: window.top_k]
        retrieved = [history.handle(frame) for frame in frames]
        sampler.attend(index, policy.context(window, span, retrieved=retrieved))
        with untouched() if index else nullcontext():
            sampler.recache(sampler.denoise(noise_on_the_device()))
    assert len(retrieved) == (window.top_k if policy.retrieves else 0)


def test_a_value_that_is_read_would_be_seen() -> None:
    value = torch.zeros(2, device="meta")
    with pytest.raises(RuntimeError, match="meta"):
        bool(value.sum() > 0)
    with pytest.raises(AssertionError), untouched():
        value.copy_(torch.ones(2))
