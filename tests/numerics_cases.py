"""Rollouts of random models, each to be run by the project's own path and by the second implementation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from second_wan import Method, SecondWan, roll_out
from torch import Tensor

from encoder.pooling import AvgPool
from generator.configs import Geometry, Window
from generator.history.history import History, video_spec
from generator.methods import policy_named
from generator.methods.context import Context
from generator.noise import SeededNoise
from generator.rollout import rollout
from generator.rollout_config import RolloutConfig
from generator.story.text import PromptTrack
from generator.wan.reference_numerics import NUMERICS
from generator.weights.checkpoints import build_transformer, convert, original_name
from memory_service.memory import Memory
from memory_service.types import VideoKey

BLOCKS = 13
PASSES = 5


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A random model, what it makes, and in which window."""

    heads: int = 2
    head_dim: int = 12
    layers: int = 2
    ffn_dim: int = 40
    freq_dim: int = 16
    geometry: Geometry = field(default_factory=lambda: Geometry(height=4, width=4))
    window: Window = field(default_factory=Window)

    @property
    def config(self) -> dict[str, Any]:
        """Arguments of diffusers' model."""
        return {
            "num_attention_heads": self.heads,
            "attention_head_dim": self.head_dim,
            "num_layers": self.layers,
            "ffn_dim": self.ffn_dim,
            "freq_dim": self.freq_dim,
            "text_dim": 20,
        }

    def weights(self, seed: int) -> dict[str, Tensor]:
        """Under original names, float32."""
        generator = torch.Generator().manual_seed(seed)
        with torch.device("meta"):
            shapes = WanTransformer3DModel(**self.config).state_dict()
        return {
            str(original_name(name)): 0.2 * torch.randn(tensor.shape, generator=generator)
            for name, tensor in shapes.items()
        }

    def text(self, seed: int) -> Tensor:
        """Embedded prompt with the zero rows behind its end."""
        embeds = torch.randn(7, 20, generator=torch.Generator().manual_seed(seed))
        embeds[5:] = 0
        return embeds

    def noise(self, seed: int) -> SeededNoise:
        shape = self.geometry.latent_shape
        return SeededNoise(
            "numerics", seed, blocks=BLOCKS, block_frames=3, passes=PASSES - 1, latent_shape=shape
        )


SETTINGS = {
    "small": Setting(),
    "oblong": Setting(heads=3, head_dim=32, layers=3, geometry=Geometry(height=6, width=10)),
    "wide head": Setting(
        heads=2,
        head_dim=128,
        freq_dim=256,
        geometry=Geometry(height=8, width=4),
        window=Window(window_frames=9, sink_frames=2, top_k=3, guard_frames=2),
    ),
}


@dataclass
class Rolled:
    """Latents of each block and the flow of each pass."""

    latents: list[Tensor] = field(default_factory=list)
    flows: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One rollout, to be run by either implementation."""

    setting: Setting
    method: str
    seed: int
    dtype: torch.dtype

    def ours(self, numerics: str, memory: Memory) -> tuple[Rolled, list[Context]]:
        """What the project's own path makes, and what each block attends."""
        rolled = Rolled()
        weights = convert(self.setting.weights(self.seed))
        model = NUMERICS[numerics](build_transformer(self.setting.config, weights, self.dtype))
        model.flow = recorded(model.flow, rolled.flows)
        geometry, window = self.setting.geometry, self.setting.window
        config = RolloutConfig(policy=policy_named(self.method), geometry=geometry, window=window)
        track = PromptTrack(embeds=self.setting.text(self.seed)[None], rows=(0,) * BLOCKS)
        encoder = AvgPool(geometry.channels)
        spec = video_spec(encoder, geometry.latent_shape, self.dtype)
        with History(memory, VideoKey("numerics", numerics), spec) as history:
            blocks = list(rollout(model, config, track, self.setting.noise(self.seed), encoder, history))
        rolled.latents += [block.latents for block in blocks]
        return rolled, [block.context for block in blocks]

    @torch.inference_mode()
    def second(self, contexts: Sequence[Context]) -> Rolled:
        """What the second implementation makes, with the same frames retrieved."""
        rolled, window = Rolled(), self.setting.window
        weights = {name: weight.to(self.dtype) for name, weight in self.setting.weights(self.seed).items()}
        method = Method(
            window=window.window_frames,
            sink=window.sink_frames,
            retrieved=window.top_k if policy_named(self.method).retrieves else 0,
            absolute=self.method == "native",
        )
        model = SecondWan(weights, self.setting.heads, self.setting.text(self.seed), method)
        model.flow = recorded(model.flow, rolled.flows)
        noise = self.setting.noise(self.seed)
        draws = [noise.block(index) for index in range(BLOCKS)]
        pooled = [[placed.source.frame - window.sink_frames for placed in c.retrieved] for c in contexts]
        initial = torch.stack([draw.initial for draw in draws])
        rolled.latents += roll_out(model, initial, [draw.renoise for draw in draws], pooled)
        return rolled


def recorded(flow: Callable[..., Tensor], flows: list[Tensor]) -> Callable[..., Tensor]:
    """`flow`, leaving all it returns in `flows`."""

    def call(*args: object) -> Tensor:
        flows.append(flow(*args))
        return flows[-1]

    return call
