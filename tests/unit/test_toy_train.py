from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
import torch
from rich.console import Console

from generator.toy.card import elapsed
from generator.toy.clips import MAX_ASTRAY_CELLS, WorldBank, sample_batch, sample_camera
from generator.toy.codec import ToyCodec
from generator.toy.config import WEIGHTS, ModelConfig, TrainConfig, phases
from generator.toy.context import choose_retrieved
from generator.toy.training import train_codec
from generator.toy.training.objective import sample_sigmas
from generator.toy.training.train import Trainer

TINY = {"worlds": 2, "world_cells": 24, "clips": 1, "clip_blocks": 5, "starts": 1, "compile": False}
SECONDS = 1 / 3600


@pytest.fixture(scope="module")
def codec():
    return ToyCodec.load(WEIGHTS / "codec.safetensors")


@pytest.mark.filterwarnings("ignore:Mismatch dtype")
def test_training_runs_through_its_phases_and_resumes(codec, tmp_path):
    configs = [TrainConfig(**TINY, hours=SECONDS, own_context_from=from_start) for from_start in (0.0, 2.0)]
    small = ModelConfig(num_layers=1)
    trainer = Trainer(configs, small, codec)
    trainer.train_phase(tmp_path, Console(quiet=True))
    resumed = Trainer(configs, small, codec)
    assert resumed.resume(tmp_path)
    assert (resumed.phase, resumed.step, resumed.rows) == (1, trainer.step, trainer.rows)
    for name, value in trainer.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    resumed.train_phase(tmp_path, Console(quiet=True))
    assert resumed.progress >= 1
    assert resumed.step > trainer.step
    assert (tmp_path / "transformer" / "config.json").exists()
    assert (tmp_path / "loss.png").exists()
    assert (np.diff(elapsed(resumed.rows)) >= 0).all()


def test_a_codec_that_goes_on_keeps_its_latents(codec, tmp_path, monkeypatch):
    monkeypatch.setattr(train_codec, "WORLDS", 4)
    path = tmp_path / "codec.safetensors"
    train_codec.train_codec(path, seconds=0.5, follow=WEIGHTS / "codec.safetensors")
    trained = ToyCodec.load(path)
    assert torch.equal(trained.analysis, codec.analysis)
    assert torch.equal(trained.mean, codec.mean)
    assert not torch.equal(trained.decoder[0].weight, codec.decoder[0].weight)


@pytest.mark.parametrize("longest", [3, 9])
def test_camera_moves_are_no_longer_than_asked(longest):
    words = sample_camera(4000, longest, np.random.default_rng(0))
    moves = [len(list(move)) for word, move in groupby(words) if word != "hold"]
    assert min(moves) == 1
    assert max(moves) == longest


def test_elapsed_adds_up_the_phases():
    rows = [{"phase": n // 2, "seconds": 10.0 * (n % 2 + 1)} for n in range(6)]
    assert elapsed(rows).tolist() == [10, 20, 30, 40, 50, 60]


def test_phases_share_the_hours_and_end_on_recalling():
    first, *later = phases(seed=3, hours=2.0)
    assert first.seed == 3
    assert sum(phase.hours for phase in (first, *later)) == pytest.approx(2.0)
    assert all(dict(phase.method_shares)["longlive_rag"] == 0.9 for phase in later)


def test_noise_levels_lean_high_and_reach_pure_noise():
    sigmas = sample_sigmas(1000, shift=5.0)
    assert sigmas.min() > 0
    assert sigmas.max() == 1
    assert 0.08 < (sigmas == 1).float().mean() < 0.12
    assert sigmas.median() > 0.8


def test_shares_that_do_not_sum_to_one_are_refused():
    with pytest.raises(ValueError, match="sum to 1"):
        TrainConfig(method_shares=(("longlive_rag", 0.5),))


def test_clips_are_drawn_as_the_configuration_says(codec, monkeypatch):
    asked, moves = [], []

    def retrieved(cells, start, rng, alike, **shares):
        asked.append((cells, alike, shares))
        return choose_retrieved(cells, start, rng, alike, **shares)

    def camera(blocks, longest, rng):
        moves.append(longest)
        return sample_camera(blocks, longest, rng)

    monkeypatch.setattr("generator.toy.clips.choose_retrieved", retrieved)
    monkeypatch.setattr("generator.toy.clips.sample_camera", camera)
    shares = {"alike_share": 0.1, "early_share": 0.2, "same_way_share": 0.3, "guard_share": 0.4}
    config = TrainConfig(**TINY, **shares, longest_moves=(2, 3), method_shares=(("longlive_rag", 1.0),))
    bank, rng = WorldBank(codec, 2, 24, 0), np.random.default_rng(0)
    for _ in range(8):
        sample_batch(bank, config, rng)
    assert set(moves) == {2, 3}
    for cells, alike, told in asked:
        assert told == shares
        frames = np.arange(len(cells))
        same = (cells[:, None] == cells) & ((frames[:, None] - frames) % 2 == 0)
        assert alike[same] == pytest.approx(1, abs=1e-4), "the same view at the same stroke"
    assert np.mean([(alike < 0.99).mean() for _, alike, _ in asked]) > 0.3


def test_blocks_gone_astray_are_attended_and_never_predicted(codec):
    """Versions differ from their blocks in columns that the reader's older frames show right."""
    config = replace(TrainConfig(), clips=4, clip_blocks=16, starts=1, astray_blocks=8, alike_share=0.5)
    bank = WorldBank(codec, 4, 64, 0)
    batch = sample_batch(bank, config, np.random.default_rng(0))
    blocks = 4 * 16 + 2
    assert (len(batch.targets), len(batch.contexts)) == (blocks, blocks + 4 * 8)
    assert torch.equal(batch.contexts[:blocks], batch.targets)
    frames = batch.contexts.transpose(1, 2).flatten(0, 1)
    astray = 3 * blocks
    readers = [block for block in range(blocks) if (batch.frames[block] >= astray).any()]
    assert readers
    assert int(batch.frames.max()) < len(frames)
    changed = 0
    for block in readers:
        local = batch.frames[block][batch.frames[block] >= astray]
        true = 3 * (block - 1) + (local - astray) % 3
        differs = (frames[local] != frames[true]).any(dim=1).any(dim=1)
        changed += bool(differs.any())
        assert int(differs.sum(-1).max()) <= MAX_ASTRAY_CELLS
    assert changed > len(readers) / 4
