"""Train the toy's retrieval autoencoder: reconstruction of single latent frames, nothing else."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from encoder import checkpoint
from encoder.model import LatentAE, LatentAEConfig
from generator.toy.codec import ToyCodec
from generator.toy.train_codec import WORLDS, sample_views
from generator.toy.world import VIEW_CELLS

CONFIG = LatentAEConfig(
    in_channels=16, height=VIEW_CELLS, width=VIEW_CELLS, embedding_dim=512, hidden_dims=(64,)
)
MAX_NOISE = 0.2
"""Largest standard deviation of the noise added to inputs: generated latents are not clean."""


def train_encoder(codec: ToyCodec, path: Path, seconds: float = 240, seed: int = 0) -> float:
    """Train for about `seconds`, save to `path`; return the mean squared error on unseen worlds."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 1)
    latents, unseen = (codec.encode(sample_views(worlds, rng)) for worlds in (WORLDS, 24))
    model = LatentAE(CONFIG)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    start = time.monotonic()
    while (progress := (time.monotonic() - start) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, 50 * progress) * max(0.02, 1 - progress)
        clean = latents[torch.from_numpy(rng.integers(0, len(latents), 96))]
        noise = MAX_NOISE * torch.rand(len(clean), 1, 1, 1) * torch.randn_like(clean)
        with torch.autocast("cpu", torch.bfloat16):
            reconstruction, _ = model(clean + noise)
        loss = F.mse_loss(reconstruction.float(), clean)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(model.to(torch.bfloat16), path)
    with torch.inference_mode():
        return float(F.mse_loss(checkpoint.load(path)(unseen)[0], unseen))
