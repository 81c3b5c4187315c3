"""Where a training stands between two epochs, and the one file that keeps it.

The file is safetensors: `model.NAME`, and `optimizer.PARAMETER.KEY` (AdamW's `exp_avg`, `exp_avg_sq` and
`step`). Its metadata entry "training" is JSON: epochs done, best validation loss, the gradient scaler, the
rows of the curve. There is no state of random numbers: all draws follow from seed, epoch and step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor, nn

from encoder.files import replacing
from encoder.training.config import TrainingError

ABOUT = "training"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All that a training needs to go on."""

    epochs_done: int

    model: Mapping[str, Tensor]

    optimizer: Mapping[str, Tensor]
    """AdamW's tensors, "PARAMETER.KEY" by name of the parameter; empty before the first step."""

    scaler: Mapping[str, float] = field(default_factory=dict)
    """State of the gradient scaler; empty without one."""

    best: float | None = None
    """Lowest total validation loss so far."""

    rows: tuple[Mapping[str, float], ...] = ()
    """The curve so far, one row an epoch."""

    def save(self, path: Path) -> None:
        told = {
            "epochs_done": self.epochs_done,
            "scaler": dict(self.scaler),
            "best": self.best,
            "rows": [dict(line) for line in self.rows],
        }
        parts = {"model": self.model, "optimizer": self.optimizer}
        tensors = {
            f"{part}.{name}": tensor.detach().cpu().contiguous()
            for part, named in parts.items()
            for name, tensor in named.items()
        }
        with replacing(path) as aside:
            aside.write_bytes(serialised(tensors, {ABOUT: json.dumps(told)}))

    @staticmethod
    def load(path: Path) -> Snapshot:
        """Raises TrainingError."""
        try:
            with safe_open(path, framework="pt") as file:
                told = json.loads((file.metadata() or {})[ABOUT])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            told["rows"] = tuple(told["rows"])
            return Snapshot(model=_under(tensors, "model."), optimizer=_under(tensors, "optimizer."), **told)
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise TrainingError(f"{path} is not the state of a training: {error!r}") from error


def optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimizer keeps for each parameter, by "PARAMETER.KEY"."""
    return {
        f"{name}.{key}": value
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Undo `optimizer_tensors`. Raises TrainingError where the tensors are not those of this model."""
    state: dict[int, dict[str, Tensor]] = {}
    numbers = {name: number for number, (name, _) in enumerate(model.named_parameters())}
    shapes = {name: parameter.shape for name, parameter in model.named_parameters()}
    for entry, tensor in tensors.items():
        name, _, key = entry.rpartition(".")
        if name not in numbers or (tensor.ndim and tensor.shape != shapes[name]):
            raise TrainingError(f"the optimizer's {entry} {list(tensor.shape)} fits no parameter")
        state.setdefault(numbers[name], {})[key] = tensor
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
