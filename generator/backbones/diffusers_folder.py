"""Any text-to-video Wan in diffusers' folder layout, with its own transformer or one of a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import WanTransformer3DModel

from generator.backbones.backbone import Backbone
from generator.configs import Geometry, Sampling, Window
from generator.errors import ConfigError, MissingFileError
from generator.wan.reference_numerics import NUMERICS
from generator.wan.text_cache import CachedText
from generator.wan.umt5 import UMT5, identity
from generator.wan.vae import WanVAE
from generator.weights import user_files
from generator.weights.checkpoints import folder_config, load_transformer


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How a Wan backbone runs, whatever its weights."""

    device: torch.device | str = "cuda"
    dtype: torch.dtype = torch.bfloat16

    numerics: str = "stock"
    """Of `NUMERICS`: where results are rounded, see docs/numerics.md."""

    height: int = 480
    """Pixel rows."""

    width: int = 832
    """Pixel columns."""

    vae_chunk: int | None = None
    """Latent frames after which decoding starts anew, with a seam; the reference's is 60. None: never."""

    text_cache: Path = user_files.TEXT
    """Where text embeddings are kept; several processes may share it."""


def wan(
    folder: Path | str,
    checkpoint: Path | str | None = None,
    *,
    container: str | None = None,
    setup: Setup = Setup(),
) -> Backbone:
    """Wan of any size in a diffusers folder, driven causally; a checkpoint replaces the folder's transformer.

    folder: with tokenizer, text_encoder, vae, and transformer where no checkpoint is given.
    checkpoint: file with original names, of the size that transformer/config.json says, or 1.3B where the
    folder has none; container: key of its weights where it has several.
    Raises MissingFileError, CheckpointError, ConfigError.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise MissingFileError(folder, "a folder of Wan 2.1 in diffusers' layout")
    source = folder if checkpoint is None else Path(checkpoint).expanduser()
    transformer = load_transformer(source, folder_config(folder), dtype=setup.dtype, container=container)
    return assemble("wan", transformer, folder, setup)


def assemble(name: str, transformer: WanTransformer3DModel, folder: Path, setup: Setup) -> Backbone:
    """A backbone of a transformer and the other parts in a folder. Raises MissingFileError, ConfigError."""
    device, config = torch.device(setup.device), transformer.config
    if config.image_dim is not None or config.in_channels != config.out_channels:
        raise ConfigError(f"{folder} has a model that needs an image; expected a text-to-video one")
    decoder = WanVAE.load(folder, device, chunk_frames=setup.vae_chunk)
    for side, pixels in {"height": setup.height, "width": setup.width}.items():
        if pixels <= 0 or pixels % decoder.scale:
            raise ConfigError(f"{side} must be a positive multiple of {decoder.scale} pixels, got {pixels}")
    return Backbone(
        name=name,
        model=NUMERICS[setup.numerics](transformer).to(device),
        text=CachedText(
            setup.text_cache, identity(folder, setup.dtype), lambda: UMT5.load(folder, device, setup.dtype)
        ),
        decoder=decoder,
        geometry=Geometry(
            channels=config.in_channels,
            height=setup.height // decoder.scale,
            width=setup.width // decoder.scale,
            patch=tuple(config.patch_size),
        ),
        window=Window(),
        sampling=Sampling(),
    )
