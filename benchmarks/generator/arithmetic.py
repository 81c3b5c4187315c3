"""What a block must cost: operations and bytes, from the transformer's configuration alone. Pure.

N = n * F tokens of a block of n frames, M context frames beside it, d = heads * head_dim, T text tokens. A
multiply-add counts as two operations; norms, rotations, softmax and sums count nothing, as is usual.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from math import prod
from typing import Any

from generator.configs import Geometry

TEXT_ONLY = ("condition_embedder.text_embedder.", "attn2.to_k.", "attn2.to_v.", "attn2.norm_k.")
"""Weights that a prompt needs once and no pass does."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Floating-point operations by kind."""

    linear: int = 0
    """Projections and feed-forward layers of the blocks."""

    self_attention: int = 0
    cross_attention: int = 0

    rest: int = 0
    """Patch embedding, timestep, head; of a prompt the projection of its text."""

    @property
    def total(self) -> int:
        return sum(getattr(self, part.name) for part in fields(self))

    def __add__(self, other: Work) -> Work:
        return Work(**{p.name: getattr(self, p.name) + getattr(other, p.name) for p in fields(self)})

    def times(self, count: int) -> Work:
        return Work(**{part.name: count * getattr(self, part.name) for part in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Model:
    """Sizes of a transformer, of its latents and of its prompts."""

    layers: int
    dim: int
    ffn_dim: int
    freq_dim: int
    text_dim: int
    text_tokens: int
    patch_values: int
    """Values of one token before the patch embedding and after the head."""

    tokens_per_frame: int
    block_frames: int

    weight_bytes: int
    """Of the weights that every pass reads."""

    kv_itemsize: int
    """Bytes of one value of keys and values."""

    @staticmethod
    def of(
        config: Mapping[str, Any],
        geometry: Geometry,
        block_frames: int,
        text_tokens: int,
        weight_bytes: int,
        kv_itemsize: int,
    ) -> Model:
        """From the configuration of a `WanTransformer3DModel`."""
        return Model(
            layers=config["num_layers"],
            dim=config["num_attention_heads"] * config["attention_head_dim"],
            ffn_dim=config["ffn_dim"],
            freq_dim=config["freq_dim"],
            text_dim=config["text_dim"],
            text_tokens=text_tokens,
            patch_values=geometry.channels * prod(geometry.patch),
            tokens_per_frame=geometry.tokens_per_frame,
            block_frames=block_frames,
            weight_bytes=weight_bytes,
            kv_itemsize=kv_itemsize,
        )

    @property
    def block_tokens(self) -> int:
        return self.block_frames * self.tokens_per_frame

    def forward(self, context_frames: int) -> Work:
        """One pass over a block that attends so many frames beside itself, its text known."""
        N, d, L = self.block_tokens, self.dim, self.layers
        attended = N + context_frames * self.tokens_per_frame
        timestep = self.freq_dim * d + d * d + d * 6 * d
        return Work(
            linear=2 * L * N * (6 * d * d + 2 * d * self.ffn_dim),
            self_attention=4 * L * N * attended * d,
            cross_attention=4 * L * N * self.text_tokens * d,
            rest=2 * (2 * N * self.patch_values * d + timestep),
        )

    def prompt(self) -> Work:
        """What one prompt costs, whatever the number of blocks: its projection, keys and values."""
        T, d = self.text_tokens, self.dim
        return Work(linear=4 * self.layers * T * d * d, rest=2 * T * (self.text_dim * d + d * d))

    def forward_bytes(self, context_frames: int) -> int:
        """Fewest bytes that a pass moves: weights, and keys and values of all it attends, each read once."""
        attended = self.block_tokens + context_frames * self.tokens_per_frame + self.text_tokens
        return self.weight_bytes + 2 * self.layers * attended * self.dim * self.kv_itemsize


def weight_bytes(sizes: Iterable[tuple[str, int]]) -> int:
    """Bytes of the weights that a pass reads, out of names and bytes of all."""
    return sum(size for name, size in sizes if not any(part in name for part in TEXT_ONLY))
