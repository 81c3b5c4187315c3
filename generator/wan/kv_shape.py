"""The unit of all tiers: the keys and values of one frame, its slab."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

KEY, VALUE = 0, 1
"""Second index of a slab."""


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

    def new_slab(self) -> Tensor:
        """Uninitialized, on the device."""
        return torch.empty(self.slab, dtype=self.dtype, device=self.device)
