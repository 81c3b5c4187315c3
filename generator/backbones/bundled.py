"""The toy: the one backbone whose weights come with the code."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from generator.backbones.backbone import Backbone
from generator.configs import Geometry, Sampling, Window
from generator.errors import MissingFileError
from generator.story.text import PromptTrack
from generator.toy import prompts as toy_prompts
from generator.toy.codec import ToyCodec
from generator.toy.config import SIGMAS as TOY_SIGMAS
from generator.toy.config import WEIGHTS as TOY_WEIGHTS
from generator.wan.reference_numerics import NUMERICS
from generator.wan.vae import DecodeNext
from generator.weights.checkpoints import load_transformer

TOY_SIDE = 8
"""Rows and columns of the toy's latents."""


def toy(folder: Path | str = TOY_WEIGHTS, numerics: str = "stock") -> Backbone:
    """The bundled model: Wan's architecture, trained on a small drawn world; runs on one CPU core.

    In float32, and in bfloat16 with "reference" `NUMERICS`. Raises MissingFileError, CheckpointError.
    """
    folder = Path(folder)
    codec_file = folder / "codec.safetensors"
    if not codec_file.is_file():
        raise MissingFileError(codec_file, "the toy's latent codec")
    dtype = torch.bfloat16 if numerics == "reference" else torch.float32
    transformer = load_transformer(folder / "transformer", dtype=dtype)
    if dtype == torch.float32:
        lay_out(transformer)
    config = transformer.config
    return Backbone(
        name="toy",
        model=NUMERICS[numerics](transformer),
        text=ToyText(),
        decoder=ToyDecoder(ToyCodec.load(codec_file)),
        geometry=Geometry(
            channels=config.in_channels, height=TOY_SIDE, width=TOY_SIDE, patch=tuple(config.patch_size)
        ),
        window=Window(block_frames=toy_prompts.BLOCK_FRAMES),
        sampling=Sampling(steps=tuple(1000 * sigma for sigma in TOY_SIGMAS), shift=1.0, warped=False),
    )


def lay_out(transformer: nn.Module) -> None:
    """Put the matrices column by column into memory, values and shapes unchanged.

    With the few tokens of a small block the CPU's float32 product then takes a quarter less time; with MKL
    its bits are the same.
    """
    for module in transformer.modules():
        if isinstance(module, nn.Linear):
            module.weight.data = module.weight.data.t().contiguous().t()


class ToyText:
    """The toy's language as a text encoder."""

    def track(self, prompt: str, num_blocks: int) -> PromptTrack:
        return toy_prompts.encode(prompt, num_blocks)

    def prepare(self, prompts: Sequence[str]) -> None:
        """Nothing is loaded for words."""

    def follow(self, prompt: str, before: str, num_blocks: int) -> str:
        return toy_prompts.follow(prompt, before, num_blocks)


class ToyDecoder:
    """The toy's codec as a latent decoder: frames are decoded one by one, none depends on another."""

    def __init__(self, codec: ToyCodec) -> None:
        self._codec = codec
        self.fps = float(codec.fps)
        self.latent_fps = self.fps / codec.pixel_frames_per_latent

    def stream(self) -> DecodeNext:
        return self._codec.decode
