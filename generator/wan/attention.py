"""Attention processors that let a stock Wan transformer attend a context: sink, retrieved and local frames.

The transformer treats what its `rope` returns as opaque and hands it to every self-attention processor;
`ContextRope` takes the place of `rope` and returns what the current pass attends. Nothing else of the model
changes. Shapes: N = n * F tokens of the block, D = head dimension, batch 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from diffusers.models.transformers.transformer_wan import WanAttention
from torch import Tensor, nn
from torch.nn import functional as F

TextKV: TypeAlias = tuple[tuple[Tensor, Tensor], ...]
"""Cross-attention keys and values of one prompt, one pair [1, heads, text_len, D] per layer."""

Store: TypeAlias = Callable[[int, Tensor, Tensor], None]
"""Takes layer, un-rotated keys and values [1, N, heads, D]."""


class Attended(Protocol):
    """What one pass attends; a method's context cache makes one per block."""

    @property
    def text(self) -> TextKV: ...

    def exchange(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The block's un-rotated query, key and value of one layer [1, N, heads, D] for what attention needs.

        Returns the rotated query [1, N, heads, D], and rotated keys and values [tokens, heads, D] of the
        block and all its context.
        """


class ContextRope(nn.Module):
    """Stands in for the transformer's rotary embedding and carries the context of the current pass."""

    def __init__(self) -> None:
        super().__init__()
        self.attended: Attended | None = None

    def forward(self, hidden_states: Tensor) -> Attended:  # noqa: ARG002 (the transformer's signature)
        assert self.attended is not None, "set `attended` before a forward"
        return self.attended


class ContextAttention:
    """Self-attention of one layer: the block's queries over [the block || its context]."""

    def __init__(self, layer: int) -> None:
        self._layer = layer

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None,
        attention_mask: Tensor | None,  # noqa: ARG002 (the processor's signature)
        rotary_emb: Attended,
    ) -> Tensor:
        assert encoder_hidden_states is None
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1))
        key = attn.norm_k(attn.to_k(hidden_states)).unflatten(2, (attn.heads, -1))
        value = attn.to_v(hidden_states).unflatten(2, (attn.heads, -1))

        query, keys, values = rotary_emb.exchange(self._layer, query, key, value)
        return attend(attn, query, heads_first(keys), heads_first(values))


class TextAttention:
    """Cross-attention of one layer over the prompt's keys and values, which were computed once."""

    def __init__(self, layer: int, rope: ContextRope) -> None:
        self._layer = layer
        self._rope = rope

    def __call__(
        self,
        attn: WanAttention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,  # noqa: ARG002
        attention_mask: Tensor | None,  # noqa: ARG002
        rotary_emb: None,  # noqa: ARG002
    ) -> Tensor:
        assert self._rope.attended is not None
        query = attn.norm_q(attn.to_q(hidden_states)).unflatten(2, (attn.heads, -1))
        return attend(attn, query, *self._rope.attended.text[self._layer])


def text_kv(attentions: Sequence[WanAttention], context: Tensor) -> TextKV:
    """Keys and values of every cross-attention layer for the embedded prompt [1, text_len, dim]."""
    pairs = []
    for attn in attentions:
        key = attn.norm_k(attn.to_k(context)).unflatten(2, (attn.heads, -1))
        value = attn.to_v(context).unflatten(2, (attn.heads, -1))
        pairs.append((key.transpose(1, 2).contiguous(), value.transpose(1, 2).contiguous()))
    return tuple(pairs)


def attend(attn: WanAttention, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """query [1, N, heads, D], keys and values [1, heads, tokens, D]; no mask, scale 1 / sqrt(D)."""
    out = F.scaled_dot_product_attention(query.transpose(1, 2), keys, values)
    return attn.to_out[0](out.transpose(1, 2).flatten(2))


def heads_first(tokens: Tensor) -> Tensor:
    return tokens.unsqueeze(0).transpose(1, 2)
