"""Bytes that a rollout of Wan 2.1 1.3B moves for the retrievals of a trace: the tiers at their real sizes.

Everything but the bytes is real: slots, window and tiers hold tensors of the true shapes on the meta device.
Only re-creation is counted without being done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.kv.traces import Trace
from generator.configs import Geometry, Window
from generator.kv.arena import bytes_for
from generator.kv.config import MAX_DEVICE_FRAMES, KVConfig
from generator.kv.kv_cache import KVCache
from generator.kv.slots import FrameSlots
from generator.kv.tiers import KVTiers
from generator.kv.traffic import Traffic
from generator.methods import policy_named
from generator.methods.context import block_spans
from generator.rollout_config import RolloutConfig
from generator.wan.kv_shape import KVShape
from generator.wan.rope import FloatRotation
from memory_service.types import Handle, VideoKey

WAN = KVShape(
    layers=30,
    tokens_per_frame=Geometry().tokens_per_frame,
    heads=12,
    head_dim=128,
    dtype=torch.bfloat16,
    device=torch.device("meta"),
)
"""At 480p: 287,539,200 bytes a frame."""

REFERENCE_PASSES = 5
"""The released code moves every retrieved frame in each pass of a block."""


ARMS: Mapping[str, KVConfig] = {
    "exact, no device tier": KVConfig(host_bytes=bytes_for(108, WAN.slab_bytes), device_frames=0),
    "exact, 8 frames": KVConfig(host_bytes=bytes_for(108, WAN.slab_bytes), device_frames=8),
    "exact, 24 frames": KVConfig(host_bytes=bytes_for(108, WAN.slab_bytes), device_frames=24),
    "exact, 40 frames (default)": KVConfig(
        host_bytes=bytes_for(108, WAN.slab_bytes), device_frames=MAX_DEVICE_FRAMES
    ),
    "bounded 16 GiB, 8 frames": KVConfig(mode="bounded", host_bytes=16 << 30, device_frames=8),
    "bounded 8 GiB, 8 frames": KVConfig(mode="bounded", host_bytes=8 << 30, device_frames=8),
    "bounded 8 GiB, 40 frames": KVConfig(mode="bounded", host_bytes=8 << 30, device_frames=40),
    "latent, 8 frames": KVConfig(mode="latent", device_frames=8),
    "latent, 40 frames": KVConfig(mode="latent", device_frames=40),
}
"""Tiers that are compared. Frames are those of the device tier, 0.29 GB each."""

HEADER = (
    "| tiers | device tier, GB | in place / device / host / re-created | to the device, GB | "
    "of the released code's | ahead | to the host, GB | host memory / budget, GB |",
    "| --- | --: | --: | --: | --: | --: | --: | --: |",
)


@dataclass(frozen=True, kw_only=True)
class Moved:
    """What one rollout moved."""

    traffic: Traffic
    host_bytes: int
    """Most host memory taken, whole arenas."""

    @property
    def reference_bytes(self) -> int:
        """What the released code moves to the device for the same retrievals."""
        return REFERENCE_PASSES * self.traffic.retrieved * WAN.slab_bytes

    @property
    def share(self) -> float:
        return self.traffic.to_device_bytes / self.reference_bytes


class Counted:
    """Re-creates in name only."""

    def fetch(self, handles: Sequence[Handle]) -> None:
        pass

    def recreate(self, handles: Sequence[Handle]) -> Mapping[Handle, Tensor]:
        return {handle: WAN.new_slab() for handle in handles}

    def taken(self) -> Traffic:
        return Traffic()


def moved(trace: Trace, kv: KVConfig) -> Moved:
    """Roll out without a model. Raises KVBudgetError."""
    config = RolloutConfig(policy=policy_named("longlive_rag"), geometry=Geometry(), window=Window(), kv=kv)
    host = config.host_tier(WAN, len(trace))
    tiers = KVTiers(WAN, host, device_frames=kv.frames_on_device(WAN), recreation=Counted())
    window = config.window
    cache = KVCache(WAN, tiers, _handle)
    slots = FrameSlots(cache, config.geometry, window, FloatRotation())
    parts = []
    for index, span in enumerate(block_spans(len(trace), window)):
        retrieved = [_handle(frame) for frame in trace[index]]
        slots.load(config.policy.context(window, span, retrieved=retrieved))
        if index + 1 < len(trace):
            slots.prefetch([_handle(frame) for frame in trace[index + 1]])
        parts.append(tiers.taken())
    return Moved(traffic=Traffic.total(parts), host_bytes=0 if host is None else host.reserved_bytes)


def table(trace: Trace) -> str:
    """All arms on one trace, in Markdown."""
    lines = [*HEADER]
    for name, kv in ARMS.items():
        made = moved(trace, kv)
        t = made.traffic
        share = f"1/{1 / made.share:.1f}" if made.share else "0"
        ahead = f"{100 * t.ahead / t.from_host:.0f} %" if t.from_host else "-"
        budget = "-" if kv.host_bytes is None else f"{made.host_bytes / 1e9:.1f} / {kv.host_bytes / 1e9:.1f}"
        cells = (
            name,
            f"{(kv.device_frames or 0) * WAN.slab_bytes / 1e9:.1f}",
            f"{t.in_slots} / {t.from_device} / {t.from_host} / {t.recreated}",
            f"{t.to_device_bytes / 1e9:.1f}",
            share,
            ahead,
            f"{t.to_host_bytes / 1e9:.1f}",
            budget,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def report(traces: Mapping[str, Trace], command: str, where: str) -> str:
    """The page under benchmarks/results."""
    parts = [
        "# Bytes that 30 s of Wan 2.1 1.3B move",
        "",
        f"`{command}`. {where}.",
        "",
        "Counted, not timed: the retrievals of the toy over 120 latent frames, and the tiers at Wan's size, "
        f"{WAN.slab_bytes:,} bytes a frame. The released code moves every retrieved frame to the device in "
        f"each of {REFERENCE_PASSES} passes and keeps all evicted frames in host memory. A retrieved frame "
        "is found in place (attended by the block before), on the device, on the host, or is re-created; "
        "`ahead` is the share of host frames whose copy began while the block before was still made.",
    ]
    for name, trace in traces.items():
        handles = [frame for frames in trace for frame in frames]
        reference = REFERENCE_PASSES * len(handles) * WAN.slab_bytes / 1e9
        parts += [
            "",
            f"## {name}",
            "",
            f"{len(handles)} frames retrieved, {len(set(handles))} of them distinct; the released code moves "
            f"{reference:.0f} GB to the device.",
            "",
            table(trace),
        ]
    return "\n".join(parts) + "\n"


def _handle(frame: int) -> Handle:
    return Handle(VideoKey("bench", "video"), 1, frame)
