"""The toy's fixed latent codec: linear 8 x 8 patches in, a small convolutional decoder out.

Latents are [F, 16, 8, 8]: principal components of the world's patches, scaled to about unit
variance. The encoder sees one patch at a time, so a camera step shifts latents exactly. The
decoder is trained on noisy latents, so that errors of a generator come out as plausible pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

PATCH = 8
CHANNELS = 16
WIDTH = 96
WHITENING = 0.35
"""Exponent of the eigenvalues that is divided out: 0.5 whitens fully, 0 keeps pixel scale."""


class ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(width, width, 3, padding=1)
        self.project = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.project(F.silu(self.expand(F.silu(x))))


class ToyCodec(nn.Module):
    """Encode and decode 64 x 64 frames; one latent frame is one pixel frame at 4 fps."""

    pixel_frames_per_latent = 1
    fps = 4

    def __init__(self) -> None:
        super().__init__()
        patch_dim = 3 * PATCH * PATCH
        self.register_buffer("mean", torch.zeros(patch_dim))
        self.register_buffer("analysis", torch.zeros(CHANNELS, patch_dim))
        self.decoder = nn.Sequential(
            nn.Conv2d(CHANNELS, WIDTH, 3, padding=1),
            ResidualBlock(WIDTH),
            ResidualBlock(WIDTH),
            nn.SiLU(),
            nn.Conv2d(WIDTH, patch_dim, 1),
            nn.PixelShuffle(PATCH),
        )

    @staticmethod
    def load(path: Path) -> ToyCodec:
        codec = ToyCodec()
        codec.load_state_dict({name: value.float() for name, value in load_file(path).items()})
        return codec.eval()

    def save(self, path: Path) -> None:
        """Write bf16 decoder weights; the linear encoder stays float32, as latents depend on it."""
        state = self.state_dict()
        linear = ("mean", "analysis")
        save_file({k: v.contiguous() if k in linear else v.bfloat16() for k, v in state.items()}, path)

    def fit_encoder(self, frames: np.ndarray) -> None:
        """Set the linear encoder to scaled principal components of uint8 frames [F, 64, 64, 3]."""
        patches = _patches(_to_float(frames)).flatten(0, 2).double()
        mean = patches.mean(0)
        covariance = torch.cov((patches - mean).T)
        variances, axes = torch.linalg.eigh(covariance)
        variances, axes = variances.flip(0)[:CHANNELS], axes.flip(1)[:, :CHANNELS]
        scale = variances.pow(-WHITENING)
        scale = scale / (variances * scale**2).mean().sqrt()
        self.mean.copy_(mean.float())
        self.analysis.copy_((axes * scale).T.float())

    @torch.no_grad()
    def encode(self, frames: np.ndarray) -> Tensor:
        """uint8 frames [F, H, W, 3] -> latents [F, 16, H / 8, W / 8] float32."""
        patches = _patches(_to_float(frames))
        return ((patches - self.mean) @ self.analysis.T).permute(0, 3, 1, 2).contiguous()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> np.ndarray:
        """Latents [F, 16, H, W] -> uint8 frames [F, 8 H, 8 W, 3]."""
        pixels = torch.cat([self.decoder(part) for part in latents.float().split(64)])
        pixels = (pixels.clamp(-1, 1) + 1) * 127.5
        return pixels.round().byte().permute(0, 2, 3, 1).contiguous().numpy()


def _to_float(frames: np.ndarray) -> Tensor:
    """uint8 [F, H, W, 3] -> float32 [F, 3, H, W] in -1..1."""
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _patches(pixels: Tensor) -> Tensor:
    """[F, 3, H, W] -> [F, H / 8, W / 8, 192], channel order of PixelShuffle."""
    return F.pixel_unshuffle(pixels, PATCH).permute(0, 2, 3, 1)
