"""What a rollout may spend on the keys and values of past frames."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

import torch

from generator.errors import ConfigError, KVBudgetError
from generator.kv.arena import bytes_for, capacity
from generator.kv.host_tier import HostTier
from generator.kv.modes import DEFAULT_LAYOUT, DEFAULT_MODE, Layout, Mode
from generator.wan.kv_shape import KVShape

MODES: tuple[Mode, ...] = get_args(Mode)
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

HOST_SHARE = 0.75
"""Of the host memory that is available when a rollout begins: the default budget."""

DEVICE_SHARE = 0.25
"""Of the device memory that is free when a rollout begins: what the default device tier takes at most."""

MAX_DEVICE_FRAMES = 40
"""Frames of the default device tier: with so many, 30 s of video move a frame less than once in four times
that it is retrieved (benchmarks/results/kv-traffic.md)."""


@dataclass(frozen=True, kw_only=True)
class KVConfig:
    """Which tiers there are, and how large."""

    mode: Mode = DEFAULT_MODE
    """exact: every evicted frame stays in host memory. bounded: as many as fit, the others are re-created
    from their latents. latent: none, all are re-created once they have left the device."""

    host_bytes: int | None = None
    """Budget of the host tier; None: `HOST_SHARE` of what is available."""

    device_frames: int | None = None
    """Frames that stay on the device beyond those attended; None: `MAX_DEVICE_FRAMES`, as far as
    `DEVICE_SHARE` of the free memory goes. They take part in what is re-created, and so in the bits of modes
    other than exact."""

    layout: Layout = DEFAULT_LAYOUT
    """What a frame attends while it is re-created, see `Recreation`."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(f"kv mode must be one of {', '.join(MODES)}, got {self.mode!r}")
        if self.layout not in LAYOUTS:
            raise ConfigError(f"kv layout must be one of {', '.join(LAYOUTS)}, got {self.layout!r}")
        if min(self.host_bytes or 0, self.device_frames or 0) < 0:
            raise ConfigError(f"host_bytes and device_frames must not be negative, got {self}")
        if self.mode == "latent" and self.host_bytes is not None:
            raise ConfigError("kv mode latent keeps nothing in host memory; expected no budget for it")

    def resolved(self, shape: KVShape) -> KVConfig:
        """With the numbers that hold on this machine now in place of None."""
        host = int(HOST_SHARE * available_bytes()) if self.host_bytes is None else self.host_bytes
        return replace(
            self,
            host_bytes=None if self.mode == "latent" else host,
            device_frames=self.frames_on_device(shape),
        )

    def decisive(self) -> dict[str, object]:
        """The fields that the bits of a rollout depend on: where nothing is re-created, only that."""
        return {"mode": self.mode} if self.mode == "exact" else asdict(self)

    def host_tier(self, shape: KVShape, evicted_frames: int) -> HostTier | None:
        """The host tier of one rollout that will evict so many frames.

        Raises KVBudgetError where all of them must be kept and cannot be.
        """
        if self.mode == "latent":
            return None
        budget = self.resolved(shape).host_bytes
        assert budget is not None
        if self.mode == "exact" and capacity(shape.slab_bytes, budget) < evicted_frames:
            raise KVBudgetError(bytes_for(evicted_frames, shape.slab_bytes), budget)
        return HostTier(budget, forgets=self.mode == "bounded")

    def frames_on_device(self, shape: KVShape) -> int:
        """Most frames of the device tier."""
        if self.device_frames is not None:
            return self.device_frames
        cuda = shape.device.type == "cuda"
        free = torch.cuda.mem_get_info(shape.device)[0] if cuda else available_bytes()
        return min(MAX_DEVICE_FRAMES, int(DEVICE_SHARE * free) // shape.slab_bytes)


def available_bytes() -> int:
    """Host memory that this process could still take: of the machine, or of its control group if less."""
    left = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        left = int(fields["MemAvailable"].split()[0]) * 1024
    group = Path("/sys/fs/cgroup")
    limit, used = group / "memory.max", group / "memory.current"
    if limit.is_file() and used.is_file() and (most := limit.read_text().strip()) != "max":
        left = min(left, max(0, int(most) - int(used.read_text())))
    return left
