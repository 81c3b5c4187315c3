"""Un-rotated keys and values of a rollout's window; what leaves it goes to the tiers.

A frame's keys and values of all layers are one tensor, its slab [layers, 2, F, heads, D] (index 0 key, 1
value; F tokens per frame, D = head dimension). Keys are kept un-rotated because a frame's temporal position
changes from block to block.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

from torch import Tensor

from generator.kv.tiers import KVTiers
from generator.wan.kv_shape import KEY, VALUE, KVShape
from memory_service.types import Handle, Span


class KVCache:
    """The window of one rollout on the device: the sink and the newest frames, W at most."""

    def __init__(self, shape: KVShape, tiers: KVTiers | None, handle_of: Callable[[int], Handle]) -> None:
        """tiers: None where nothing is ever retrieved; frames that leave the window are gone then."""
        self.shape = shape
        self.tiers = tiers
        self._handle_of = handle_of
        self._slabs: dict[int, Tensor] = {}
        self._free: list[Tensor] = []
        self._block = Span(0, 0)
        self._open: frozenset[int] = frozenset()

    def begin(self, span: Span, kept: Collection[int]) -> None:
        """Make room for a block: frames that are not kept go to the tiers, if there are any."""
        for frame in sorted(self._slabs):
            if frame not in kept:
                slab = self._slabs.pop(frame)
                free = slab if self.tiers is None else self.tiers.evict(self._handle_of(frame), slab)
                if free is not None:
                    self._free.append(free)
        for frame in range(span.start, span.stop):
            self._slabs[frame] = self._free.pop() if self._free else self.shape.new_slab()
        self.reopen(span, range(span.start, span.stop))

    def reopen(self, span: Span, frames: Iterable[int]) -> None:
        """Let the next clean pass, of the block `span`, write these frames of it, which are in the window."""
        self._block, self._open = span, frozenset(frames)

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Store the block's un-rotated keys and values [1, n * F, heads, D] of one layer, where it may."""
        F = self.shape.tokens_per_frame
        for index, frame in enumerate(range(self._block.start, self._block.stop)):
            if frame not in self._open:
                continue
            slab, tokens = self._slabs[frame][layer], slice(index * F, (index + 1) * F)
            slab[KEY].copy_(keys[0, tokens])
            slab[VALUE].copy_(values[0, tokens])

    def slab(self, frame: int) -> Tensor:
        """The slab of a frame of the window."""
        return self._slabs[frame]

    @property
    def frames(self) -> tuple[int, ...]:
        """Frames in the window, oldest first."""
        return tuple(sorted(self._slabs))
