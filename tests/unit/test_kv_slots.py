"""Slots filled from all tiers at random, by fingerprints: frame f has the value f everywhere."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
import torch

from generator.configs import Geometry, Window
from generator.kv.host_tier import HostTier
from generator.kv.kv_cache import KVCache
from generator.kv.slots import FrameSlots
from generator.kv.tiers import KVTiers
from generator.kv.traffic import Traffic
from generator.methods import POLICIES
from generator.methods.context import Context, block_spans, eligible
from generator.wan.kv_shape import KVShape
from generator.wan.rope import FloatRotation
from memory_service.types import Handle, Span, VideoKey

GEOMETRY = Geometry(height=4, width=4)
SHAPE = KVShape(
    layers=2, tokens_per_frame=4, heads=2, head_dim=12, dtype=torch.float32, device=torch.device("cpu")
)
WINDOW = Window()
RAG = POLICIES["longlive_rag"]
BLOCKS = 40


def handle(frame: int) -> Handle:
    return Handle(VideoKey("p", "v"), 1, frame)


def retrievals(seed: int) -> list[list[Handle]]:
    """Some frames of each block stay from the one before, as in real rollouts; so do their scores' orders."""
    chance, chosen, found = random.Random(seed), [], []
    for span in block_spans(BLOCKS, WINDOW):
        allowed = eligible(WINDOW, span)
        frames = [*range(allowed.start, allowed.stop)]
        stay = [frame for frame in chosen if chance.random() < 0.5]
        others = [frame for frame in frames if frame not in stay]
        fresh = chance.sample(others, min(len(others), WINDOW.top_k - len(stay)))
        chosen = [*stay, *fresh]
        chance.shuffle(chosen)
        found.append([handle(frame) for frame in chosen])
    return found


def write(cache: KVCache, span: Span) -> None:
    frames = torch.arange(span.start, span.stop).float().repeat_interleave(SHAPE.tokens_per_frame)
    values = frames[None, :, None, None].expand(1, -1, SHAPE.heads, SHAPE.head_dim)
    for layer in range(SHAPE.layers):
        cache.write(layer, values, values)


def check(slots: FrameSlots, context: Context, *, in_order: bool) -> None:
    """Every context frame is behind the block, rotated to its position; in its order where that is asked."""
    tokens = SHAPE.tokens_per_frame
    own = len(context.span) * tokens
    starts = range(own, slots.end_token, tokens)
    found = [int(slots.values[0, start : start + tokens].unique()) for start in starts]
    frames = [
        placed.source.frame if isinstance(placed.source, Handle) else placed.source
        for placed in context.frames
    ]
    assert (found if in_order else sorted(found)) == (frames if in_order else sorted(frames))
    for slot, frame in enumerate(found):
        (placed,) = [placed for placed, number in zip(context.frames, frames, strict=True) if number == frame]
        part = slice(own + slot * tokens, own + (slot + 1) * tokens)
        plain = torch.full((1, tokens, SHAPE.heads, SHAPE.head_dim), float(frame))
        turned = slots.rotation.rotate(plain, slots.phases((placed.position,)))[0]
        assert torch.equal(slots.keys[1, part], turned)


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("device_frames", [0, 1, 3, 8, 200])
def test_slots_hold_their_frames_wherever_these_were(device_frames: int, ahead: bool, in_order: bool) -> None:
    tiers = KVTiers(SHAPE, HostTier(), device_frames=device_frames)
    cache = KVCache(SHAPE, tiers, handle)
    slots = FrameSlots(cache, GEOMETRY, WINDOW, FloatRotation(), in_order=in_order)
    chosen = retrievals(seed=device_frames)
    parts = []
    for index, span in enumerate(block_spans(BLOCKS, WINDOW)):
        context = RAG.context(WINDOW, span, retrieved=chosen[index])
        slots.load(context)
        check(slots, context, in_order=in_order)
        if ahead and index + 1 < BLOCKS:
            slots.prefetch(chosen[index + 1])
        write(cache, span)
        parts.append(tiers.taken())
    traffic = Traffic.total(parts)
    assert traffic.retrieved == sum(map(len, chosen))
    stayed = sum(len({*before} & {*after}) for before, after in pairwise(chosen))
    assert traffic.in_slots <= stayed if in_order else traffic.in_slots == stayed
    assert traffic.to_device_bytes == traffic.from_host * SHAPE.slab_bytes, "none is moved in vain"
    assert (traffic.from_host == 0) == (device_frames == 200)
    assert (traffic.ahead > 0) == (ahead and device_frames in (1, 3, 8))
