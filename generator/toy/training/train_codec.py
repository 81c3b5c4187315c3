"""Fit the toy codec: principal components, then a decoder that tolerates noisy latents."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from generator.toy.codec import ToyCodec
from generator.toy.prompts import Scene
from generator.toy.world import VIEW_CELLS, paint

WORLDS, WORLD_CELLS, VIEWS = 432, 48, 24
MAX_NOISE = 0.5
"""Largest standard deviation of the noise added to latents in training."""


def sample_views(num_worlds: int, rng: np.random.Generator) -> np.ndarray:
    """Random views of random worlds, uint8 [num_worlds * VIEWS, 64, 64, 3]."""
    views = []
    for _ in range(num_worlds):
        panorama = paint(Scene.sample(rng), WORLD_CELLS, rng)
        cells = rng.integers(0, WORLD_CELLS - VIEW_CELLS + 1, VIEWS)
        views += [panorama.view(int(cell), int(cell) % 2) for cell in cells]
    return np.stack(views)


def train_codec(path: Path, seconds: float = 180, seed: int = 0, follow: Path | None = None) -> float:
    """Train for about `seconds`, save to `path`, and return PSNR in dB on unseen worlds.

    Of the codec in the file `follow` only the decoder goes on: latents stay what a transformer knows.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    frames = sample_views(WORLDS, rng)
    if follow:
        codec = ToyCodec.load(follow).train()
    else:
        codec = ToyCodec()
        codec.fit_encoder(frames)
    latents = codec.encode(frames)
    targets = torch.from_numpy(frames).permute(0, 3, 1, 2)
    optimizer = torch.optim.AdamW(codec.decoder.parameters(), lr=2e-3, weight_decay=0.01)
    start = time.monotonic()
    while (progress := (time.monotonic() - start) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, 50 * progress) * max(0.02, 1 - progress)
        rows = torch.from_numpy(rng.integers(0, len(frames), 48))
        noise = MAX_NOISE * torch.rand(48, 1, 1, 1) ** 2 * torch.randn(48, *latents.shape[1:])
        with torch.autocast("cpu", torch.bfloat16):
            decoded = codec.decoder(latents[rows] + noise)
        loss = F.smooth_l1_loss(decoded.float(), targets[rows].float() / 127.5 - 1, beta=0.1)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    codec.save(path)
    return reconstruction_psnr(ToyCodec.load(path), sample_views(24, rng))


def reconstruction_psnr(codec: ToyCodec, frames: np.ndarray, noise: float = 0.0) -> float:
    latents = codec.encode(frames)
    decoded = codec.decode(latents + noise * torch.randn_like(latents))
    error = (decoded.astype(np.float32) - frames) ** 2
    return float(10 * np.log10(255**2 / error.mean()))
