"""Host memory for slabs, in few large allocations under a budget.

The allocator of pinned memory rounds every request up to a power of two, which would make 288 MB of a frame
of Wan 1.3B half a gigabyte. Arenas are powers of two themselves, each for many slabs, so that what is counted
is what is taken: 8 GiB hold 29 such frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

SLABS_PER_ARENA = 16
"""At least so many fit into an arena, unless less of the budget is left."""


def capacity(slab_bytes: int, budget_bytes: int) -> int:
    """Slabs that fit into arenas under the budget."""
    slabs = 0
    while arena := next_arena(slab_bytes, budget_bytes):
        whole = max(1, budget_bytes // arena) if arena == _whole(slab_bytes) else 1
        slabs += whole * (arena // slab_bytes)
        budget_bytes -= whole * arena
    return slabs


def bytes_for(slabs: int, slab_bytes: int) -> int:
    """The smallest budget that is sure to hold so many slabs."""
    arena = _whole(slab_bytes)
    arenas, rest = divmod(slabs, arena // slab_bytes)
    return arenas * arena + (_power_of_two(rest * slab_bytes) if rest else 0)


def next_arena(slab_bytes: int, left_bytes: int | None) -> int:
    """Bytes of the next arena where so many of the budget are left; 0: no slab fits any more."""
    arena = _whole(slab_bytes)
    if left_bytes is None or left_bytes >= arena:
        return arena
    largest = 1 << left_bytes.bit_length() - 1 if left_bytes > 0 else 0
    return largest if largest >= slab_bytes else 0


class Arenas:
    """Slabs of one size, taken and given back; memory grows arena by arena and stays."""

    def __init__(self, budget_bytes: int | None) -> None:
        """budget_bytes: None for no limit."""
        self._budget = budget_bytes
        self._free: list[Tensor] = []
        self.reserved_bytes = 0

    def take(self, like: Tensor) -> Tensor | None:
        """A slab of the shape of `like`, pinned if that is on a GPU; None where the budget is spent."""
        if not self._free:
            self._grow(like)
        return self._free.pop() if self._free else None

    def give(self, slab: Tensor) -> None:
        self._free.append(slab)

    def _grow(self, like: Tensor) -> None:
        left = None if self._budget is None else self._budget - self.reserved_bytes
        size = next_arena(like.nbytes, left)
        if not size:
            return
        device = "meta" if like.is_meta else "cpu"
        arena = torch.empty(size // like.itemsize, dtype=like.dtype, device=device, pin_memory=like.is_cuda)
        self.reserved_bytes += size
        slabs = size // like.nbytes
        self._free.extend(arena[: slabs * like.numel()].view(slabs, *like.shape).unbind())
        self._free.reverse()


def _whole(slab_bytes: int) -> int:
    return _power_of_two(SLABS_PER_ARENA * slab_bytes)


def _power_of_two(number: int) -> int:
    """The smallest that is not below `number`."""
    return 1 << (number - 1).bit_length()
