"""A tiny random Wan model and a rollout of it, small enough to run hundreds of passes in a second."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from diffusers import WanTransformer3DModel

from encoder.model import Encoder
from encoder.pooling import AvgPool
from generator.configs import Geometry, Sampling, Window
from generator.history.history import History, video_spec
from generator.kv.config import KVConfig
from generator.kv.host_tier import HostTier
from generator.methods import policy_named
from generator.noise import SeededNoise
from generator.rollout import RolledBlock, rollout
from generator.rollout_config import RolloutConfig
from generator.story.text import PromptTrack
from generator.wan.causal_wan import CausalWan
from generator.weights.checkpoints import build_transformer
from memory_service.memory import Memory
from memory_service.types import VideoKey

TINY = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "text_dim": 8,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 2,
}
GEOMETRY = Geometry(channels=16, height=4, width=4)


@dataclass
class TinyRollouts:
    """Runs rollouts of one tiny model; every field can be replaced."""

    memory: Memory
    dtype: torch.dtype = torch.float32
    window: Window = Window()  # noqa: RUF009 (frozen)
    sampling: Sampling = Sampling()  # noqa: RUF009 (frozen)
    encoder: Encoder = AvgPool(16)  # noqa: RUF009 (has no state)
    kv: KVConfig = KVConfig()  # noqa: RUF009 (frozen)
    fused: bool = True
    device: str = "cpu"

    def variant(self, **changes) -> TinyRollouts:
        return replace(self, **changes)

    def model(self) -> CausalWan:
        generator = torch.Generator().manual_seed(0)
        with torch.device("meta"):
            names = WanTransformer3DModel(**TINY).state_dict()
        weights = {
            name: 0.2 * torch.randn(tensor.shape, generator=generator) for name, tensor in names.items()
        }
        return CausalWan(build_transformer(TINY, weights, self.dtype)).to(self.device)

    def track(self, blocks: int) -> PromptTrack:
        embeds = torch.randn(1, 5, TINY["text_dim"], generator=torch.Generator().manual_seed(1))
        return PromptTrack(embeds=embeds.to(self.device), rows=(0,) * blocks)

    def config(self, method: str) -> RolloutConfig:
        policy = policy_named(method)
        window = policy.window(self.window)
        return RolloutConfig(
            policy=policy, geometry=GEOMETRY, window=window, sampling=self.sampling, kv=self.kv
        )

    def history(self, video: str) -> History:
        spec = video_spec(self.encoder, GEOMETRY.latent_shape, self.dtype)
        return History(self.memory, VideoKey("tiny", video), spec, fused=self.fused)

    def noise(self, blocks: int) -> SeededNoise:
        return SeededNoise(
            "a prompt",
            0,
            blocks=blocks,
            block_frames=self.window.block_frames,
            passes=len(self.sampling.steps),
            latent_shape=GEOMETRY.latent_shape,
        )

    def run(
        self, method: str, blocks: int, video: str = "video", host: HostTier | None = None
    ) -> list[RolledBlock]:
        with self.history(video) as history:
            made = rollout(
                self.model(),
                self.config(method),
                self.track(blocks),
                self.noise(blocks),
                self.encoder,
                history,
                host,
            )
            return list(made)
