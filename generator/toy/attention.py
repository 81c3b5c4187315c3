"""Self-attention over context frames gathered from other batch elements, for training.

E batch elements, the first of them clean (t = 0); N tokens a block, T tokens a frame, D head_dim.
A block attends to [context frames | itself]. Context keys and values are those that the same
layer wrote for the clean elements of this batch, un-rotated, so training equals a rollout with a
K/V cache. Row and column phases do not depend on the reader and are applied before the gather.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor, nn

from generator.toy.clips import Batch
from generator.wan.rope import axis_dims, phases, rotate

Phases = tuple[Tensor, Tensor]


@dataclass
class Plan:
    """What each batch element attends to; the bank, if set, replaces the batch's clean elements."""

    frames: Tensor
    """[E, 9] rows of the bank of frames; absent ones are masked and may hold any row."""
    bias: Tensor
    """[E, 1, 1, 9 * T + N] added to scores: 0 where attended, else a large negative number."""
    spatial: Phases
    """[N, D_hw / 2]"""
    context_phases: Phases
    """Temporal, [E, 9 * T, D_t / 2]."""
    block_phases: Phases
    """Temporal, [E, N, D_t / 2]."""
    caption_rows: Tensor
    """[E] row of the captions given as encoder_hidden_states."""
    num_clean: int
    bank: list[tuple[Tensor, Tensor]] | None = None
    """Per layer, K and V of remembered frames, [frames, T, heads, D]; K rotated spatially."""
    written: list[tuple[Tensor, Tensor]] | None = None
    """Per layer, what this forward wrote; filled when not None."""


class PlanRope(nn.Module):
    """Takes the place of the stock rope and hands the current plan to every attention layer."""

    plan: Plan | None = None

    def forward(self, _hidden_states: Tensor) -> Plan:
        assert self.plan is not None
        return self.plan


class ContextAttention:
    """Self-attention of one layer: [gathered context | own block]."""

    def __init__(self, layer: int) -> None:
        self.layer = layer

    def __call__(self, attn, x, _captions, _mask, plan: Plan) -> Tensor:
        q = attn.norm_q(attn.to_q(x)).unflatten(2, (attn.heads, -1))
        k = attn.norm_k(attn.to_k(x)).unflatten(2, (attn.heads, -1))
        v = attn.to_v(x).unflatten(2, (attn.heads, -1))
        dim_t = axis_dims(k.shape[-1])[0]
        k = torch.cat((k[..., :dim_t], rotate(k[..., dim_t:], *plan.spatial).to(k.dtype)), -1)
        q_hw = rotate(q[..., dim_t:], *plan.spatial)
        q = torch.cat((rotate(q[..., :dim_t], *plan.block_phases), q_hw), -1)
        if plan.written is not None:
            plan.written.append((k, v))
        bank_k, bank_v = self._bank(plan, k, v)
        context_k, context_v = _gather(bank_k, plan.frames), _gather(bank_v, plan.frames)
        times = torch.cat(
            (
                rotate(context_k[..., :dim_t], *plan.context_phases),
                rotate(k[..., :dim_t], *plan.block_phases),
            ),
            1,
        )
        keys = torch.cat((times, torch.cat((context_k, k), 1)[..., dim_t:]), -1)
        values = torch.cat((context_v, v), 1)
        return attn.to_out[0](_attend(q, keys, values, plan.bias))

    def _bank(self, plan: Plan, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if plan.bank is not None:
            return plan.bank[self.layer]
        tokens = k.shape[1] // 3
        clean = (part[: plan.num_clean].unflatten(1, (3, tokens)).flatten(0, 1) for part in (k, v))
        return next(clean), next(clean)


class CaptionAttention:
    """Cross-attention that computes K and V once per caption and shares them among elements."""

    def __init__(self, rope: PlanRope) -> None:
        self.rope = rope

    def __call__(self, attn, x, captions, _mask, _rope) -> Tensor:
        assert self.rope.plan is not None
        rows = self.rope.plan.caption_rows
        q = attn.norm_q(attn.to_q(x)).unflatten(2, (attn.heads, -1))
        k = attn.norm_k(attn.to_k(captions)).unflatten(2, (attn.heads, -1))
        v = attn.to_v(captions).unflatten(2, (attn.heads, -1))
        return attn.to_out[0](_attend(q, _gather(k, rows), _gather(v, rows), None))


def _gather(bank: Tensor, rows: Tensor) -> Tensor:
    """bank [frames, T, heads, D] and rows [E] or [E, n] -> [E, n * T, heads, D]."""
    picked = bank.index_select(0, rows.flatten())
    return picked.reshape(len(rows), -1, *bank.shape[2:])


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """Softmax attention over [E, N, heads, D]; by matmuls, far faster backward than SDPA on CPU."""
    q, k, v = (part.to(v.dtype).transpose(1, 2) for part in (q, k, v))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if bias is not None:
        scores = scores + bias.to(scores.dtype)
    out = scores.softmax(-1).to(v.dtype) @ v
    return out.transpose(1, 2).flatten(2)


def install(model: WanTransformer3DModel) -> PlanRope:
    """Give the model these processors; return the rope whose `plan` each forward follows."""
    rope = PlanRope()
    model.rope = rope
    processors: dict[str, object] = {}
    for layer in range(len(model.blocks)):
        processors[f"blocks.{layer}.attn1.processor"] = ContextAttention(layer)
        processors[f"blocks.{layer}.attn2.processor"] = CaptionAttention(rope)
    model.set_attn_processor(processors)
    return rope


def make_plan(batch: Batch, draws: int, model: WanTransformer3DModel) -> Plan:
    """Plan of a training batch: clean elements, then `draws` noisy copies of each target."""

    def elements(rows: Tensor) -> Tensor:
        targets = rows[: len(batch.targets)]
        return torch.cat((rows, targets.repeat(draws, *[1] * (rows.ndim - 1))))

    tables = (batch.frames, batch.positions, batch.block_positions, batch.caption_rows)
    plan = context_plan(*map(elements, tables), model)
    plan.num_clean = len(batch.contexts)
    return plan


def context_plan(
    frames: Tensor,
    positions: Tensor,
    block_positions: Tensor,
    caption_rows: Tensor,
    model: WanTransformer3DModel,
) -> Plan:
    """Plan from context frames [E, 9] (-1 absent), their positions, and block positions [E, 3]."""
    _, patch_h, patch_w = model.config.patch_size
    height, width = 8 // patch_h, 8 // patch_w
    head_dim = model.config.attention_head_dim
    pairs_t, tokens = axis_dims(head_dim)[0] // 2, height * width
    table = [part[:, :pairs_t] for part in phases(torch.arange(1024), 1, 1, head_dim)]
    spatial = [part[:, pairs_t:] for part in phases(torch.zeros(3, dtype=int), height, width, head_dim)]
    present = (frames >= 0).repeat_interleave(tokens, 1)
    own = torch.ones(len(frames), 3 * tokens, dtype=torch.bool)
    return Plan(
        frames=frames.clamp(min=0),
        bias=torch.where(torch.cat((present, own), 1), 0.0, -1e4)[:, None, None],
        spatial=(spatial[0], spatial[1]),
        context_phases=_lookup(table, positions, tokens),
        block_phases=_lookup(table, block_positions, tokens),
        caption_rows=caption_rows,
        num_clean=0,
    )


def _lookup(table: list[Tensor], positions: Tensor, tokens: int) -> Phases:
    cos, sin = (part[positions].repeat_interleave(tokens, 1) for part in table)
    return cos, sin
