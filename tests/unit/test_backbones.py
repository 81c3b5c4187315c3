"""Backbones that are named by their folder, on tiny random models."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel
from original_wan import original_weights
from safetensors.torch import save_file
from tiny_rollouts import TINY
from tiny_wan import save_base

from generator.backbones import Backbone, Setup, toy, wan
from generator.errors import CheckpointError, ConfigError, MissingFileError
from generator.methods import policy_named
from generator.toy.codec import ToyCodec
from generator.toy.config import ModelConfig
from generator.toy.model import build
from generator.weights.checkpoints import diffusers_name


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    return Setup(device="cpu", dtype=torch.float32, height=32, width=48, text_cache=tmp_path / "cache")


@pytest.fixture
def folder(tmp_path: Path, tiny) -> Path:
    folder = save_base(tmp_path / "wan")
    tiny.model().transformer.save_pretrained(folder / "transformer")
    return folder


def loaded(backbone: Backbone) -> dict[str, torch.Tensor]:
    return backbone.model.transformer.state_dict()


def test_the_toy_from_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"codec\.safetensors"):
        toy(tmp_path)
    ToyCodec().save(tmp_path / "codec.safetensors")
    with pytest.raises(MissingFileError, match="transformer"):
        toy(tmp_path)
    build(ModelConfig(num_layers=1), seed=0).save_pretrained(tmp_path / "transformer")
    backbone = toy(tmp_path)
    assert backbone.geometry.latent_shape == (16, 8, 8)
    assert backbone.text.track("a village; pan right 2s, hold 1s", 4).rows == (0, 0, 0, 1)
    assert backbone.decoder.stream()(torch.randn(3, 16, 8, 8)).shape == (3, 64, 64, 3)
    assert backbone.model.dtype == torch.float32


def test_a_whole_backbone_from_a_folder(folder: Path, setup: Setup, tiny) -> None:
    backbone = wan(folder, setup=setup)
    saved = tiny.model().transformer.state_dict()
    assert all(torch.equal(loaded(backbone)[name], saved[name]) for name in saved)
    assert backbone.geometry.latent_shape == (16, 4, 6)
    track = backbone.text.track("a village", 5)
    assert track.embeds.shape == (1, 512, 8)
    assert track.rows == (0,) * 5
    pixels = backbone.decoder.stream()(torch.randn(3, *backbone.geometry.latent_shape))
    assert pixels.shape == (9, 32, 48, 3)
    config = backbone.config(policy_named("longlive_rag"))
    assert (config.window.window_frames, config.window.sink_frames) == (12, 1)
    assert config.sampling.steps == (1000, 750, 500, 250)


def test_pictures_are_480_by_832_unless_told_otherwise(folder: Path, tmp_path: Path) -> None:
    backbone = wan(folder, setup=Setup(device="cpu", dtype=torch.float32, text_cache=tmp_path))
    assert backbone.geometry.latent_shape == (16, 60, 104)
    assert backbone.geometry.tokens_per_frame == 1560


@pytest.mark.parametrize(("side", "pixels"), [("height", 100), ("width", 0), ("width", 24)])
def test_sizes_that_cannot_be_are_refused(folder: Path, side: str, pixels: int) -> None:
    with pytest.raises(ConfigError):
        wan(folder, setup=Setup(device="cpu", dtype=torch.float32, **{side: pixels}))


def test_a_checkpoint_takes_the_place_of_the_folders_transformer(
    folder: Path, tmp_path: Path, setup: Setup
) -> None:
    save_file(original_weights(), tmp_path / "few_step.safetensors")
    for file in (folder / "transformer").glob("*.safetensors"):
        file.unlink()
    backbone = wan(folder, tmp_path / "few_step.safetensors", setup=setup)
    for name, tensor in original_weights().items():
        assert torch.equal(loaded(backbone)[diffusers_name(name)], tensor)


def test_a_checkpoint_without_a_configuration_is_taken_for_1_3b(
    folder: Path, tmp_path: Path, setup: Setup
) -> None:
    save_file(original_weights(), tmp_path / "few_step.safetensors")
    (folder / "transformer" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"blocks\.29|1536"):
        wan(folder, tmp_path / "few_step.safetensors", setup=setup)


def test_models_that_need_an_image_are_refused(folder: Path, setup: Setup) -> None:
    WanTransformer3DModel(**TINY | {"in_channels": 36}).save_pretrained(folder / "transformer")
    with pytest.raises(ConfigError, match="needs an image"):
        wan(folder, setup=setup)


@pytest.mark.parametrize("part", ["tokenizer", "text_encoder", "vae", "transformer"])
def test_a_missing_part_is_named(folder: Path, part: str, setup: Setup) -> None:
    (folder / part).rename(folder / "elsewhere")
    with pytest.raises(MissingFileError, match=part if part != "transformer" else "config.json"):
        wan(folder, setup=setup)


def test_a_missing_folder_is_named(tmp_path: Path, setup: Setup) -> None:
    with pytest.raises(MissingFileError, match=re.escape(str(tmp_path / "nowhere"))):
        wan(tmp_path / "nowhere", setup=setup)
