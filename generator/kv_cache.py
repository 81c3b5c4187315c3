"""Un-rotated keys and values of past frames: the window on the device, everything older on the host.

A frame's keys and values of all layers are one tensor, its slab [layers, 2, F, heads, D] (index 0 key, 1
value; F tokens per frame, D = head dimension). Keys are kept un-rotated because a frame's temporal position
changes from block to block. Both tiers are exact: a slab that comes back from the host has the bits it left
with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from generator.context import Source
from generator.errors import MissingKVError
from memory_service.types import Handle, Span

KEY, VALUE = 0, 1


@dataclass(frozen=True, kw_only=True)
class KVShape:
    """Size, dtype and place of the keys and values of one frame."""

    layers: int
    tokens_per_frame: int
    heads: int
    head_dim: int
    dtype: torch.dtype
    device: torch.device

    @property
    def slab(self) -> tuple[int, ...]:
        return self.layers, 2, self.tokens_per_frame, self.heads, self.head_dim

    @property
    def slab_bytes(self) -> int:
        return torch.Size(self.slab).numel() * self.dtype.itemsize


class HostTier:
    """Slabs of evicted frames in host memory, by handle; pinned where the device is a GPU.

    Rollouts of one process may share a tier, and then attend each other's frames.
    """

    def __init__(self) -> None:
        self._slabs: dict[Handle, Tensor] = {}
        self.bytes = 0

    def put(self, handle: Handle, slab: Tensor) -> None:
        """Keep a copy of a slab: the caller may overwrite its own at once."""
        kept = torch.empty(slab.shape, dtype=slab.dtype, pin_memory=slab.is_cuda)
        kept.copy_(slab)
        self.bytes += kept.nbytes - (self._slabs[handle].nbytes if handle in self._slabs else 0)
        self._slabs[handle] = kept

    def get(self, handle: Handle) -> Tensor:
        """Raises MissingKVError."""
        if handle not in self._slabs:
            raise MissingKVError([handle])
        return self._slabs[handle]

    def __contains__(self, handle: object) -> bool:
        return handle in self._slabs

    def __len__(self) -> int:
        return len(self._slabs)


class KVCache:
    """The window of one rollout on the device: the sink and the newest frames, W at most."""

    def __init__(
        self, shape: KVShape, sink_frames: int, host: HostTier | None, handle_of: Callable[[int], Handle]
    ) -> None:
        """host: None where nothing is ever retrieved; frames that leave the window are gone then."""
        self.shape = shape
        self._host = host
        self._sink_frames = sink_frames
        self._handle_of = handle_of
        self._slabs: dict[int, Tensor] = {}
        self._free: list[Tensor] = []
        self._block = Span(0, 0)
        self._open: frozenset[int] = frozenset()

    def begin(self, span: Span, keep_from: int) -> None:
        """Make room for a block: frames before `keep_from` but the sink go to the host, if there is one."""
        for frame in sorted(self._slabs):
            if self._sink_frames <= frame < keep_from:
                slab = self._slabs.pop(frame)
                if self._host is not None:
                    self._host.put(self._handle_of(frame), slab)
                self._free.append(slab)
        for frame in range(span.start, span.stop):
            self._slabs[frame] = self._free.pop() if self._free else self._new_slab()
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

    def slab(self, source: Source) -> Tensor:
        """The slab of a frame of the window, or of a handle of the host tier. Raises MissingKVError."""
        if isinstance(source, int):
            return self._slabs[source]
        if self._host is None:
            raise MissingKVError([source])
        return self._host.get(source)

    @property
    def frames(self) -> tuple[int, ...]:
        """Frames in the window, oldest first."""
        return tuple(sorted(self._slabs))

    def _new_slab(self) -> Tensor:
        return torch.empty(self.shape.slab, dtype=self.shape.dtype, device=self.shape.device)
