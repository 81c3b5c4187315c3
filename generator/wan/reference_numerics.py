"""A Wan transformer run in the rounding order of the published few-step generators.

They cast every weight to bfloat16 and round after every operation, where diffusers keeps modulation, norms
and residual sums in float32 until the end: as accurate, but other bits, and a rollout amplifies them. Here
the modules of an unchanged diffusers model are walked one by one in the published order. Shapes: n frames of
the block, F tokens per frame, N = n * F, batch 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from diffusers import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan import WanAttention, WanTransformerBlock
from torch import Tensor, nn
from torch.nn import functional as F

from generator.wan.attention import Attended, TextKV, attend, heads_first
from generator.wan.causal_wan import CausalWan
from generator.wan.exact_rope import ExactRotation
from generator.wan.rope import Rotation


class ReferenceWan(CausalWan):
    """A `CausalWan` with all weights in the dtype of the patch embedding and one rounding per operation.

    Bit-equal to the published code where its kernels for matrix products and attention are the same, which
    tests show on the CPU; in float32 it differs from `CausalWan` by rounding only.
    """

    numerics = "reference"
    rotation: Rotation = ExactRotation()
    in_order = True

    def __init__(self, transformer: WanTransformer3DModel) -> None:
        """Casts the weights in place, those that diffusers keeps in float32 too."""
        super().__init__(transformer)
        for weight in transformer.parameters():
            weight.data = weight.data.to(self.dtype)

    def text_kv(self, embeds: Tensor) -> TextKV:
        context = self.transformer.condition_embedder.text_embedder(embeds.to(self.device, self.dtype)[None])
        pairs = []
        for attn in (block.attn2 for block in self.transformer.blocks):
            key, value = rms_norm(attn.norm_k, attn.to_k(context)), attn.to_v(context)
            pairs.append((_split(attn, key).transpose(1, 2), _split(attn, value).transpose(1, 2)))
        return tuple(pairs)

    def flow(self, latents_FCHW: Tensor, timestep: Tensor, attended: Attended) -> Tensor:
        wan, frames = self.transformer, latents_FCHW.shape[0]
        patches = wan.patch_embedding(latents_FCHW.transpose(0, 1).unsqueeze(0))
        hidden = patches.flatten(2).transpose(1, 2)
        # One row per frame, though they are equal as a rule: kernels may round by the number of rows.
        times = timestep.reshape(frames, -1)[:, 0] if timestep.ndim else timestep.expand(frames)
        time, modulation = self._embed_time(times.to(self.device))
        for layer, block in enumerate(wan.blocks):
            hidden = _block(block, layer, hidden, modulation, attended)
        shift, scale = (wan.scale_shift_table + time.unsqueeze(1)).split(1, dim=1)
        out = wan.proj_out(_modulated(_normed(wan.norm_out, hidden), scale, shift))
        return _unpatchified(out[0], patches.shape[2:], wan.config.patch_size)

    def _embed_time(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """times [n] -> embedding [n, dim], and the modulation of all blocks [n, 6, dim]."""
        embedder = self.transformer.condition_embedder
        time = embedder.time_embedder(embedder.timesteps_proj(times).to(self.dtype))
        return time, embedder.time_proj(F.silu(time)).unflatten(1, (6, -1))


NUMERICS: Mapping[str, type[CausalWan]] = {model.numerics: model for model in (CausalWan, ReferenceWan)}
"""Rounding order -> the model that has it; the first is the default."""


def rms_norm(norm: nn.RMSNorm, x: Tensor) -> Tensor:
    """Normalised in float32 and rounded, then multiplied with the weight and rounded again."""
    wide = x.float()
    scale = torch.rsqrt(wide.pow(2).mean(dim=-1, keepdim=True) + norm.eps)
    return (wide * scale).to(x.dtype) * norm.weight


def _block(
    block: WanTransformerBlock, layer: int, hidden: Tensor, modulation: Tensor, attended: Attended
) -> Tensor:
    """One transformer block: hidden [1, N, dim] -> the same; modulation [n, 6, dim]."""
    parts = (block.scale_shift_table + modulation).split(1, dim=1)
    shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = parts
    y = _modulated(_normed(block.norm1, hidden), scale, shift)
    hidden = hidden + _gated(_self_attention(block.attn1, layer, y, attended), gate)
    y = _split(block.attn2, rms_norm(block.attn2.norm_q, block.attn2.to_q(_normed(block.norm2, hidden))))
    hidden = hidden + attend(block.attn2, y, *attended.text[layer])
    y = _modulated(_normed(block.norm3, hidden), ffn_scale, ffn_shift)
    return hidden + _gated(block.ffn(y), ffn_gate)


def _self_attention(attn: WanAttention, layer: int, y: Tensor, attended: Attended) -> Tensor:
    query = _split(attn, rms_norm(attn.norm_q, attn.to_q(y)))
    key = _split(attn, rms_norm(attn.norm_k, attn.to_k(y)))
    query, keys, values = attended.exchange(layer, query, key, _split(attn, attn.to_v(y)))
    return attend(attn, query, heads_first(keys), heads_first(values))


def _normed(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """In float32 inside, rounded at the end; diffusers' own forward would cast the weights as well."""
    return F.layer_norm(x, norm.normalized_shape, norm.weight, norm.bias, norm.eps)


def _modulated(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x [1, N, dim], scale and shift [n, 1, dim], one for all tokens of a frame."""
    return (x[0].unflatten(0, (len(scale), -1)) * (1 + scale) + shift).flatten(0, 1).unsqueeze(0)


def _gated(x: Tensor, gate: Tensor) -> Tensor:
    return (x[0].unflatten(0, (len(gate), -1)) * gate).flatten(0, 1).unsqueeze(0)


def _split(attn: WanAttention, x: Tensor) -> Tensor:
    """[1, tokens, dim] -> [1, tokens, heads, D]"""
    return x.unflatten(2, (attn.heads, -1))


def _unpatchified(out: Tensor, grid: torch.Size, patch: tuple[int, int, int]) -> Tensor:
    """out [N, values of a patch, channels last] -> [n, C, H, W]; grid: patches along frame, row, column."""
    values = out.unflatten(1, (*patch, -1)).unflatten(0, grid)  # n, rows, columns, 1, p, q, C
    return values.permute(0, 3, 6, 1, 4, 2, 5).flatten(5, 6).flatten(3, 4).flatten(0, 1)
