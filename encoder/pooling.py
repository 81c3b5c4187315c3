"""Embeddings that need no training: averages of a latent frame, normalised.

Shapes: F frames, C latent channels, H x W latent rows and columns.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from encoder.untrained import AVG_POOL, ROW_POOL, UNTRAINED


class AvgPool:
    """Mean of each latent channel."""

    def __init__(self, channels: int) -> None:
        self.embedding_dim = channels
        self.encoder_id = f"avg-pool/{channels}"

    def encode(self, latents_FCHW: Tensor) -> Tensor:
        """Embeddings [F, C], float32, unit norm. Raises ValueError for another number of channels."""
        if latents_FCHW.ndim != 4 or latents_FCHW.shape[1] != self.embedding_dim:
            raise ValueError(
                f"latents must be [F, {self.embedding_dim}, H, W], got {tuple(latents_FCHW.shape)}"
            )
        return F.normalize(latents_FCHW.float().mean(dim=(-2, -1)), dim=-1)


class RowPool:
    """Mean over the columns of each row and channel: a view's profile from top to bottom.

    A pan changes it as slowly as an average over the whole frame, and it tells more places apart.
    """

    def __init__(self, channels: int, height: int) -> None:
        self.channels, self.height = channels, height
        self.embedding_dim = channels * height
        self.encoder_id = f"row-pool/{channels}x{height}"

    def encode(self, latents_FCHW: Tensor) -> Tensor:
        """Embeddings [F, C * H], float32, unit norm. Raises ValueError for other channels or rows."""
        if latents_FCHW.ndim != 4 or latents_FCHW.shape[1:3] != (self.channels, self.height):
            raise ValueError(
                f"latents must be [F, {self.channels}, {self.height}, W], got {tuple(latents_FCHW.shape)}"
            )
        return F.normalize(latents_FCHW.float().mean(dim=-1).flatten(1), dim=-1)


def pool_named(name: str, latent_shape: tuple[int, int, int]) -> AvgPool | RowPool:
    """One of UNTRAINED, for latents [C, H, W]. Raises ValueError."""
    channels, height, _ = latent_shape
    if name == AVG_POOL:
        return AvgPool(channels)
    if name == ROW_POOL:
        return RowPool(channels, height)
    raise ValueError(f"expected one of {', '.join(UNTRAINED)}, got {name!r}")
