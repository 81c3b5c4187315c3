"""Everything that a model family brings to a rollout, by name: `toy` and `wan_1_3b`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from generator.causal_wan import CausalWan
from generator.checkpoints import WAN_1_3B, load_transformer
from generator.configs import Geometry, Sampling, Window
from generator.context import Policy
from generator.errors import MissingFileError
from generator.rollout import RolloutConfig
from generator.text import PromptTrack, TextEncoder
from generator.toy import prompts as toy_prompts
from generator.toy.codec import ToyCodec
from generator.toy.config import WEIGHTS as TOY_WEIGHTS
from generator.toy.sampler import SIGMAS as TOY_SIGMAS
from generator.umt5 import UMT5
from generator.vae import DecodeNext, LatentDecoder, WanVAE

TOY_SIDE = 8
"""Rows and columns of the toy's latents."""


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


def toy(folder: Path | str = TOY_WEIGHTS) -> Backbone:
    """The bundled model: Wan's architecture, trained on a small drawn world; runs on one CPU core.

    Raises MissingFileError, CheckpointError.
    """
    folder = Path(folder)
    codec_file = folder / "codec.safetensors"
    if not codec_file.is_file():
        raise MissingFileError(codec_file, "the toy's latent codec")
    transformer = load_transformer(folder / "transformer", dtype=torch.float32)
    config = transformer.config
    return Backbone(
        name="toy",
        model=CausalWan(transformer),
        text=ToyText(),
        decoder=ToyDecoder(ToyCodec.load(codec_file)),
        geometry=Geometry(
            channels=config.in_channels, height=TOY_SIDE, width=TOY_SIDE, patch=tuple(config.patch_size)
        ),
        window=Window(block_frames=toy_prompts.BLOCK_FRAMES),
        sampling=Sampling(steps=tuple(1000 * sigma for sigma in TOY_SIGMAS), shift=1.0, warped=False),
    )


class ToyText:
    """The toy's language as a text encoder."""

    def track(self, prompt: str, num_blocks: int) -> PromptTrack:
        return toy_prompts.encode(prompt, num_blocks)


class ToyDecoder:
    """The toy's codec as a latent decoder: frames are decoded one by one, none depends on another."""

    def __init__(self, codec: ToyCodec) -> None:
        self._codec = codec
        self.fps = float(codec.fps)
        self.latent_fps = self.fps / codec.pixel_frames_per_latent

    def stream(self) -> DecodeNext:
        return self._codec.decode


def wan_1_3b(
    folder: Path | str,
    checkpoint: Path | str | None = None,
    *,
    container: str | None = None,
    device: torch.device | str = "cuda",
    dtype: torch.dtype = torch.bfloat16,
    config: Mapping[str, Any] = WAN_1_3B,
    geometry: Geometry | None = None,
) -> Backbone:
    """Wan 2.1 T2V 1.3B, made causal by one of the published few-step checkpoints.

    folder: diffusers layout with tokenizer, text_encoder, vae, and transformer where no checkpoint is given.
    checkpoint: file with original names, e.g. self_forcing_dmd.pt; container: its key where it has several.
    Raises MissingFileError, CheckpointError.
    """
    folder, device = Path(folder), torch.device(device)
    if not folder.is_dir():
        raise MissingFileError(folder, "a folder of Wan 2.1 T2V 1.3B in diffusers' layout")
    transformer = load_transformer(checkpoint or folder, config, dtype=dtype, container=container)
    return Backbone(
        name="wan-1.3b",
        model=CausalWan(transformer).to(device),
        text=UMT5.load(folder, device, dtype),
        decoder=WanVAE.load(folder, device),
        geometry=geometry or Geometry(),
        window=Window(),
        sampling=Sampling(),
    )
