"""Wan's rotary embedding as the published code computes it: float64 throughout, rounded once at the end."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from generator.wan.rope import CACHED_PHASES, Phases, angles, on_device


class ExactRotation:
    """Products in complex128; twice the work of `FloatRotation` and more, and other bits in bfloat16."""

    @staticmethod
    @lru_cache(maxsize=CACHED_PHASES)
    def phases(
        positions: tuple[int, ...], rows: int, columns: int, head_dim: int, device: torch.device
    ) -> Phases:
        turns = angles(on_device(positions, device), rows, columns, head_dim)
        return (torch.polar(torch.ones_like(turns), turns),)

    def rotate(self, x: Tensor, phases: Phases) -> Tensor:
        (turns,) = phases
        pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * turns.unsqueeze(-2)).flatten(-2).to(x.dtype)
