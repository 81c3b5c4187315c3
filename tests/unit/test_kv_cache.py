"""Where keys and values are kept, by fingerprints: frame f has the value f everywhere."""

from __future__ import annotations

import pytest
import torch

from generator.configs import Geometry, Window
from generator.errors import MissingKVError
from generator.kv.host_tier import HostTier
from generator.kv.kv_cache import KVCache
from generator.kv.slots import FrameSlots
from generator.kv.tiers import KVTiers
from generator.methods import POLICIES
from generator.methods.context import Context, block_spans, eligible, first_kept, kept_frames
from generator.wan.kv_shape import KEY, VALUE, KVShape
from generator.wan.rope import FloatRotation, phases, rotate
from memory_service.types import Handle, Span, VideoKey

WINDOW = Window()
GEOMETRY = Geometry(height=4, width=4)
SHAPE = KVShape(
    layers=2, tokens_per_frame=4, heads=2, head_dim=12, dtype=torch.float32, device=torch.device("cpu")
)
RAG = POLICIES["longlive_rag"]


def handle(frame: int) -> Handle:
    return Handle(VideoKey("p", "v"), 1, frame)


def write_block(cache: KVCache, span: Span) -> None:
    """The key of frame f, layer l is f + l / 10, its value is minus that."""
    frames = torch.arange(span.start, span.stop).float().repeat_interleave(SHAPE.tokens_per_frame)
    for layer in range(SHAPE.layers):
        keys = (frames + layer / 10)[None, :, None, None].expand(1, -1, SHAPE.heads, SHAPE.head_dim)
        cache.write(layer, keys, -keys)


def assert_is(slab: torch.Tensor, frame: int) -> None:
    for layer in range(SHAPE.layers):
        assert (slab[layer, KEY] == torch.tensor(frame + layer / 10)).all()
        assert (slab[layer, VALUE] == -torch.tensor(frame + layer / 10)).all()


def rolled(blocks: int, window: Window = WINDOW) -> tuple[KVCache, HostTier]:
    host = HostTier()
    cache = KVCache(SHAPE, KVTiers(SHAPE, host), handle)
    for span in block_spans(blocks, window):
        cache.begin(span, kept_frames(window, span, first_kept(window, span)))
        write_block(cache, span)
    return cache, host


@pytest.mark.parametrize("sink_frames", [0, 1, 3])
def test_host_holds_exactly_the_evicted_frames(sink_frames: int) -> None:
    window = Window(sink_frames=sink_frames)
    cache, host = rolled(8, window)
    evicted = range(sink_frames, sink_frames + 24 - 12)
    assert len(host) == len(evicted)
    for frame in evicted:
        assert_is(host.get(handle(frame)), frame)
    assert cache.frames == (*range(sink_frames), *range(24 - (12 - sink_frames), 24))
    for frame in cache.frames:
        assert_is(cache.slab(frame), frame)


def test_evicted_slabs_do_not_alias_the_device() -> None:
    """Device slabs are used again; a view instead of a copy would hold a later frame."""
    host = HostTier()
    slab = torch.ones(SHAPE.slab)
    host.put(handle(0), slab)
    slab.zero_()
    assert (host.get(handle(0)) == 1).all()


def test_host_counts_its_bytes() -> None:
    _, host = rolled(8)
    assert host.bytes == 12 * SHAPE.slab_bytes
    host.put(handle(1), torch.zeros(SHAPE.slab))
    assert host.bytes == 12 * SHAPE.slab_bytes


@pytest.mark.parametrize("tiers", [None, KVTiers(SHAPE, None)])
def test_without_tiers_evicted_frames_are_gone(tiers: KVTiers | None) -> None:
    cache = KVCache(SHAPE, tiers, handle)
    slots = FrameSlots(cache, GEOMETRY, WINDOW, FloatRotation())
    spans = list(block_spans(7, WINDOW))
    for span in spans[:6]:
        slots.load(RAG.context(WINDOW, span))
    with pytest.raises(MissingKVError, match="p/v epoch 1 frame 1"):
        slots.load(RAG.context(WINDOW, spans[6], retrieved=[handle(1)]))


def test_unknown_handles_are_named() -> None:
    _, host = rolled(6)
    stranger = Handle(VideoKey("p", "other"), 3, 2)
    with pytest.raises(MissingKVError, match="p/other epoch 3 frame 2") as missing:
        host.get(stranger)
    assert missing.value.handles == (stranger,)


def check_slots(slots: FrameSlots, context: Context) -> None:
    """All context frames, rotated to their positions, are behind the block, in whatever order."""
    tokens, turned = SHAPE.tokens_per_frame, {}
    for slot in range(slots.end_token // tokens):
        part = slice(slot * tokens, (slot + 1) * tokens)
        turned[slot] = (slots.keys[0, part], slots.values[0, part])
    own = WINDOW.block_frames
    found = {float(-values.flatten()[0]): keys for slot, (keys, values) in turned.items() if slot >= own}
    assert len(found) == len(context.frames)
    for placed in context.frames:
        frame = placed.source if isinstance(placed.source, int) else placed.source.frame
        key = torch.full((1, tokens, SHAPE.heads, SHAPE.head_dim), float(frame))
        turn = phases(torch.tensor([placed.position]), GEOMETRY.rows, GEOMETRY.columns, SHAPE.head_dim)
        torch.testing.assert_close(found[float(frame)], rotate(key, *turn)[0])


def test_slots_hold_the_context_rotated_to_its_positions() -> None:
    host = HostTier()
    cache = KVCache(SHAPE, KVTiers(SHAPE, host), handle)
    slots = FrameSlots(cache, GEOMETRY, WINDOW, FloatRotation())
    generator = torch.Generator().manual_seed(0)
    for span in block_spans(20, WINDOW):
        frames = eligible(WINDOW, span)
        order = torch.randperm(len(frames), generator=generator)[: WINDOW.top_k] + frames.start
        context = RAG.context(WINDOW, span, retrieved=[handle(int(frame)) for frame in order])
        slots.load(context)
        check_slots(slots, context)
        write_block(cache, span)


def test_a_frame_that_stays_is_moved_once() -> None:
    host = HostTier()
    tiers = KVTiers(SHAPE, host)
    slots = FrameSlots(KVCache(SHAPE, tiers, handle), GEOMETRY, WINDOW, FloatRotation())
    moved = []
    for span in block_spans(12, WINDOW):
        chosen = [handle(frame) for frame in range(1, 7)] if span.start >= 24 else []
        slots.load(RAG.context(WINDOW, span, retrieved=chosen))
        write_block(slots.cache, span)
        moved.append(tiers.taken().to_device_bytes // SHAPE.slab_bytes)
    assert moved == [0] * 8 + [6, 0, 0, 0]
