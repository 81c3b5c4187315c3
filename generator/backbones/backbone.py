"""What a rollout needs of a model family."""

from __future__ import annotations

from dataclasses import dataclass

from generator.configs import Geometry, Sampling, Window
from generator.methods.context import Policy
from generator.rollout_config import RolloutConfig
from generator.story.text import TextEncoder
from generator.wan.causal_wan import CausalWan
from generator.wan.vae import LatentDecoder


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A generator: transformer, text encoder and latent decoder, and the numbers that they were made for."""

    name: str
    model: CausalWan
    text: TextEncoder
    decoder: LatentDecoder
    geometry: Geometry
    window: Window
    sampling: Sampling

    def config(self, policy: Policy) -> RolloutConfig:
        """A rollout of this backbone by one method, with its own window and sampling."""
        return RolloutConfig(
            policy=policy, geometry=self.geometry, window=self.window, sampling=self.sampling
        )
