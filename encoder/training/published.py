"""Trainings in the reference's format: one torch.save dict, read without unpickling anything but values.

epoch      the last whole one, counted from 0
model      state dict of the autoencoder
optimizer  state dict of AdamW, parameters by number in the order of the model
scaler     of torch.amp.GradScaler; {} where precision is not fp16
config     the reference's fields; "reverie" holds those of ours that it has no name for
val_loss   lowest total validation loss, where one is known
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from encoder.checkpoint import CheckpointError, from_weights, published_config, published_values
from encoder.files import replacing
from encoder.losses import LossConfig
from encoder.model import LatentAE
from encoder.training.config import TrainingConfig, TrainingError
from encoder.training.snapshot import Snapshot, optimizer_tensors, restore_optimizer

FIELDS = {
    "clip_frames": "seq_len",
    "batch_clips": "batch_size",
    "validation_share": "val_split",
    "epochs": "epochs",
    "learning_rate": "lr",
    "weight_decay": "weight_decay",
    "max_grad_norm": "grad_clip",
    "seed": "seed",
}
"""Fields of TrainingConfig and the reference's names."""

LOSS_FIELDS = ("delta_weight", "delta_margin", "delta_window", "smooth_weight")
"""Fields of LossConfig, of the same names there."""

OWN = "reverie"
OWN_FIELDS = ("schedule", "clips_per_video", "noise", "precision")


def export_training(config: TrainingConfig, snapshot: Snapshot, path: Path) -> None:
    """Write a training that the reference can go on with. Raises CheckpointError before its first epoch."""
    if not snapshot.epochs_done:
        raise CheckpointError("there is no whole epoch to export")
    model = from_weights(config.model, snapshot.model).requires_grad_(True)
    optimizer = _optimizer(model, config)
    restore_optimizer(model, optimizer, snapshot.optimizer)
    known = {} if snapshot.best is None else {"val_loss": snapshot.best}
    content = {
        "epoch": snapshot.epochs_done - 1,
        "model": dict(snapshot.model),
        "optimizer": optimizer.state_dict(),
        "scaler": dict(snapshot.scaler),
        "config": training_values(config),
    }
    with replacing(path) as aside:
        torch.save(content | known, aside)


def export_model(model: LatentAE, path: Path) -> None:
    """Write weights alone: enough for the reference to embed with, not to go on training."""
    content = {"model": model.state_dict(), "config": published_values(model.config)}
    with replacing(path) as aside:
        torch.save(content, aside)


def import_training(path: Path) -> tuple[TrainingConfig, Snapshot]:
    """A training of the reference, or one that `export_training` wrote. Raises CheckpointError.

    `val_loss` stays behind: it was measured on clips of its own, and no later one compares to it.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise CheckpointError(f"{path}: cannot be read: {type(error).__name__}: {reason}") from error
    expected = {"epoch", "model", "optimizer", "scaler", "config"}
    if not isinstance(content, Mapping) or not expected <= content.keys():
        raise CheckpointError(f"{path} is not a training; expected a dict with {', '.join(sorted(expected))}")
    try:
        config = training_config(content["config"])
        model = from_weights(config.model, content["model"]).requires_grad_(True)
        optimizer = _optimizer(model, config)
        optimizer.load_state_dict(content["optimizer"])
        snapshot = Snapshot(
            epochs_done=content["epoch"] + 1,
            model=model.state_dict(),
            optimizer=_checked(optimizer_tensors(model, optimizer), model),
            scaler=dict(content["scaler"]),
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError, TrainingError) as error:
        raise CheckpointError(f"{path} does not fit together: {error!r}") from error
    return config, snapshot


def training_values(config: TrainingConfig) -> dict[str, Any]:
    """A configuration by the reference's names."""
    own = {name: getattr(config, name) for name in OWN_FIELDS} | {"smooth_form": config.losses.smooth_form}
    return {
        **published_values(config.model),
        **{theirs: getattr(config, ours) for ours, theirs in FIELDS.items()},
        **{name: getattr(config.losses, name) for name in LOSS_FIELDS},
        "use_amp": config.precision != "no",
        OWN: own,
    }


def training_config(values: Mapping[str, Any]) -> TrainingConfig:
    """Ours out of the reference's, without what it says of logging. Raises CheckpointError, ValueError."""
    needed = {*FIELDS.values(), *LOSS_FIELDS, "use_amp"}
    missing = sorted(needed - values.keys())
    if missing:
        raise CheckpointError(f"the configuration lacks {', '.join(missing)}")
    own = dict(values.get(OWN, {"precision": "fp16" if values["use_amp"] else "no"}))
    form = {"smooth_form": own.pop("smooth_form")} if "smooth_form" in own else {}
    return TrainingConfig(
        model=published_config(values),
        losses=LossConfig(**{name: values[name] for name in LOSS_FIELDS} | form),
        **{ours: values[theirs] for ours, theirs in FIELDS.items()} | own,
    )


def _optimizer(model: LatentAE, config: TrainingConfig) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)


def _checked(tensors: dict[str, Tensor], model: LatentAE) -> dict[str, Tensor]:
    restore_optimizer(model, _optimizer(model, TrainingConfig(model=model.config)), tensors)
    return tensors
