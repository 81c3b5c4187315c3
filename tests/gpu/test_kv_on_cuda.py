"""Tiers on a CUDA device: copies on streams of their own, beside a computation that is kept busy."""

from __future__ import annotations

import pytest
import torch
from tiny_rollouts import TinyRollouts

from generator.kv.config import KVConfig
from generator.kv.host_tier import HostTier
from generator.kv.tiers import KVTiers
from generator.kv.traffic import Traffic
from generator.wan.kv_shape import KEY, KVShape
from memory_service.engine import MemoryEngine
from memory_service.types import Handle, VideoKey

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

BLOCKS = 16
BUSY_CYCLES = 200_000_000
"""About a tenth of a second: long enough that a copy which does not wait comes too early."""


@pytest.fixture
def tiny(tmp_path):
    engine = MemoryEngine(tmp_path / "memory")
    yield TinyRollouts(engine, device="cuda")
    engine.close()


@pytest.fixture
def shape() -> KVShape:
    """4 MiB a frame, so that copies take their time."""
    return KVShape(
        layers=4,
        tokens_per_frame=256,
        heads=8,
        head_dim=64,
        dtype=torch.float32,
        device=torch.device("cuda"),
    )


def handle(frame: int) -> Handle:
    return Handle(VideoKey("p", "v"), 1, frame)


def written(slab: torch.Tensor, value: float) -> torch.Tensor:
    """Fill a slab, but only when the device comes to it."""
    torch.cuda._sleep(BUSY_CYCLES)
    return slab.fill_(value)


@pytest.mark.parametrize("device_frames", [0, 2, 40])
def test_no_tier_changes_a_bit(tiny, device_frames) -> None:
    def run(video: str, **kv):
        return tiny.variant(kv=KVConfig(**kv)).run("longlive_rag", BLOCKS, video=video)

    plain = run("plain", device_frames=0)
    made = run("tiers", device_frames=device_frames)
    for one, other in zip(made, plain, strict=True):
        assert torch.equal(one.latents, other.latents)
    traffic = Traffic.total(block.traffic for block in made)
    assert traffic.to_host_bytes > 0
    assert (traffic.from_device > 0) == (device_frames > 0)


def test_latent_mode_repeats(tiny) -> None:
    kv = KVConfig(mode="latent", device_frames=2)
    first, again = (
        tiny.variant(kv=kv).run("longlive_rag", BLOCKS, video=video) for video in ("first", "again")
    )
    assert all(torch.equal(a.latents, b.latents) for a, b in zip(first, again, strict=True))
    traffic = Traffic.total(block.traffic for block in first)
    assert traffic.recreated > 0 < traffic.recreation_ms


def test_eviction_waits_for_what_writes_the_slab_and_is_waited_for_by_what_reuses_it(shape) -> None:
    host = HostTier()
    tiers = KVTiers(shape, host)
    slab = shape.new_slab()
    for frame in range(6):
        written(slab, frame)
        freed = tiers.evict(handle(frame), slab)
        assert freed is slab
        tiers.loaded()
        tiers.before_writing()
    for frame in range(6):
        kept = host.get(handle(frame))
        assert kept.is_pinned()
        assert (kept == frame).all()


def test_prefetched_frames_arrive_before_they_are_read(shape) -> None:
    tiers = KVTiers(shape, HostTier(), device_frames=2)
    for frame in range(8):
        tiers.evict(handle(frame), written(shape.new_slab(), frame))
    tiers.loaded()
    torch.cuda._sleep(BUSY_CYCLES)  # the clean pass
    tiers.prefetch([handle(0), handle(1)])
    assert tiers.taken().ahead == 2
    read = []
    for frame in (0, 1):
        parked = tiers.take(handle(frame), 0)
        read.append(parked.slab.clone())
        tiers.give(parked)
    assert [slab.unique().tolist() for slab in read] == [[0], [1]]


def test_a_slab_is_parked_in_only_after_what_was_moved_ahead_in_vain_has_come(shape) -> None:
    tiers = KVTiers(shape, HostTier(), device_frames=1)
    for frame in range(3):
        tiers.evict(handle(frame), written(shape.new_slab(), frame))
    keys = torch.full_like(shape.new_slab()[:, KEY], 9)
    torch.cuda.synchronize()
    with torch.cuda.stream(tiers._transfers._in):
        torch.cuda._sleep(BUSY_CYCLES)  # copies ahead of this one
    tiers.prefetch([handle(0)])
    assert tiers.taken().ahead == 1
    tiers.prepare([])
    tiers.park(handle(9), 0, keys, keys)
    torch.cuda.synchronize()
    assert tiers.take(handle(9), 0).slab.unique().tolist() == [9]


def test_a_kept_frame_is_overwritten_only_after_all_rollouts_have_read_it(shape) -> None:
    host, stream = HostTier(), torch.cuda.Stream()
    quick = KVTiers(shape, host)
    with torch.cuda.stream(stream):
        slow = KVTiers(shape, host)
    quick.evict(handle(0), torch.zeros_like(shape.new_slab()))
    later = torch.ones_like(shape.new_slab())
    torch.cuda.synchronize()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(BUSY_CYCLES)
        read = slow.take(handle(0), 0)
    quick.take(handle(0), 0)
    quick.evict(handle(0), later)
    torch.cuda.synchronize()
    assert read.slab.unique().tolist() == [0]
    assert host.get(handle(0)).unique().tolist() == [1]


def test_a_slab_that_a_pass_still_reads_is_not_overwritten(shape) -> None:
    tiers = KVTiers(shape, HostTier(), device_frames=1)
    for frame in range(4):
        tiers.evict(handle(frame), written(shape.new_slab(), frame))
    tiers.prepare([handle(3)])
    parked = tiers.take(handle(3), 0)
    torch.cuda._sleep(BUSY_CYCLES)
    read = parked.slab.clone()
    tiers.give(parked)
    tiers.prefetch([handle(0)])  # of an answer that comes while the slots are filled
    tiers.loaded()
    assert read.unique().tolist() == [3]


def test_the_host_never_waits_for_the_device(shape) -> None:
    host = HostTier(forgets=True)
    tiers = KVTiers(shape, host, device_frames=2)
    warm = shape.new_slab()
    assert host.put(handle(99), warm)  # allocating pinned memory waits, once
    try:
        torch.cuda.set_sync_debug_mode("error")
        for frame in range(6):
            tiers.evict(handle(frame), shape.new_slab())
            tiers.loaded()
            tiers.prefetch([handle(max(0, frame - 4))])
            tiers.prepare([handle(max(0, frame - 4))])
            parked = tiers.take(handle(max(0, frame - 4)), 0)
            tiers.park(handle(max(0, frame - 4)), 0, parked.slab[:, KEY], parked.slab[:, KEY])
            tiers.give(parked)
            tiers.before_writing()
    finally:
        torch.cuda.set_sync_debug_mode("default")
