"""The configuration of a training: the published values, Python files, differences by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from encoder.losses import LossConfig
from encoder.model import LatentAEConfig
from encoder.training.config import (
    BUNDLED,
    TrainingConfig,
    TrainingError,
    differences,
    from_values,
    read_config,
    to_values,
)


def test_the_defaults_are_the_published_training() -> None:
    config = read_config("reference")
    assert config == TrainingConfig()
    assert (config.learning_rate, config.weight_decay, config.max_grad_norm) == (3e-4, 1e-4, 1.0)
    assert (config.clip_frames, config.batch_clips, config.clips_per_video, config.epochs) == (8, 128, 1, 400)
    assert (config.validation_share, config.seed, config.schedule, config.noise) == (0.1, 42, "constant", 0)
    assert config.losses == LossConfig(
        delta_weight=1, delta_margin=0.85, delta_window=3, smooth_weight=1, smooth_form="norm"
    )
    assert config.model == LatentAEConfig(
        in_channels=16, height=60, width=104, embedding_dim=1024, hidden_dims=(64, 128, 256)
    )


@pytest.mark.parametrize("path", sorted(BUNDLED.glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_bundled_ones_are_found_by_name_and_survive_json(path: Path) -> None:
    config = read_config(path.stem)
    assert config == read_config(str(path))
    assert from_values(json.loads(json.dumps(to_values(config)))) == config


def test_a_file_changes_what_it_names(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from dataclasses import replace\nfrom encoder.configs.toy import config\n"
        "config = replace(config, epochs=3)\n"
    )
    assert read_config(str(file)) == replace(read_config("toy"), epochs=3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("epochs = 3", "must define `config`"),
        ("config = 3", "must define `config`"),
        ("config = (", "SyntaxError"),
        ("from encoder.training.config import TrainingConfig\nconfig = TrainingConfig(lr=1)", "lr"),
        ("from encoder.training.config import TrainingConfig\nconfig = TrainingConfig(epochs=0)", "epochs"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(TrainingError, match=r"mine\.py") as error:
        read_config(str(file))
    assert expected in str(error.value)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(TrainingError, match=r"best .*'debug', 'reference', 'toy'"):
        read_config("best")


def test_differences_have_dotted_names() -> None:
    config = TrainingConfig()
    other = replace(config, epochs=3, losses=replace(config.losses, delta_weight=0.5))
    assert differences(config, other) == ["losses.delta_weight is 0.5, was 1.0", "epochs is 3, was 400"]
    assert differences(config, TrainingConfig()) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("clip_frames", 0),
        ("batch_clips", 0),
        ("clips_per_video", 0),
        ("epochs", 0),
        ("validation_share", 0.0),
        ("validation_share", 1.0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("weight_decay", -1.0),
        ("max_grad_norm", float("nan")),
        ("noise", -0.1),
        ("seed", -1),
        ("schedule", "linear"),
        ("precision", "fp8"),
    ],
)
def test_other_values_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        TrainingConfig(**{field: value})
