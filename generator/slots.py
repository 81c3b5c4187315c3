"""The keys and values that attention reads: one frame per slot, keys rotated, the block itself first.

Attention does not depend on the order of keys, so a frame that keeps its temporal position from one block to
the next keeps its slot: the sink and most retrieved frames are rotated, and moved from the host, only once.
Shapes: M context frames, n frames of the block, F tokens per frame, D = head dimension.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from generator.attention import Attended, Store, TextKV
from generator.configs import Geometry, Window
from generator.context import Context, Placed
from generator.kv_cache import KEY, VALUE, KVCache, KVShape
from generator.rope import phases, rotate
from memory_service.types import Handle


class Slots:
    """Rotated keys and values [layers, W * F, heads, D] of everything that the current block attends."""

    def __init__(self, shape: KVShape, geometry: Geometry, window: Window) -> None:
        self._shape = shape
        self._geometry = geometry
        self._first = window.block_frames
        tokens = window.window_frames * shape.tokens_per_frame
        size = (shape.layers, tokens, shape.heads, shape.head_dim)
        self.keys = torch.empty(size, dtype=shape.dtype, device=shape.device)
        self.values = torch.empty_like(self.keys)
        self._held: list[Placed | None] = [None] * (window.window_frames - self._first)
        self.used_tokens = 0
        self.host_bytes_moved = 0

    def load(self, context: Context, cache: KVCache) -> None:
        """Bring the context into the slots, leaving in place what is there already. Raises MissingKVError."""
        frames = context.frames
        wanted = set(frames)
        held = self._held[: len(frames)]
        self._held = [placed if placed in wanted else None for placed in held]
        self._held += [None] * (self._capacity - len(self._held))
        free = [slot for slot in range(len(frames)) if self._held[slot] is None]
        missing = [placed for placed in frames if placed not in self._held]
        for slot, placed in zip(free, missing, strict=True):
            self._fill(slot, placed, cache)
        self.used_tokens = (self._first + len(frames)) * self._shape.tokens_per_frame

    def attended(self, context: Context, text: TextKV, store: Store | None = None) -> Attended:
        """What the passes of the loaded block attend; with `store`, what the clean pass attends."""
        return Attended(
            self.keys[:, : self.used_tokens],
            self.values[:, : self.used_tokens],
            self._phases(context.block_positions),
            text,
            store,
        )

    def _phases(self, positions: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """(cos, sin) of whole frames at these temporal positions."""
        g = self._geometry
        return frame_phases(positions, g.rows, g.columns, self._shape.head_dim, self._shape.device)

    @property
    def _capacity(self) -> int:
        return self.keys.shape[1] // self._shape.tokens_per_frame - self._first

    def _fill(self, slot: int, placed: Placed, cache: KVCache) -> None:
        F = self._shape.tokens_per_frame
        tokens = slice((self._first + slot) * F, (self._first + slot + 1) * F)
        slab = cache.slab(placed.source)
        if isinstance(placed.source, Handle):
            self.host_bytes_moved += slab.nbytes
            slab = slab.to(self._shape.device, non_blocking=True)
        self.keys[:, tokens] = rotate(slab[:, KEY], *self._phases((placed.position,)))
        self.values[:, tokens] = slab[:, VALUE]
        self._held[slot] = placed


@lru_cache(maxsize=256)
def frame_phases(
    positions: tuple[int, ...], rows: int, columns: int, head_dim: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    return phases(torch.tensor(positions, device=device), rows, columns, head_dim)
