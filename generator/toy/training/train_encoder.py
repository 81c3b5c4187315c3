"""Train the toy's retrieval autoencoder: reconstruction, and frames near in time near in embedding.

Reconstruction alone tells scenes apart but finds views of one scene no better than average pooling
does; what is asked for here is the same place, so the order of frames in time is the second teacher.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from encoder import checkpoint
from encoder.model import LatentAE, LatentAEConfig
from generator.toy.codec import ToyCodec
from generator.toy.prompts import Scene
from generator.toy.world import VIEW_CELLS, paint

CONFIG = LatentAEConfig(
    in_channels=16, height=VIEW_CELLS, width=VIEW_CELLS, embedding_dim=512, hidden_dims=(64,)
)
"""One stage only: average pooling then sees a 4 x 4 map, which makes embeddings change slowly while
the camera moves; deeper ones jump with every cell."""

VIDEOS, VIDEO_FRAMES = 400, 40
"""Training videos: the camera pans over a new world by one cell a frame."""
VIDEOS_PER_STEP = 4
MAX_NOISE = 0.3
"""Largest standard deviation of the noise added to inputs: generated latents are not clean."""
NEIGHBOUR_WEIGHT = 0.1
TEMPERATURE, REACH_FRAMES = 0.1, 2.0
"""Sharpness of the comparison, and how far in time frames count as neighbours."""


def train_encoder(codec: ToyCodec, path: Path, seconds: float = 240, seed: int = 0) -> float:
    """Train for about `seconds`, save to `path`; return the neighbour loss on unseen videos."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 1)
    videos, unseen = sample_pans(codec, VIDEOS, rng), sample_pans(codec, 16, rng)
    model = LatentAE(CONFIG)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01)
    start = time.monotonic()
    while (progress := (time.monotonic() - start) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, 50 * progress) * max(0.02, 1 - progress)
        clean = videos[torch.from_numpy(rng.integers(0, len(videos), VIDEOS_PER_STEP))].flatten(0, 1)
        noise = MAX_NOISE * torch.rand(len(clean), 1, 1, 1) * torch.randn_like(clean)
        with torch.autocast("cpu", torch.bfloat16):
            reconstruction, embeddings = model(clean + noise)
        nearness = neighbour_loss(embeddings.float().unflatten(0, (VIDEOS_PER_STEP, -1)))
        loss = F.mse_loss(reconstruction.float(), clean) + NEIGHBOUR_WEIGHT * nearness
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint.save(model.to(torch.bfloat16), path)
    trained = checkpoint.load(path)
    return float(neighbour_loss(torch.stack([trained.encode(video) for video in unseen])))


def sample_pans(codec: ToyCodec, count: int, rng: np.random.Generator) -> Tensor:
    """Latents [count, VIDEO_FRAMES, 16, 8, 8] of pans over random worlds."""
    videos = []
    for _ in range(count):
        panorama = paint(Scene.sample(rng), VIDEO_FRAMES + VIEW_CELLS, rng)
        views = [panorama.view(cell, cell % 2) for cell in range(VIDEO_FRAMES)]
        videos.append(codec.encode(np.stack(views)))
    return torch.stack(videos)


def neighbour_loss(embeddings_VFD: Tensor) -> Tensor:
    """Cross-entropy of each frame's cosines to its video's other frames against nearness in time."""
    unit = F.normalize(embeddings_VFD, dim=-1)
    frames = unit.shape[1]
    itself = torch.eye(frames, dtype=torch.bool)
    scores = (unit @ unit.transpose(1, 2) / TEMPERATURE).masked_fill(itself, -1e4)
    apart = (torch.arange(frames)[:, None] - torch.arange(frames)[None]).abs()
    nearness = torch.exp(-((apart / REACH_FRAMES) ** 2)).masked_fill(itself, 0.0)
    nearness = nearness / nearness.sum(-1, keepdim=True)
    return -(nearness * scores.log_softmax(-1)).sum(-1).mean()
