"""Clips: drawn by seed and epoch, split by video, and the latents that the corpus has there."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch

from encoder.corpus import Corpus, write_video
from encoder.training.clips import ClipReader, loader, noisy, split, training_batches, validation_batches
from encoder.training.config import TrainingConfig, TrainingError

CONFIG = TrainingConfig(clip_frames=4, batch_clips=3, clips_per_video=5, validation_share=0.3)
FRAMES = (4, 9, 30, 7, 12, 5, 8)
EVERYTHING, NOTHING = 2**30, 0


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """Videos of several lengths whose every value tells its video and frame."""
    for number, frames in enumerate(FRAMES):
        latents = torch.arange(frames).float()[:, None, None, None] + 100 * number
        write_video(tmp_path / f"{number}.safetensors", latents.expand(-1, 2, 3, 1).half(), {})
    return Corpus.open(tmp_path)


def test_videos_are_split_whole_and_by_seed(corpus: Corpus) -> None:
    training, held_out = split(corpus.videos, CONFIG)
    assert sorted(training + held_out) == list(range(len(FRAMES)))
    assert len(held_out) == 2
    assert split(corpus.videos, CONFIG) == (training, held_out)
    others = [split(corpus.videos, TrainingConfig(clip_frames=4, seed=seed))[1] for seed in range(20)]
    assert len({tuple(numbers) for numbers in others}) > 3


def test_an_epoch_takes_its_clips_of_each_video(corpus: Corpus) -> None:
    training, _ = split(corpus.videos, CONFIG)
    batches = training_batches(corpus.videos, training, CONFIG, 0)
    assert [len(batch) for batch in batches] == [3] * (len(training) * 5 // 3)
    clips = [clip for batch in batches for clip in batch]
    assert {number for number, _ in clips} <= set(training)
    assert max(Counter(number for number, _ in clips).values()) <= 5
    assert clips != sorted(clips)
    for number, start in clips:
        assert 0 <= start <= FRAMES[number] - 4


def test_every_frame_comes_up_in_some_epoch(corpus: Corpus) -> None:
    drawn = [
        clip for epoch in range(60) for batch in training_batches(corpus.videos, [2, 4], CONFIG, epoch)
        for clip in batch
    ]  # fmt: skip
    assert {start for number, start in drawn if number == 2} == set(range(27))
    assert {start for number, start in drawn if number == 4} == set(range(9))


def test_epochs_differ_and_each_comes_again(corpus: Corpus) -> None:
    epochs = [training_batches(corpus.videos, [1, 2, 3], CONFIG, epoch) for epoch in (0, 1, 0)]
    assert epochs[0] == epochs[2] != epochs[1]
    other = TrainingConfig(clip_frames=4, batch_clips=3, clips_per_video=5, seed=1)
    assert training_batches(corpus.videos, [1, 2, 3], other, 0) != epochs[0]


def test_validation_is_spread_over_each_video(corpus: Corpus) -> None:
    clips = [clip for batch in validation_batches(corpus.videos, [0, 2], CONFIG) for clip in batch]
    assert clips == [(0, 0), (2, 4), (2, 9), (2, 13), (2, 17), (2, 22)]


@pytest.mark.parametrize(("memory_bytes", "workers"), [(EVERYTHING, 0), (NOTHING, 0), (NOTHING, 2)])
def test_latents_are_those_of_the_corpus(corpus: Corpus, memory_bytes: int, workers: int) -> None:
    reader = ClipReader(corpus, 4, memory_bytes)
    assert reader.in_memory == (memory_bytes > 0)
    batches = [[(2, 0), (6, 4)], [(0, 0), (1, 3), (2, 26)]]
    read = list(loader(reader, batches, workers=workers, pinned=False))
    assert [tuple(batch.shape) for batch in read] == [(2, 4, 2, 3, 1), (3, 4, 2, 3, 1)]
    for batch, clips in zip(read, batches, strict=True):
        assert batch.dtype == torch.float32
        for latents, (number, start) in zip(batch, clips, strict=True):
            expected = torch.arange(start, start + 4) + 100.0 * number
            assert torch.equal(latents, expected[:, None, None, None].expand(4, 2, 3, 1))


def test_too_little_is_refused_by_name(corpus: Corpus) -> None:
    with pytest.raises(TrainingError, match=r"clip_frames is 5, but .*0\.safetensors has 4 frames"):
        split(corpus.videos, TrainingConfig(clip_frames=5))
    with pytest.raises(TrainingError, match="validation_share: 1 videos"):
        split(corpus.videos[:1], CONFIG)
    with pytest.raises(TrainingError, match="batch_clips is 128, but an epoch has 3 clips"):
        training_batches(corpus.videos, [1, 2, 3], TrainingConfig(clip_frames=4), 0)


def test_noise_has_a_level_for_each_frame_and_a_place() -> None:
    config = TrainingConfig(noise=0.5)
    clips = torch.zeros(20, 8, 16, 8, 8)
    first = noisy(clips, config, 3, 1, 0)
    assert torch.equal(first, noisy(clips, config, 3, 1, 0))
    for place in ((4, 1, 0), (3, 2, 0), (3, 1, 1)):
        assert not torch.equal(first, noisy(clips, config, *place))
    levels = first.flatten(2).std(-1)
    assert levels.max() < 0.55
    assert levels.min() < 0.05
    assert levels.mean() == pytest.approx(0.25, abs=0.05)
    assert noisy(clips, TrainingConfig(), 3, 1, 0) is clips
