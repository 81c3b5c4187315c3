"""Three-axis rotary position embedding of Wan 2.1, with any temporal positions.

Shapes: L = frames given, N = L * height * width tokens (frame, row, column), D = head_dim.
Keys are kept un-rotated and rotated when read, so a frame can take any temporal position.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol, TypeAlias

import torch
from torch import Tensor

from generator.configs import MAX_POSITION

Phases: TypeAlias = tuple[Tensor, ...]
"""What a rotation multiplies tokens with, [tokens, D / 2] each; opaque to all others."""

THETA = 10_000.0

CACHED_PHASES = 64
"""Enough for all that a block asks for; those of a block of Wan 1.3B at 480p take 2.4 MB of the device."""


def axis_dims(head_dim: int) -> tuple[int, int, int]:
    """Real dimensions of a head given to (temporal, row, column): 128 -> (44, 42, 42)."""
    if head_dim < 6 or head_dim % 2:
        raise ValueError(f"head_dim must be even and at least 6, got {head_dim}")
    spatial = 2 * (head_dim // 6)
    return head_dim - 2 * spatial, spatial, spatial


def phases(positions: Tensor, height: int, width: int, head_dim: int) -> tuple[Tensor, Tensor]:
    """Return (cos, sin) of `angles`, each float32 [L * height * width, D / 2]. Raises ValueError."""
    if positions.ndim != 1 or positions.is_floating_point():
        raise ValueError(f"positions must be integers of shape [L], got {tuple(positions.shape)}")
    check_positions(positions.tolist())
    turns = angles(positions, height, width, head_dim)
    return turns.cos().float(), turns.sin().float()


def angles(positions: Tensor, height: int, width: int, head_dim: int) -> Tensor:
    """Angles of all channel pairs, float64 [L * height * width, D / 2], for temporal positions [L].

    height and width count tokens (after patchify); rows and columns keep their true index.
    Float64, as Wan's complex128 table is.
    """
    frames, device = positions.numel(), positions.device
    indices = (
        positions.view(-1, 1, 1),
        torch.arange(height, device=device).view(1, -1, 1),
        torch.arange(width, device=device).view(1, 1, -1),
    )
    axes = [
        (index[..., None].double() * _frequencies(dim, device)).expand(frames, height, width, dim // 2)
        for index, dim in zip(indices, axis_dims(head_dim), strict=True)
    ]
    return torch.cat(axes, dim=-1).reshape(frames * height * width, head_dim // 2)


def on_device(positions: Sequence[int], device: torch.device) -> Tensor:
    """Temporal positions as int64 [L], made where they are needed: a copy would wait for the device.

    Raises ValueError.
    """
    check_positions(positions)
    return torch.stack([torch.full((), position, device=device) for position in positions])


def check_positions(positions: Sequence[int]) -> None:
    """Raises ValueError on temporal positions that the model does not have."""
    if positions and not 0 <= min(positions) <= max(positions) < MAX_POSITION:
        raise ValueError(
            f"temporal positions must lie in [0, {MAX_POSITION}), got {min(positions)}..{max(positions)}"
        )


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the adjacent channel pairs (2j, 2j + 1) of x [B, N, heads, D] by phases [N, D / 2].

    Computed in float32 and cast back to x.dtype. Phases may carry a leading batch dimension.
    """
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos.unsqueeze(-2), sin.unsqueeze(-2)
    rotated = torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1)
    return rotated.flatten(-2).to(x.dtype)


def _frequencies(dim: int, device: torch.device) -> Tensor:
    return 1 / THETA ** (torch.arange(0, dim, 2, dtype=torch.float64, device=device) / dim)


class Rotation(Protocol):
    """How keys and queries are rotated; a model brings its own, so that context and block agree."""

    def phases(
        self, positions: tuple[int, ...], rows: int, columns: int, head_dim: int, device: torch.device
    ) -> Phases:
        """Phases of whole frames at these temporal positions, frame by frame."""

    def rotate(self, x: Tensor, phases: Phases) -> Tensor:
        """x [B, N, heads, D], un-rotated -> rotated, in its dtype."""


class FloatRotation:
    """Angles in float64, products in float32: `rotate` in one complex product, a fifth of its time."""

    @staticmethod
    @lru_cache(maxsize=CACHED_PHASES)
    def phases(
        positions: tuple[int, ...], rows: int, columns: int, head_dim: int, device: torch.device
    ) -> Phases:
        turns = angles(on_device(positions, device), rows, columns, head_dim)
        return (torch.complex(turns.cos().float(), turns.sin().float()),)

    def rotate(self, x: Tensor, phases: Phases) -> Tensor:
        (turns,) = phases
        pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
        return torch.view_as_real(pairs * turns.unsqueeze(-2)).flatten(-2).to(x.dtype)
