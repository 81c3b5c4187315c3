"""Which generators can be measured: a backbone without what turns text and latents into pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

import torch
from diffusers import WanTransformer3DModel

from benchmarks.generator.arithmetic import Model, weight_bytes
from encoder import checkpoint
from encoder.model import Encoder, LatentAE, LatentAEConfig
from generator import backbones
from generator.configs import Geometry, Sampling, Window
from generator.story.text import PromptTrack
from generator.wan.causal_wan import CausalWan
from generator.weights.checkpoints import build_transformer

TOY_PROMPT = "a snowy village at dusk; pan right 10s, pan left 10s"
"""Its camera comes back, so that there is something to retrieve."""

TEXT_TOKENS = 512
"""Rows of an embedded prompt of Wan."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model and all that a rollout of it needs."""

    name: str
    model: CausalWan
    geometry: Geometry
    window: Window
    sampling: Sampling
    encoder: Encoder
    track: Callable[[int], PromptTrack]
    """Prompt of so many blocks."""

    @property
    def sizes(self) -> Model:
        weights = self.model.transformer.named_parameters()
        return Model.of(
            self.model.transformer.config,
            self.geometry,
            self.window.block_frames,
            self.track(1).embeds.shape[1],
            weight_bytes((name, weight.nbytes) for name, weight in weights),
            self.model.dtype.itemsize,
        )


def toy() -> Subject:
    """The bundled model on the CPU, its trained encoder, a camera that returns."""
    backbone = backbones.toy()
    return Subject(
        name="toy",
        model=backbone.model,
        geometry=backbone.geometry,
        window=backbone.window,
        sampling=backbone.sampling,
        encoder=checkpoint.load(backbones.TOY_WEIGHTS / "encoder.safetensors"),
        track=lambda blocks: backbone.text.track(TOY_PROMPT, blocks),
    )


def wan_random(
    device: torch.device | str,
    dtype: torch.dtype,
    changes: Mapping[str, int] | None = None,
    geometry: Geometry = Geometry(),  # noqa: B008 (frozen)
) -> Subject:
    """Wan 2.1 1.3B with random weights: what it makes is noise, what it costs is not.

    changes: fields of the transformer's configuration in place of those of the 1.3B model.
    """
    config = {"num_attention_heads": 12, "ffn_dim": 8960, "num_layers": 30, **(changes or {})}
    model = CausalWan(build_transformer(config, _random_weights(config, device, dtype), dtype))
    latents = LatentAEConfig(in_channels=geometry.channels, height=geometry.height, width=geometry.width)
    text_dim = model.transformer.config.text_dim
    embeds = torch.randn(1, TEXT_TOKENS, text_dim, generator=torch.Generator().manual_seed(1))
    return Subject(
        name="wan-random",
        model=model,
        geometry=geometry,
        window=Window(),
        sampling=Sampling(),
        encoder=LatentAE(latents).to(device).eval(),
        track=lambda blocks: PromptTrack(embeds=embeds, rows=(0,) * blocks),
    )


def _random_weights(
    config: Mapping[str, int], device: torch.device | str, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Matrices that keep the size of what they multiply, norms of one, biases of zero."""
    with torch.device("meta"):
        shapes = {name: w.shape for name, w in WanTransformer3DModel(**config).state_dict().items()}
    generator = torch.Generator(device).manual_seed(0)

    def weight(name: str, shape: torch.Size) -> torch.Tensor:
        if len(shape) > 1:
            drawn = torch.randn(shape, generator=generator, device=device, dtype=dtype)
            return drawn / prod(shape[1:]) ** 0.5
        return (torch.zeros if name.endswith("bias") else torch.ones)(shape, device=device, dtype=dtype)

    return {name: weight(name, shape) for name, shape in shapes.items()}
