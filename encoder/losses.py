"""Losses of the retrieval autoencoder: reconstruction, and a trajectory that moves but does not jump.

Pure functions of tensors; values and gradients are those of LongLive-RAG's `ae/train.py`. Shapes: B clips of
S consecutive frames of one video, D embedding dimension. Embeddings are not normalised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

SMOOTH_FORMS = ("norm", "squared")
SMOOTH_EPS = 1e-8
"""Under the root of the norm, so that its gradient at rest is zero."""


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights and shape of the losses. Defaults: the published training. Raises ValueError."""

    delta_weight: float = 1.0
    """lambda_Delta; 0 leaves the term out."""

    delta_margin: float = 0.85
    """m: neighbours whose cosine is above it are pushed apart."""

    delta_window: int = 3
    """w: how many frames apart neighbours may be."""

    smooth_weight: float = 1.0
    """lambda_s; 0 leaves the term out."""

    smooth_form: str = "norm"
    """`norm` of the acceleration, as the released code has it, or `squared`, as the paper writes it."""

    def __post_init__(self) -> None:
        if min(self.delta_weight, self.smooth_weight) < 0:
            raise ValueError(f"delta_weight and smooth_weight must not be negative, got {self}")
        if not -1 <= self.delta_margin <= 1:
            raise ValueError(f"delta_margin must be a cosine, -1 to 1, got {self.delta_margin}")
        if self.delta_window < 1:
            raise ValueError(f"delta_window must be at least 1, got {self.delta_window}")
        if self.smooth_form not in SMOOTH_FORMS:
            raise ValueError(f"smooth_form must be one of {SMOOTH_FORMS}, got {self.smooth_form!r}")


class Losses(NamedTuple):
    """The terms of one batch, scalars, their weights applied."""

    recon: Tensor
    delta: Tensor
    smooth: Tensor

    @property
    def total(self) -> Tensor:
        return self.recon + self.delta + self.smooth


def losses(reconstruction: Tensor, latents: Tensor, embeddings_BSD: Tensor, config: LossConfig) -> Losses:
    """All terms: the paper's total loss is the sum of the three."""
    embeddings_BSD = embeddings_BSD.float()
    recon = reconstruction_loss(reconstruction.float(), latents.float())
    delta = smooth = recon.new_zeros(())
    if config.delta_weight:
        delta = config.delta_weight * delta_loss(embeddings_BSD, config.delta_margin, config.delta_window)
    if config.smooth_weight:
        smooth = config.smooth_weight * smooth_loss(embeddings_BSD, config.smooth_form)
    return Losses(recon, delta, smooth)


def reconstruction_loss(reconstruction: Tensor, latents: Tensor) -> Tensor:
    """L_rec: mean squared error over all elements."""
    return F.mse_loss(reconstruction, latents)


def delta_loss(embeddings_BSD: Tensor, margin: float, window: int) -> Tensor:
    """L_SeqDelta: mean over offsets 1..w of the mean of max(0, cos(v_t, v_{t-offset}) - m).

    Of clips shorter than the window, the offsets that exist; 0 for single frames.
    """
    offsets = range(1, min(window, embeddings_BSD.shape[1] - 1) + 1)
    if not offsets:
        return embeddings_BSD.new_zeros(())
    means = [
        F.relu(
            F.cosine_similarity(embeddings_BSD[:, offset:], embeddings_BSD[:, :-offset], dim=-1) - margin
        ).mean()
        for offset in offsets
    ]
    return torch.stack(means).mean()


def smooth_loss(embeddings_BSD: Tensor, form: str = "norm") -> Tensor:
    """L_Smooth: mean length (`norm`) or squared length (`squared`) of v_t - 2 v_{t-1} + v_{t-2}.

    0 for clips of fewer than three frames.
    """
    if embeddings_BSD.shape[1] < 3:
        return embeddings_BSD.new_zeros(())
    acceleration = embeddings_BSD[:, 2:] - 2 * embeddings_BSD[:, 1:-1] + embeddings_BSD[:, :-2]
    squared = acceleration.pow(2).sum(-1)
    return squared.mean() if form == "squared" else (squared + SMOOTH_EPS).sqrt().mean()
