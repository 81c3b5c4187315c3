"""The noise of a rollout: a function of prompt, seed and shape, whatever the method, device or process.

Draws per video, in the reference's order: the initial noise of all frames at once, then passes - 1 draws per
block. What is drawn for a block thus depends on the number of blocks: a short rollout is not the beginning
of a longer one.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class BlockNoise:
    """Noise of one block: `initial` float32 [n, C, H, W], `renoise` float32 [passes - 1, n, C, H, W]."""

    initial: Tensor
    renoise: Tensor

    def to(self, device: torch.device, dtype: torch.dtype) -> BlockNoise:
        """The same draws on another device and in another dtype; the host does not wait for a GPU."""
        return BlockNoise(_sent(self.initial, device, dtype), _sent(self.renoise, device, dtype))


class Noise(Protocol):
    """Gives the noise of block 0, 1, 2, ... in this order."""

    def block(self, index: int) -> BlockNoise: ...


class NoiseAhead:
    """Noise that can be drawn one block ahead, while the device is busy with something else."""

    def __init__(self, noise: Noise, num_blocks: int) -> None:
        self._noise, self._num_blocks = noise, num_blocks
        self._drawn: tuple[int, BlockNoise] | None = None

    def draw(self, index: int) -> None:
        """Draw the noise of the block that comes next, if one does."""
        if index < self._num_blocks:
            self._drawn = index, self._noise.block(index)

    def block(self, index: int) -> BlockNoise:
        if self._drawn is None or self._drawn[0] != index:
            self.draw(index)
        assert self._drawn is not None
        return self._drawn[1]


class SeededNoise:
    """Noise of one (prompt, seed), drawn on the CPU in float32 from a generator of its own."""

    def __init__(
        self,
        prompt: str,
        seed: int,
        *,
        blocks: int,
        block_frames: int,
        passes: int,
        latent_shape: tuple[int, int, int],
    ) -> None:
        self._generator = torch.Generator("cpu").manual_seed(noise_seed(prompt, seed))
        self._initial = self._draw(blocks, block_frames, *latent_shape)
        self._renoise_shape = (block_frames, *latent_shape)
        self._passes = passes
        self._next = 0

    def block(self, index: int) -> BlockNoise:
        """Noise of block `index`; skipped blocks are drawn and thrown away, none can be drawn again."""
        if not self._next <= index < len(self._initial):
            raise IndexError(f"block {index} of {len(self._initial)}; the next to draw is {self._next}")
        while self._next <= index:
            draws = [self._draw(*self._renoise_shape) for _ in range(self._passes - 1)]
            self._next += 1
        renoise = torch.stack(draws) if draws else torch.empty(0, *self._renoise_shape)
        return BlockNoise(self._initial[index], renoise)

    def _draw(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator, dtype=torch.float32)


@dataclass(frozen=True, kw_only=True)
class NoisePart:
    """What the noise of a video is drawn from, from block `from_block` on; see `SeededNoise`."""

    from_block: int = 0
    prompt: str
    seed: int
    num_blocks: int


class JoinedNoise:
    """Noise of several parts: a fork draws its own from where it left its parent."""

    def __init__(
        self,
        parts: Sequence[NoisePart],
        *,
        block_frames: int,
        passes: int,
        latent_shape: tuple[int, int, int],
    ) -> None:
        """parts: in order, the first from block 0."""
        self._starts = [part.from_block for part in parts]
        self._noises = [
            SeededNoise(
                part.prompt,
                part.seed,
                blocks=part.num_blocks,
                block_frames=block_frames,
                passes=passes,
                latent_shape=latent_shape,
            )
            for part in parts
        ]

    def block(self, index: int) -> BlockNoise:
        return self._noises[bisect_right(self._starts, index) - 1].block(index)


def _sent(draws: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    if device.type != "cuda" or draws.is_cuda:
        return draws.to(device, dtype)
    return draws.pin_memory().to(device, non_blocking=True).to(dtype)


def noise_seed(prompt: str, seed: int) -> int:
    """A 63-bit seed from the SHA-256 of prompt and seed."""
    digest = hashlib.sha256(f"{seed}\n{prompt}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
