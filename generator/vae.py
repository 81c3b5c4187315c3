"""From latents to pixels, block by block as the rollout makes them.

Shapes: F latent frames, n pixel frames; pixels are uint8 [n, H, W, 3], RGB.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from numpy.typing import NDArray
from torch import Tensor

from generator.errors import MissingFileError

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
    """

    fps = 16.0
    latent_fps = 4.0

    def __init__(self, vae: AutoencoderKLWan) -> None:
        self._vae = vae.eval()
        shape = (1, vae.config.z_dim, 1, 1, 1)
        self._mean = torch.tensor(vae.config.latents_mean).view(shape)
        self._std = torch.tensor(vae.config.latents_std).view(shape)

    @staticmethod
    def load(folder: Path, device: torch.device, dtype: torch.dtype = torch.float32) -> WanVAE:
        """From a diffusers folder with `vae`. Raises MissingFileError."""
        if not (folder / "vae").is_dir():
            raise MissingFileError(folder / "vae", "the autoencoder of Wan 2.1 in diffusers' layout")
        vae = AutoencoderKLWan.from_pretrained(folder / "vae", torch_dtype=dtype, local_files_only=True)
        return WanVAE(vae.to(device))

    def stream(self) -> DecodeNext:
        features: list[Tensor | None] = [None] * self._vae._cached_conv_counts["decoder"]
        is_first = True

        @torch.inference_mode()
        def decode_next(latents_FCHW: Tensor) -> Pixels:
            nonlocal is_first
            latents = latents_FCHW.to(self._vae.device, self._vae.dtype).transpose(0, 1).unsqueeze(0)
            latents = latents * self._std.to(latents) + self._mean.to(latents)
            pieces = []
            for frame in self._vae.post_quant_conv(latents).split(1, dim=2):
                # The decoder counts its convolutions in feat_idx, to find each one's features of the past.
                pieces.append(
                    self._vae.decoder(frame, feat_cache=features, feat_idx=[0], first_chunk=is_first)
                )
                is_first = False
            return to_pixels(torch.cat(pieces, dim=2)[0])

        return decode_next


def to_pixels(video_CnHW: Tensor) -> Pixels:
    """[3, n, H, W] in [-1, 1] -> uint8 [n, H, W, 3]; truncates as the reference's writer does."""
    unit = video_CnHW.float().clamp(-1, 1) * 0.5 + 0.5
    return (unit * 255).to(torch.uint8).permute(1, 2, 3, 0).contiguous().cpu().numpy()
