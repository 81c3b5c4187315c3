"""Sinusoidal embedding of timesteps in float64, as Wan computes it.

diffusers computes angles of up to 1000 rad in float32, which is off by 4e-5 in the embedding and was the
largest error of a forward against the reference implementation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

BASE = 10_000.0


class ExactTimesteps(nn.Module):
    """Takes the place of `condition_embedder.timesteps_proj`; has no weights."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self._frequencies = BASE ** (-torch.arange(half, dtype=torch.float64) / half)

    def forward(self, timesteps: Tensor) -> Tensor:
        """[T] -> float32 [T, channels]: all cosines, then all sines."""
        if self._frequencies.device != timesteps.device:
            self._frequencies = self._frequencies.to(timesteps.device)  # once: a copy waits for the device
        angles = timesteps.double()[:, None] * self._frequencies
        return torch.cat([angles.cos(), angles.sin()], dim=-1).float()
