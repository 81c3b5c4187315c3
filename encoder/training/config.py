"""The configuration of a training: a frozen dataclass, read from a Python file, kept as JSON."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from encoder.losses import LossConfig
from encoder.model import LatentAEConfig

BUNDLED = Path(__file__).parents[1] / "configs"
PRECISIONS = ("no", "bf16", "fp16")
SCHEDULES = ("constant", "cosine")


class TrainingError(Exception):
    """A training that cannot begin or go on; the message names the field and what was expected."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything that decides what a training results in. Defaults: the published one. Raises ValueError."""

    model: LatentAEConfig = field(default_factory=LatentAEConfig)

    losses: LossConfig = field(default_factory=LossConfig)

    clip_frames: int = 8
    """Consecutive latent frames of one video in a clip (`seq_len` of the reference)."""

    batch_clips: int = 128
    """Clips a step, over all processes."""

    clips_per_video: int = 1
    """Clips that an epoch takes of each video, each from anywhere in it."""

    validation_share: float = 0.1
    """Of the videos, at least one: held out, chosen by seed."""

    epochs: int = 400

    learning_rate: float = 3e-4
    """Of AdamW, at the first step."""

    schedule: str = "constant"
    """What becomes of the learning rate: `constant`, or `cosine`: down to 0 at the last step."""

    weight_decay: float = 1e-4

    max_grad_norm: float = 1.0
    """Gradients are scaled down to this L2 norm; 0 leaves them as they are."""

    precision: str = "fp16"
    """Of the forward pass: `fp16` (needs a CUDA device), `bf16`, or `no` for float32 throughout."""

    noise: float = 0.0
    """Largest standard deviation of the Gaussian noise that a frame of a training clip gets; what is to be
    reconstructed stays clean. The level is drawn for each frame, evenly from 0."""

    seed: int = 42

    def __post_init__(self) -> None:
        for name in ("clip_frames", "batch_clips", "clips_per_video", "epochs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("weight_decay", "max_grad_norm", "noise", "seed"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 < self.validation_share < 1:
            raise ValueError(f"validation_share must be within 0 and 1, got {self.validation_share}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, got {self.learning_rate}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {SCHEDULES}, got {self.schedule!r}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {PRECISIONS}, got {self.precision!r}")


def read_config(source: str) -> TrainingConfig:
    """The `config` of a Python file, or of a bundled one by its name, such as `reference`.

    The file is run. Raises TrainingError.
    """
    path = Path(source)
    if path.suffix != ".py":
        path = BUNDLED / f"{source}.py"
    if not path.is_file():
        known = sorted(file.stem for file in BUNDLED.glob("[a-z]*.py"))
        raise TrainingError(f"config: {source} is neither a Python file nor one of {known}")
    try:
        config = runpy.run_path(str(path)).get("config")
    except Exception as error:  # a file of the user's may raise anything
        raise TrainingError(f"config: {path}: {type(error).__name__}: {error}") from error
    if not isinstance(config, TrainingConfig):
        raise TrainingError(f"config: {path} must define `config`, a TrainingConfig, got {config!r}")
    return config


def to_values(config: TrainingConfig) -> dict[str, Any]:
    """As JSON can hold it."""
    values = asdict(config)
    values["model"]["hidden_dims"] = list(config.model.hidden_dims)
    return values


def from_values(values: Mapping[str, Any]) -> TrainingConfig:
    """What `to_values` was made of. Raises KeyError, TypeError, ValueError."""
    model, losses = dict(values["model"]), values["losses"]
    model["hidden_dims"] = tuple(model["hidden_dims"])
    return TrainingConfig(**{**values, "model": LatentAEConfig(**model), "losses": LossConfig(**losses)})


def differences(first: TrainingConfig, second: TrainingConfig) -> list[str]:
    """One line for each field in which two configurations differ, by its dotted name."""
    before, after = _flat(to_values(first)), _flat(to_values(second))
    return [f"{name} is {after[name]}, was {before[name]}" for name in before if before[name] != after[name]]


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return flat
