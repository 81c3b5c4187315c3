"""From latents to pixels, block by block as the rollout makes them.

Shapes: F latent frames, n pixel frames; pixels are uint8 [n, H, W, 3], RGB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify
from numpy.typing import NDArray
from torch import Tensor

from generator.errors import ConfigError, MissingFileError

Pixels: TypeAlias = NDArray[np.uint8]

DecodeNext: TypeAlias = Callable[[Tensor], Pixels]
"""Decodes the next latent frames [F, C, H, W] of one video; called in order."""


class LatentDecoder(Protocol):
    """Turns latents into pixels."""

    @property
    def fps(self) -> float:
        """Pixel frames per second."""

    @property
    def latent_fps(self) -> float:
        """Latent frames per second."""

    def stream(self) -> DecodeNext:
        """A decoder for one video, from its first latent frame on."""


class WanVAE:
    """Wan's causal video autoencoder: the first latent frame gives 1 pixel frame, every other one 4.

    The features that a frame needs of its past are kept from call to call, so blocks decode without a seam.
    With `chunk_frames` they are forgotten after so many latent frames and the next one is a first one again:
    T latent frames then give 4 T - 3 ceil(T / chunk_frames) pixel frames, as the reference's do with 60.
    """

    fps = 16.0

    def __init__(self, vae: AutoencoderKLWan, *, chunk_frames: int | None = None) -> None:
        if chunk_frames is not None and chunk_frames < 1:
            raise ConfigError(f"chunk_frames must be at least 1, got {chunk_frames}")
        self._vae = vae.eval()
        self._chunk_frames = chunk_frames
        shape = (1, vae.config.z_dim, 1, 1, 1)
        self._mean = torch.tensor(vae.config.latents_mean).view(shape)
        self._std = torch.tensor(vae.config.latents_std).view(shape)

    @staticmethod
    def load(
        folder: Path,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        *,
        chunk_frames: int | None = None,
    ) -> WanVAE:
        """From a diffusers folder with `vae`. Raises MissingFileError, ConfigError."""
        if not (folder / "vae").is_dir():
            raise MissingFileError(folder / "vae", "the autoencoder of Wan 2.1 in diffusers' layout")
        vae = AutoencoderKLWan.from_pretrained(folder / "vae", torch_dtype=dtype, local_files_only=True)
        return WanVAE(vae.to(device), chunk_frames=chunk_frames)

    @property
    def latent_fps(self) -> float:
        return self.fps / self._vae.config.scale_factor_temporal

    @property
    def scale(self) -> int:
        """Pixel rows per row of latents, and columns per column."""
        return int(self._vae.config.scale_factor_spatial)

    def stream(self) -> DecodeNext:
        past: _Past | None = None

        @torch.inference_mode()
        def decode_next(latents_FCHW: Tensor) -> Pixels:
            nonlocal past
            latents = latents_FCHW.to(self._vae.device, self._vae.dtype).transpose(0, 1).unsqueeze(0)
            latents = latents * self._std.to(latents) + self._mean.to(latents)
            pieces = []
            for frame in self._vae.post_quant_conv(latents).split(1, dim=2):
                if past is None or past.num_frames == self._chunk_frames:
                    past = _Past([None] * self._vae._cached_conv_counts["decoder"])
                pieces.append(self._decode_frame(frame, past))
            return to_pixels(torch.cat(pieces, dim=2)[0])

        return decode_next

    def _decode_frame(self, latent: Tensor, past: _Past) -> Tensor:
        # The decoder counts its convolutions in feat_idx, to find each one's features of the past.
        pixels = self._vae.decoder(
            latent, feat_cache=past.features, feat_idx=[0], first_chunk=past.num_frames == 0
        )
        past.num_frames += 1
        patch = self._vae.config.patch_size
        return pixels if patch is None else unpatchify(pixels, patch_size=patch)


@dataclass
class _Past:
    """What the decoder remembers of the latent frames since the last first one."""

    features: list[Tensor | None]
    num_frames: int = 0


def to_pixels(video_CnHW: Tensor) -> Pixels:
    """[3, n, H, W] in [-1, 1] -> uint8 [n, H, W, 3]; truncates as the reference's writer does."""
    unit = video_CnHW.float().clamp(-1, 1) * 0.5 + 0.5
    return (unit * 255).to(torch.uint8).permute(1, 2, 3, 0).contiguous().cpu().numpy()
