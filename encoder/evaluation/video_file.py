"""A video file read as frames to embed: pixels in the place of latents, where nothing else is there.

One frame for each latent frame of a video autoencoder of 4 x 8 x 8 (Wan 2.1): every fourth pixel frame, at an
eighth of its rows and columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from encoder.corpus import CorpusError
from encoder.latent_file import Shape

SUFFIXES = frozenset([".mp4", ".mkv", ".mov", ".webm"])
FRAME_STRIDE, SIDE_STRIDE = 4, 8


@dataclass(frozen=True, kw_only=True)
class PixelVideo:
    """A video file, as far as evaluation reads a CorpusVideo; nobody knows its places."""

    name: str
    frames: Tensor
    """Float32 [T, 3, H / 8, W / 8] in -1..1."""

    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def latent_shape(self) -> Shape:
        _, channels, height, width = self.frames.shape
        return channels, height, width

    def latents(self) -> Tensor:
        return self.frames

    def places(self) -> None:
        return None


def read(path: Path) -> PixelVideo:
    """Raises CorpusError where the file holds no video, or the package av is missing."""
    try:
        import av
    except ImportError as error:
        raise CorpusError(f"{path}: reading a video file needs the package av") from error
    try:
        with av.open(str(path)) as file:
            frames = [
                _small(frame)
                for number, frame in enumerate(file.decode(video=0))
                if number % FRAME_STRIDE == 0
            ]
    except (OSError, IndexError, ValueError) as error:
        raise CorpusError(f"{path} cannot be read as a video: {error}") from error
    if not frames:
        raise CorpusError(f"{path} holds no frame")
    pixels_TCHW = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 127.5 - 1
    return PixelVideo(name=path.name, frames=pixels_TCHW.contiguous())


def _small(frame: object) -> np.ndarray:
    """A frame of av as uint8 [H / 8, W / 8, 3]; every pixel is the mean of those it stands for."""
    small = frame.reformat(
        width=max(1, frame.width // SIDE_STRIDE),
        height=max(1, frame.height // SIDE_STRIDE),
        format="rgb24",
        interpolation="AREA",
    )
    return small.to_ndarray()
