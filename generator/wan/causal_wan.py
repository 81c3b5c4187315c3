"""A frozen Wan transformer, run causally: one block per forward, past frames by attention alone."""

from __future__ import annotations

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor

from generator.configs import Geometry
from generator.wan.attention import Attended, ContextAttention, ContextRope, TextAttention, TextKV, text_kv
from generator.wan.kv_shape import KVShape
from generator.wan.rope import FloatRotation, Rotation
from generator.wan.timesteps import ExactTimesteps


class CausalWan:
    """A stock `WanTransformer3DModel`, its processors and its two modules without weights replaced."""

    numerics = "stock"
    """Where results are rounded: as diffusers has it."""

    rotation: Rotation = FloatRotation()
    """How its keys and queries are rotated; context keys are rotated in the same way."""

    in_order = False
    """Whether attention must sum over the context in its order, the block last; else in any."""

    def __init__(self, transformer: WanTransformer3DModel) -> None:
        self.transformer = transformer.eval().requires_grad_(False)
        self._rope = ContextRope()
        transformer.rope = self._rope
        transformer.condition_embedder.timesteps_proj = ExactTimesteps(transformer.config.freq_dim)
        processors = {}
        for layer in range(len(transformer.blocks)):
            processors[f"blocks.{layer}.attn1.processor"] = ContextAttention(layer)
            processors[f"blocks.{layer}.attn2.processor"] = TextAttention(layer, self._rope)
        transformer.set_attn_processor(processors)

    def to(self, device: torch.device | str) -> CausalWan:
        """Move the weights; the rollout follows them."""
        self.transformer.to(device)
        return self

    @property
    def dtype(self) -> torch.dtype:
        return self.transformer.patch_embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        return self.transformer.patch_embedding.weight.device

    def kv_shape(self, geometry: Geometry) -> KVShape:
        """Size of one frame's keys and values."""
        config = self.transformer.config
        return KVShape(
            layers=config.num_layers,
            tokens_per_frame=geometry.tokens_per_frame,
            heads=config.num_attention_heads,
            head_dim=config.attention_head_dim,
            dtype=self.dtype,
            device=self.device,
        )

    def text_kv(self, embeds: Tensor) -> TextKV:
        """Cross-attention keys and values of one embedded prompt [text_len, text_dim]; once per prompt.

        All rows take part, the zero rows after the prompt's end too: the model was trained that way.
        """
        embeds = embeds.to(self.device, self.dtype).unsqueeze(0)
        context = self.transformer.condition_embedder.text_embedder(embeds)
        return text_kv([block.attn2 for block in self.transformer.blocks], context)

    def flow(self, latents_FCHW: Tensor, timestep: Tensor, attended: Attended) -> Tensor:
        """Flow prediction [n, C, H, W] of one block.

        timestep is a scalar, or [N] with one value per token where frames differ.
        """
        # The prompt is in `attended` already: an empty one spares the text projection of every pass.
        no_text = latents_FCHW.new_empty(1, 0, self.transformer.config.text_dim)
        latents_BCFHW = latents_FCHW.transpose(0, 1).unsqueeze(0)
        timestep = timestep.to(self.device).unsqueeze(0)
        self._rope.attended = attended
        try:
            (flow_BCFHW,) = self.transformer(latents_BCFHW, timestep, no_text, return_dict=False)
        finally:
            self._rope.attended = None  # the model outlives the rollout, whose cache this is
        return flow_BCFHW[0].transpose(0, 1)
