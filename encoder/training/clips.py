"""Clips of a corpus: which, in what order, and their latents.

What is drawn is a pure function of seed and epoch, so that a training that goes on sees what it would have
seen. Shapes: N clips, S frames each; C, H, W of one latent frame.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from encoder.corpus import Corpus, CorpusVideo
from encoder.training.config import TrainingConfig, TrainingError

Clip = tuple[int, int]
"""Number of the video, first frame."""

SPLIT, ORDER, NOISE = 0, 1, 2
"""Streams of random numbers of one seed."""


def split(videos: Sequence[CorpusVideo], config: TrainingConfig) -> tuple[list[int], list[int]]:
    """Numbers of the videos to train on and of those held out, both ascending.

    Raises TrainingError where there are too few videos, or one is shorter than a clip.
    """
    short = next((video for video in videos if video.num_frames < config.clip_frames), None)
    if short is not None:
        raise TrainingError(
            f"clip_frames is {config.clip_frames}, but {short.path} has {short.num_frames} frames"
        )
    held_out = max(1, int(len(videos) * config.validation_share))
    if held_out >= len(videos):
        raise TrainingError(
            f"validation_share: {len(videos)} videos cannot be split; expected at least 2 in the corpus"
        )
    order = np.random.default_rng([config.seed, SPLIT]).permutation(len(videos)).tolist()
    return sorted(order[held_out:]), sorted(order[:held_out])


def training_batches(
    videos: Sequence[CorpusVideo], numbers: Sequence[int], config: TrainingConfig, epoch: int
) -> list[list[Clip]]:
    """The batches of one epoch: `clips_per_video` of each video, shuffled.

    A last incomplete batch is left out. Raises TrainingError where that leaves none.
    """
    rng = np.random.default_rng([config.seed, ORDER, epoch])
    order = rng.permutation(np.repeat(np.asarray(numbers), config.clips_per_video))
    ends = np.array([videos[number].num_frames - config.clip_frames + 1 for number in order])
    clips = list(zip(order.tolist(), rng.integers(0, ends).tolist(), strict=True))
    size = config.batch_clips
    if len(clips) < size:
        raise TrainingError(
            f"batch_clips is {size}, but an epoch has {len(clips)} clips; lower it or raise clips_per_video"
        )
    return [clips[start : start + size] for start in range(0, len(clips) - size + 1, size)]


def validation_batches(
    videos: Sequence[CorpusVideo], numbers: Sequence[int], config: TrainingConfig
) -> list[list[Clip]]:
    """The same clips for every epoch: up to `clips_per_video` of each video, evenly spread over it."""
    clips: list[Clip] = []
    for number in numbers:
        last = videos[number].num_frames - config.clip_frames
        starts = np.linspace(0, last, config.clips_per_video + 2)[1:-1].round().astype(int)
        clips += [(number, int(start)) for start in np.unique(starts)]
    size = config.batch_clips
    return [clips[start : start + size] for start in range(0, len(clips), size)]


class ClipReader(Dataset[Tensor]):
    """Latents of clips: from memory where the whole corpus is held there, else by slice from its files."""

    def __init__(self, corpus: Corpus, clip_frames: int, memory_bytes: int) -> None:
        self._videos, self._clip_frames = corpus.videos, clip_frames
        self._starts = np.cumsum([0, *(video.num_frames for video in corpus.videos)])
        fits = sum(video.num_bytes for video in corpus.videos) <= memory_bytes
        self._held = self._read(corpus.latent_shape) if fits else None

    @property
    def in_memory(self) -> bool:
        return self._held is not None

    def _read(self, latent_shape: tuple[int, int, int]) -> Tensor:
        dtype = functools.reduce(torch.promote_types, (video.dtype for video in self._videos))
        held = torch.empty(int(self._starts[-1]), *latent_shape, dtype=dtype)
        for video, start in zip(self._videos, self._starts, strict=False):
            held[start : start + video.num_frames] = video.latents()
        return held

    def __getitems__(self, clips: Sequence[Clip]) -> Tensor:
        """float32 [N, S, C, H, W]. Raises CorpusError."""
        span = self._clip_frames
        if self._held is None:
            slices = [self._videos[number].latents(start, start + span) for number, start in clips]
            return torch.stack(slices).float()
        firsts = torch.tensor([self._starts[number] + start for number, start in clips])
        return self._held[firsts[:, None] + torch.arange(span)].float()


def loader(
    reader: ClipReader, batches: Sequence[Sequence[Clip]], *, workers: int, pinned: bool
) -> DataLoader[Any]:
    """The latents of each batch in turn; `workers` processes read files ahead."""
    return DataLoader(
        reader,
        batch_sampler=batches,
        collate_fn=_as_it_is,
        num_workers=0 if reader.in_memory else workers,
        pin_memory=pinned,
    )


def noisy(clips_NSCHW: Tensor, config: TrainingConfig, *place: int) -> Tensor:
    """Clips with noise of a level of each frame's own; `place` is where in the training they are."""
    if not config.noise:
        return clips_NSCHW
    seed = int(np.random.SeedSequence([config.seed, NOISE, *place]).generate_state(1)[0])
    generator = torch.Generator(clips_NSCHW.device).manual_seed(seed)
    options = {"generator": generator, "device": clips_NSCHW.device}
    levels = config.noise * torch.rand(*clips_NSCHW.shape[:2], 1, 1, 1, **options)
    return clips_NSCHW + levels * torch.randn(clips_NSCHW.shape, **options)


def _as_it_is(batch: Tensor) -> Tensor:
    return batch
