"""Latents as bytes and back: torch meets numpy here and nowhere else on the way to the memory."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from memory_service.types import Buffer, VideoSpec

DTYPE_NAMES = {torch.bfloat16: "bfloat16", torch.float16: "float16", torch.float32: "float32"}


def payloads(latents_FCHW: Tensor, spec: VideoSpec) -> list[bytes]:
    """One latent frame each, in the video's dtype, little-endian, [C, H, W] row by row."""
    if tuple(latents_FCHW.shape[1:]) != tuple(spec.latent_shape):
        raise ValueError(f"latents must be [F, {spec.latent_shape}], got {tuple(latents_FCHW.shape)}")
    rows = latents_FCHW.detach().to("cpu", _dtype(spec)).flatten(1).contiguous()
    return [row.view(torch.uint8).numpy().tobytes() for row in rows]


def latents_of(frames: Sequence[Buffer], spec: VideoSpec) -> Tensor:
    """The inverse of `payloads`: latents [F, C, H, W] in the video's dtype."""
    rows = [
        torch.frombuffer(bytearray(data), dtype=_dtype(spec)).reshape(spec.latent_shape) for data in frames
    ]
    return torch.stack(rows)


def _dtype(spec: VideoSpec) -> torch.dtype:
    return next(dtype for dtype, name in DTYPE_NAMES.items() if name == spec.latent_dtype)
