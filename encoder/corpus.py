"""Latents to train and judge an encoder on: one file per video, in one folder or several.

Shapes: T latent frames of a video; C, H, W of one frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from encoder.latent_file import CorpusError, Shape, opened, write_video

__all__ = ["Corpus", "CorpusError", "CorpusVideo", "describe", "write_video"]

OURS, REFERENCE = "*.safetensors", "latent_*.pt"
"""Names of files that are read."""

SUFFIXES = (".latents.safetensors", ".safetensors", ".pt")
"""What a video's file has after its name."""


@dataclass(frozen=True, kw_only=True)
class CorpusVideo:
    """One video: what its file says, and its latents when they are asked for."""

    name: str
    path: Path
    num_frames: int
    latent_shape: Shape
    dtype: torch.dtype
    metadata: Mapping[str, str]
    has_places: bool

    @property
    def num_bytes(self) -> int:
        """Of all latents."""
        channels, height, width = self.latent_shape
        return self.num_frames * channels * height * width * self.dtype.itemsize

    def latents(self, start: int = 0, stop: int | None = None) -> Tensor:
        """Frames [start, stop) as [T, C, H, W] in the stored dtype; nothing else is read.

        Raises CorpusError where the file is no longer what it was, or has values that are not finite.
        """
        stop = self.num_frames if stop is None else stop
        if not 0 <= start < stop <= self.num_frames:
            raise IndexError(f"{self.name} has frames [0, {self.num_frames}), got [{start}, {stop})")
        with opened(self.path) as stored:
            if (stored.num_frames, stored.latent_shape) != (self.num_frames, self.latent_shape):
                raise CorpusError(f"{self.path} has changed since the corpus was opened")
            latents = stored.read(start, stop)
        if not latents.isfinite().all():
            raise CorpusError(f"{self.path}: frames [{start}, {stop}) have values that are not finite")
        return latents

    def places(self) -> Tensor | None:
        """int64 [T]: where the camera stood in each frame, in cells; None where nobody knows.

        Two frames show the same place if theirs differ by less than the view's width, metadata "view_cells".
        """
        if not self.has_places:
            return None
        with opened(self.path) as stored:
            return stored.places()


@dataclass(frozen=True)
class Corpus:
    """Videos of one latent shape, by name."""

    videos: tuple[CorpusVideo, ...]

    @property
    def latent_shape(self) -> Shape:
        """[C, H, W] of every frame."""
        return self.videos[0].latent_shape

    @property
    def num_frames(self) -> int:
        """Of all videos."""
        return sum(video.num_frames for video in self.videos)

    @staticmethod
    def open(places: Path | str | Sequence[Path | str]) -> Corpus:
        """The videos of a folder or file, or of several. Only headers are read.

        Raises CorpusError where there are none, one cannot be read, two have one name, or shapes differ.
        """
        roots = [places] if isinstance(places, Path | str) else list(places)
        videos = sorted((describe(path) for root in roots for path in _files(Path(root))), key=_name)
        if not videos:
            raise CorpusError("expected at least one folder of latents, got none")
        first = videos[0]
        for before, video in pairwise(videos):
            if video.name == before.name:
                raise CorpusError(f"{before.path} and {video.path} are both named {video.name!r}")
            if video.latent_shape != first.latent_shape:
                raise CorpusError(
                    f"{video.path} has frames of {list(video.latent_shape)}, {first.path} of "
                    f"{list(first.latent_shape)}; expected one shape in a corpus"
                )
        return Corpus(tuple(videos))


def describe(path: Path) -> CorpusVideo:
    """What one file says of its video. Raises CorpusError."""
    with opened(path) as stored:
        return CorpusVideo(
            name=_stem(path),
            path=path,
            num_frames=stored.num_frames,
            latent_shape=stored.latent_shape,
            dtype=stored.dtype,
            metadata=stored.metadata,
            has_places=stored.places() is not None,
        )


def _files(root: Path) -> list[Path]:
    if root.is_file():
        return [root]
    found = [path for pattern in (OURS, REFERENCE) for path in root.glob(pattern)]
    if not found:
        raise CorpusError(f"{root} has no latents; expected a folder with {OURS} or {REFERENCE}")
    return found


def _stem(path: Path) -> str:
    suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), "")
    return path.name.removesuffix(suffix)


def _name(video: CorpusVideo) -> str:
    return video.name
