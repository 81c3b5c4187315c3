"""A second implementation of the causal Wan and its rollout, in the rounding order of the published one.

Written from the algorithm alone, with torch functions on weights under their original names; shares nothing
with `generator`. Every tensor op works and rounds in the dtype of the weights unless it says otherwise.
Shapes: n frames of a block, F tokens per frame, N = n * F, H heads of D channels, no batch dimension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

STEPS = (1000, 750, 500, 250)
SHIFT = 5.0
EPS = 1e-6
BASE = 10_000.0


@dataclass(frozen=True, kw_only=True)
class Method:
    """Budgets of the window in frames, and whether keys are kept rotated at their frame number."""

    window: int
    sink: int
    retrieved: int
    absolute: bool


class SecondWan:
    """Weights and the buffer of one video: per layer a list of frames (keys, values), each [F, H, D]."""

    def __init__(self, weights: Mapping[str, Tensor], heads: int, text: Tensor, method: Method) -> None:
        """text: embedded prompt [text_len, text_dim]."""
        self.w, self.heads, self.method = weights, heads, method
        self.layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks."))
        self.dtype = weights["head.head.weight"].dtype
        self.table = rope_table(weights["patch_embedding.weight"].shape[0] // heads)
        self.frame_size = 0
        self.buffer: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(self.layers)]
        self.pool: list[list[tuple[Tensor, Tensor]]] = [[] for _ in range(self.layers)]
        """What left the buffer: entry i is frame sink + i."""
        self.end = 0
        embedded = self.linear("text_embedding.0", text.to(self.dtype))
        self.text = self.linear("text_embedding.2", F.gelu(embedded, approximate="tanh"))

    def flow(self, x: Tensor, timestep: float, start: int, chosen: Sequence[int]) -> Tensor:
        """Flow [n, C, h, w] of frames start .. start + n - 1; chosen: entries of the pool, best first."""
        n, height, width = x.shape[0], x.shape[2] // 2, x.shape[3] // 2
        self.frame_size = height * width
        if start + n > self.end:
            self.roll(n)
            self.end = start + n
        tokens = F.conv3d(x.permute(1, 0, 2, 3)[None], *self.named("patch_embedding"), stride=(1, 2, 2))
        h = tokens[0].flatten(1).transpose(0, 1)
        e = self.linear("time_embedding.2", F.silu(self.linear("time_embedding.0", self.sines(timestep, n))))
        e0 = self.linear("time_projection.1", F.silu(e)).view(n, 6, -1)
        for layer in range(self.layers):
            h = self.block(layer, h, e0, start, (height, width), chosen)
        shift, scale = self.per_token(self.w["head.modulation"] + e[:, None])
        out = self.linear("head.head", normed(h) * (1 + scale) + shift)
        out = out.view(n, height, width, 2, 2, -1).permute(0, 5, 1, 3, 2, 4)
        return out.reshape(n, -1, 2 * height, 2 * width)

    def block(
        self, layer: int, h: Tensor, e0: Tensor, start: int, side: tuple[int, int], chosen: Sequence[int]
    ) -> Tensor:
        name = f"blocks.{layer}."
        shift1, scale1, gate1, shift2, scale2, gate2 = self.per_token(self.w[name + "modulation"] + e0)
        y = normed(h) * (1 + scale1) + shift1
        h = h + self.self_attention(layer, y, start, side, chosen) * gate1
        h = h + self.cross_attention(layer, normed(h, *self.named(name + "norm3")))
        y = normed(h) * (1 + scale2) + shift2
        y = self.linear(name + "ffn.2", F.gelu(self.linear(name + "ffn.0", y), approximate="tanh"))
        return h + y * gate2

    def self_attention(
        self, layer: int, y: Tensor, start: int, side: tuple[int, int], chosen: Sequence[int]
    ) -> Tensor:
        name, m, buffer = f"blocks.{layer}.self_attn.", self.method, self.buffer[layer]
        n, length = len(y) // self.frame_size, len(buffer)
        query = self.split(self.rms(name + "norm_q", self.linear(name + "q", y)))
        key = self.split(self.rms(name + "norm_k", self.linear(name + "k", y)))
        value = self.split(self.linear(name + "v", y))
        places = range(start, start + n) if m.absolute else range(length - n, length)
        query = self.turn(query, places, side)
        key = self.turn(key, places, side) if m.absolute else key
        buffer[-n:] = zip(key.split(self.frame_size), value.split(self.frame_size), strict=True)

        sink = range(min(m.sink, length))
        local = range(max(m.sink, length - (m.window - m.sink - m.retrieved)), length)
        memory = [self.pool[layer][entry] for entry in chosen]
        frames = [*(buffer[slot] for slot in sink), *memory, *(buffer[slot] for slot in local)]
        keys, values = (torch.cat(part) for part in zip(*frames, strict=True))
        if not m.absolute:
            keys = self.turn(keys, [*sink, *(0 for _ in memory), *local], side)
        return self.linear(name + "o", attend(query, keys, values))

    def cross_attention(self, layer: int, y: Tensor) -> Tensor:
        name = f"blocks.{layer}.cross_attn."
        query = self.split(self.rms(name + "norm_q", self.linear(name + "q", y)))
        keys = self.split(self.rms(name + "norm_k", self.linear(name + "k", self.text)))
        return self.linear(name + "o", attend(query, keys, self.split(self.linear(name + "v", self.text))))

    def roll(self, n: int) -> None:
        """Make room for n frames: what is oldest beyond the sink goes to the pool."""
        for buffer, pool in zip(self.buffer, self.pool, strict=True):
            sink, excess = self.method.sink, max(0, len(buffer) + n - self.method.window)
            pool += buffer[sink : sink + excess]
            buffer[sink : sink + excess] = []
            buffer += [(torch.empty(0), torch.empty(0))] * n

    def sines(self, timestep: float, n: int) -> Tensor:
        """Computed in float64, one row per frame."""
        half = self.w["time_embedding.0.weight"].shape[1] // 2
        frequencies = torch.pow(BASE, -torch.arange(half, dtype=torch.float64) / half)
        angles = torch.full((n, 1), timestep, dtype=torch.float64) * frequencies
        return torch.cat([angles.cos(), angles.sin()], dim=1).to(self.dtype)

    def turn(self, x: Tensor, places: Sequence[int], side: tuple[int, int]) -> Tensor:
        """x [frames * F, H, D], one temporal place per frame; in complex128."""
        time, row, column = self.table
        grid = (len(places), *side, -1)
        axes = (
            time[list(places)][:, None, None].expand(grid),
            row[: side[0]][:, None].expand(grid),
            column[: side[1]].expand(grid),
        )
        turns = torch.cat(axes, dim=-1).flatten(0, 2)
        numbers = torch.view_as_complex(x.double().reshape(*x.shape[:-1], -1, 2).contiguous())
        return torch.view_as_real(numbers * turns[:, None]).flatten(-2).to(x.dtype)

    def per_token(self, m: Tensor) -> list[Tensor]:
        """[n, parts, dim] -> one [N, dim] per part."""
        return list(m.repeat_interleave(self.frame_size, dim=0).unbind(1))

    def linear(self, name: str, x: Tensor) -> Tensor:
        """With a batch dimension of 1, as the published one has; kernels may be chosen by it."""
        return F.linear(x[None], *self.named(name))[0]

    def rms(self, name: str, x: Tensor) -> Tensor:
        """Over all heads together; rounded once before and once after the weight."""
        wide = x.float()
        scaled = wide * torch.rsqrt(wide.pow(2).mean(dim=-1, keepdim=True) + EPS)
        return scaled.to(x.dtype) * self.w[name + ".weight"]

    def named(self, name: str) -> tuple[Tensor, Tensor]:
        return self.w[name + ".weight"], self.w[name + ".bias"]

    def split(self, x: Tensor) -> Tensor:
        return x.view(len(x), self.heads, -1)


def normed(x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], weight, bias, EPS)


def attend(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    heads_first = (x[None].transpose(1, 2) for x in (query, keys, values))
    return F.scaled_dot_product_attention(*heads_first)[0].transpose(0, 1).flatten(1)


def rope_table(head_dim: int) -> list[Tensor]:
    """exp(i p w_j), complex128 [1024, dim / 2] for the temporal, row and column channels."""
    spatial = 2 * (head_dim // 6)
    table = []
    for dim in (head_dim - 2 * spatial, spatial, spatial):
        frequencies = 1.0 / torch.pow(BASE, torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        angles = torch.outer(torch.arange(1024, dtype=torch.float64), frequencies)
        table.append(torch.polar(torch.ones_like(angles), angles))
    return table


def schedule() -> tuple[list[float], list[Tensor]]:
    """Timesteps and noise levels (float32 scalars) of the passes before the clean one."""
    sigmas = torch.linspace(1.0, 0.0, 1001)[:-1]
    sigmas = SHIFT * sigmas / (1 + (SHIFT - 1) * sigmas)
    timesteps = sigmas * 1000
    indices = [1000 - step for step in STEPS]
    return [timesteps[i].item() for i in indices], [sigmas[i] for i in indices]


def roll_out(
    model: SecondWan, noise: Tensor, renoise: Sequence[Tensor], chosen: Sequence[Sequence[int]]
) -> list[Tensor]:
    """Latents of every block.

    noise [blocks, n, C, h, w], renoise one [3, n, C, h, w] per block, chosen: entries of the pool per block.
    """
    timesteps, sigmas = schedule()
    made = []
    for index, (x, draws, entries) in enumerate(zip(noise, renoise, chosen, strict=True)):
        start = index * len(x)
        x = x.to(model.dtype)
        for step, (timestep, sigma) in enumerate(zip(timesteps, sigmas, strict=True)):
            flow = model.flow(x, timestep, start, entries)
            clean = (x.double() - sigma.double() * flow.double()).to(model.dtype)
            if step + 1 < len(timesteps):
                level = sigmas[step + 1].reshape(1, 1, 1, 1)
                draw = draws[step].to(model.dtype).float()
                x = ((1 - level) * clean.float() + level * draw).to(model.dtype)
        model.flow(clean, 0.0, start, entries)
        made.append(clean)
    return made
