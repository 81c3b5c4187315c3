"""The retrieval autoencoder of LongLive-RAG: one latent frame in, one unit vector out.

Strided convolutions with residual blocks, average pooling and a linear layer; the decoder exists for
training. Module names equal those of the published checkpoint, so that it loads strictly. Shapes: F frames, C
latent channels, H x W latent rows and columns, D embedding dimension.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GROUP_COUNTS = (32, 16, 8, 4, 1)


class Encoder(Protocol):
    """What turns latent frames into embeddings."""

    @property
    def embedding_dim(self) -> int: ...

    @property
    def encoder_id(self) -> str:
        """Names the kind and the exact weights: embeddings of two ids must never be compared."""

    def encode(self, latents_FCHW: Tensor) -> Tensor:
        """Embeddings [F, D], float32, unit norm."""


@dataclass(frozen=True, kw_only=True)
class LatentAEConfig:
    """Dimensions of the autoencoder. Defaults: the published one, for Wan 2.1 at 480 x 832 pixels."""

    in_channels: int = 16
    height: int = 60
    width: int = 104

    embedding_dim: int = 1024

    hidden_dims: tuple[int, ...] = (64, 128, 256)
    """Channels of each stage; every stage halves rows and columns, rounding up."""

    keep_rows: bool = False
    """Pool over columns alone, so that above and below are told apart; the published one pools over both."""

    def __post_init__(self) -> None:
        if not self.hidden_dims or min(self.in_channels, self.height, self.width, self.embedding_dim) < 1:
            raise ValueError(f"every dimension must be at least 1 and hidden_dims not empty, got {self}")

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """[C, H, W] of the frames that it reads."""
        return self.in_channels, self.height, self.width

    @property
    def feature_shape(self) -> tuple[int, int, int]:
        """Channels, rows and columns after the last stage."""
        height, width = self.height, self.width
        for _ in self.hidden_dims:
            height, width = (height + 1) // 2, (width + 1) // 2
        return self.hidden_dims[-1], height, width


class LatentAE(nn.Module):
    """Autoencoder of single latent frames; its embedding is what retrieval compares."""

    def __init__(self, config: LatentAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = ConvEncoder(config)
        self.decoder = ConvDecoder(config)
        self.apply(_initialise)
        # Residual branches start as zero: a fresh block is the identity.
        for module in self.modules():
            if isinstance(module, ResBlock):
                nn.init.zeros_(module.block[-1].weight)

    @property
    def embedding_dim(self) -> int:
        return self.config.embedding_dim

    @property
    def encoder_id(self) -> str:
        """Kind and hash of the encoder's weights; the decoder has no part in an embedding."""
        return f"latent-ae/sha256:{weights_digest(self.encoder)[:16]}"

    def forward(self, latents_FCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return (reconstruction [F, C, H, W], embedding [F, D], not normalised)."""
        embedding_FD = self.encoder(latents_FCHW)
        return self.decoder(embedding_FD), embedding_FD

    @torch.inference_mode()
    def encode(self, latents_FCHW: Tensor) -> Tensor:
        """Embeddings [F, D], float32, unit norm."""
        if latents_FCHW.shape[1:] != self.config.latent_shape:
            expected = ", ".join(map(str, self.config.latent_shape))
            raise ValueError(f"latents must be [F, {expected}], got {tuple(latents_FCHW.shape)}")
        weight = self.encoder.fc.weight
        embedding_FD = self.encoder(latents_FCHW.to(weight.device, weight.dtype))
        return F.normalize(embedding_FD.float(), dim=-1)


class ResBlock(nn.Module):
    """x + two times (group norm, SiLU, convolution)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            _norm(channels),
            nn.SiLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
            _norm(channels),
            nn.SiLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


class ConvEncoder(nn.Module):
    """[F, C, H, W] -> [F, D], not normalised."""

    def __init__(self, config: LatentAEConfig) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        channels = config.in_channels
        for hidden in config.hidden_dims:
            down = nn.Conv2d(channels, hidden, 3, stride=2, padding=1)
            stages += [down, _norm(hidden), nn.SiLU(inplace=True), ResBlock(hidden)]
            channels = hidden
        self.conv_stack = nn.Sequential(*stages)
        self.final_norm = nn.Sequential(_norm(channels), nn.SiLU(inplace=True))
        _, height, _ = config.feature_shape
        self.pooled, rows = ((-1,), height) if config.keep_rows else ((-2, -1), 1)
        self.fc = nn.Linear(channels * rows, config.embedding_dim)

    def forward(self, latents_FCHW: Tensor) -> Tensor:
        features = self.final_norm(self.conv_stack(latents_FCHW))
        return self.fc(features.mean(dim=self.pooled).flatten(1))


class ConvDecoder(nn.Module):
    """[F, D] -> [F, C, H, W]; doubles rows and columns per stage and crops to the latent's size."""

    def __init__(self, config: LatentAEConfig) -> None:
        super().__init__()
        self.config = config
        self.fc = nn.Sequential(
            nn.Linear(config.embedding_dim, prod(config.feature_shape)), nn.SiLU(inplace=True)
        )
        dims = tuple(reversed(config.hidden_dims))
        stages: list[nn.Module] = []
        for channels, hidden in pairwise(dims):
            up = nn.Conv2d(channels, hidden, 3, padding=1)
            stages += [_double(), up, _norm(hidden), nn.SiLU(inplace=True), ResBlock(hidden)]
        self.upsample_stack = nn.Sequential(*stages)
        self.final = nn.Sequential(_double(), nn.Conv2d(dims[-1], config.in_channels, 3, padding=1))

    def forward(self, embedding_FD: Tensor) -> Tensor:
        features = self.fc(embedding_FD).unflatten(-1, self.config.feature_shape)
        latents = self.final(self.upsample_stack(features))
        return latents[..., : self.config.height, : self.config.width]


def weights_digest(module: nn.Module) -> str:
    """SHA-256 over names and float32 values of a module's weights, in hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def _norm(channels: int) -> nn.GroupNorm:
    groups = next(count for count in GROUP_COUNTS if channels % count == 0)
    return nn.GroupNorm(groups, channels)


def _double() -> nn.Upsample:
    return nn.Upsample(scale_factor=2, mode="nearest")


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_normal_(module.weight)
        nn.init.zeros_(module.bias)
