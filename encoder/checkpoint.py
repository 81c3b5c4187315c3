"""Weights of the retrieval autoencoder on disk: our safetensors and the published torch file, both strict.

Ours is a safetensors file whose metadata entry "config" is the LatentAEConfig as JSON. The published file
(`ae_latent_mem.pt`) is a torch.save dict with `model`, `config` and the state of its training; only tensors
and plain values are unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save as serialised
from torch import Tensor

from encoder.files import replacing
from encoder.model import LatentAE, LatentAEConfig

PUBLISHED_FIELDS = {
    "in_channels": "in_channels",
    "height": "spatial_h",
    "width": "spatial_w",
    "embedding_dim": "latent_dim",
    "hidden_dims": "hidden_dims",
}
"""Fields of LatentAEConfig and their published names; the other published entries are about training."""


class CheckpointError(Exception):
    """Not an autoencoder's checkpoint, or names or shapes do not fit; the message has the names."""


def load(path: Path | str) -> LatentAE:
    """The autoencoder of a checkpoint, float32, ready for `encode`.

    Raises FileNotFoundError, CheckpointError.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; expected weights of the retrieval autoencoder")
    try:
        config, weights = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
        return from_weights(config, weights)
    except CheckpointError:
        raise
    except Exception as error:  # files that are no checkpoints make their readers raise anything
        reason = str(error).partition("\n")[0].partition(". ")[0]
        raise CheckpointError(f"{path}: cannot be read: {type(error).__name__}: {reason}") from error


def save(model: LatentAE, path: Path | str) -> None:
    """Write weights and configuration as safetensors, whole or not at all.

    Raises CheckpointError for another suffix, by which `load` would take it for the published format.
    """
    if Path(path).suffix != ".safetensors":
        raise CheckpointError(f"{path}: expected a name that ends in .safetensors")
    weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    about = {"config": json.dumps(asdict(model.config), sort_keys=True)}
    with replacing(Path(path)) as aside:
        # Not save_file, which leaves a file that nobody else can read.
        aside.write_bytes(serialised(weights, about))


def from_weights(config: LatentAEConfig, weights: Mapping[str, Tensor]) -> LatentAE:
    """An autoencoder with exactly these weights, in evaluation mode. Raises CheckpointError."""
    model = LatentAE(config)
    load_weights(model, weights)
    return model.eval().requires_grad_(False)


def load_weights(model: LatentAE, weights: Mapping[str, Tensor]) -> None:
    """Give a model exactly these weights. Raises CheckpointError."""
    own = model.state_dict()
    misshapen = [
        f"{name} is {list(weights[name].shape)}, expected {list(own[name].shape)}"
        for name in sorted(own.keys() & weights.keys())
        if own[name].shape != weights[name].shape
    ]
    problems = {
        "missing": sorted(own.keys() - weights.keys()),
        "unexpected": sorted(weights.keys() - own.keys()),
        "misshapen": misshapen,
    }
    if any(problems.values()):
        details = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in problems.items() if names)
        raise CheckpointError(f"weights do not fit {model.config}: {details}")
    model.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=True)


def published_config(values: Mapping[str, Any]) -> LatentAEConfig:
    """Our configuration out of the published one. Raises CheckpointError naming what is missing."""
    missing = sorted(set(PUBLISHED_FIELDS.values()) - values.keys())
    if missing:
        raise CheckpointError(f"the configuration lacks {', '.join(missing)}")
    fields = {ours: values[theirs] for ours, theirs in PUBLISHED_FIELDS.items()}
    return LatentAEConfig(**fields | {"hidden_dims": tuple(fields["hidden_dims"])})


def published_values(config: LatentAEConfig) -> dict[str, Any]:
    """What `published_config` reads. Raises CheckpointError for a model that the reference cannot build."""
    if config.keep_rows:
        raise CheckpointError("the published encoder pools over rows too; expected keep_rows = False")
    values = {theirs: getattr(config, ours) for ours, theirs in PUBLISHED_FIELDS.items()}
    return values | {"hidden_dims": list(config.hidden_dims)}


def _read_safetensors(path: Path) -> tuple[LatentAEConfig, dict[str, Tensor]]:
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if "config" not in metadata:
            raise CheckpointError(f"{path} has no metadata entry 'config'")
        fields = json.loads(metadata["config"])
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    try:
        return LatentAEConfig(**fields | {"hidden_dims": tuple(fields["hidden_dims"])}), weights
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: the configuration does not fit: {error}") from error


def _read_torch(path: Path) -> tuple[LatentAEConfig, Mapping[str, Tensor]]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping) or not {"model", "config"} <= content.keys():
        raise CheckpointError(f"{path} is not a dict with 'model' and 'config'")
    for entry in ("config", "model"):
        if not isinstance(content[entry], Mapping):
            raise CheckpointError(f"{path}: {entry!r} is of type {type(content[entry]).__name__}, not a dict")
    return published_config(content["config"]), content["model"]
