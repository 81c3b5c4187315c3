"""Low-rank adapters in peft's format: y = W x + scale * B (A x), merged into W or beside it.

Names: adapters bear the original Wan names, `base_model.model.blocks.0.self_attn.q.lora_A.weight`. Shapes: A
[rank, in], B [out, rank]. LongLive's adapts every linear layer of the blocks with rank 256 and scale 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import WanTransformer3DModel
from torch import Size, Tensor, nn
from torch.nn import functional as F

from generator.errors import CheckpointError
from generator.weights.checkpoints import bare_name, diffusers_name, original_name, read_checkpoint

CONTAINER = "generator_lora"
"""Key of the generator's adapters in a file that has the critic's too."""

PREFIX = "base_model.model."
PARTS = ("lora_A", "lora_B")
ADAPTED = re.compile(r"blocks\.\d+\.(self_attn\.[qkvo]|cross_attn\.[qkvo]|ffn\.[02])\.weight")
"""Original names of the weights that an adapter changes."""


@dataclass(frozen=True)
class Lora:
    """Adapters of all linear layers in the blocks of one model."""

    pairs: Mapping[str, tuple[Tensor, Tensor]]
    """Original module name, e.g. blocks.0.self_attn.q -> A, B."""

    scale: float = 1.0
    """alpha / rank."""


def load_lora(path: Path | str, *, alpha: float | None = None) -> Lora:
    """The adapters of a file (.pt, .safetensors).

    alpha: that of their training; default: their rank, as LongLive's.
    Raises MissingFileError, CheckpointError.
    """
    content = read_checkpoint(Path(path), "low-rank adapters")
    weights = content.get(CONTAINER, content) if isinstance(content, Mapping) else content
    if not isinstance(weights, Mapping) or not all(isinstance(t, Tensor) for t in weights.values()):
        raise CheckpointError(f"{path}: neither adapters nor a dict with {CONTAINER!r}")
    return from_weights(weights, alpha=alpha)


def from_weights(weights: Mapping[str, Tensor], *, alpha: float | None = None) -> Lora:
    """Adapters out of peft's state dict. Raises CheckpointError where one of a pair lacks or ranks differ."""
    parts: dict[str, dict[str, Tensor]] = {}
    unexpected = []
    for name, tensor in weights.items():
        module, _, part = bare_name(name.removeprefix(PREFIX)).removesuffix(".weight").rpartition(".")
        if part not in PARTS or tensor.ndim != 2:
            unexpected.append(name)
        parts.setdefault(module, {})[part] = tensor
    lacking = [f"{module}.{part}" for module, pair in parts.items() for part in PARTS if part not in pair]
    if unexpected or lacking:
        raise CheckpointError("not low-rank adapters", missing=lacking, unexpected=unexpected)
    pairs = {module: (pair["lora_A"], pair["lora_B"]) for module, pair in parts.items()}
    ranks = {rank for a, b in pairs.values() for rank in (a.shape[0], b.shape[1])}
    if len(ranks) != 1:
        raise CheckpointError(f"adapters of one rank are expected, got ranks {sorted(ranks)}")
    return Lora(pairs, scale=1.0 if alpha is None else alpha / ranks.pop())


def merge(weights: Mapping[str, Tensor], lora: Lora, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Weights under original names with W + scale * B A in place of every adapted W.

    Each is merged in float32 and cast at once: one rounding, and never all of them in float32. On the CPU
    whatever runs the model, so that its weights are the same everywhere. Raises CheckpointError.
    """
    adapted = {name: tensor for name, tensor in weights.items() if ADAPTED.fullmatch(name)}
    _check(lora, {name.removesuffix(".weight"): tensor.shape for name, tensor in adapted.items()})
    merged = dict(weights)
    for module, (a, b) in lora.pairs.items():
        name = f"{module}.weight"
        merged[name] = (adapted[name].float() + lora.scale * (b.float() @ a.float())).to(dtype)
    return merged


def attach(model: WanTransformer3DModel, lora: Lora) -> None:
    """Put the adapters beside the linear layers of a model, in its type. Raises CheckpointError."""
    modules = {
        name.removesuffix(".weight"): model.get_submodule(str(diffusers_name(name)).removesuffix(".weight"))
        for name in _adapted_names(model)
    }
    _check(lora, {name: module.weight.shape for name, module in modules.items()})
    for name, (a, b) in lora.pairs.items():
        path = str(diffusers_name(f"{name}.weight")).removesuffix(".weight")
        model.set_submodule(path, AdaptedLinear(modules[name], a, b, lora.scale))


class AdaptedLinear(nn.Module):
    """A frozen linear layer with a low-rank adapter beside it."""

    def __init__(self, base: nn.Linear, a: Tensor, b: Tensor, scale: float) -> None:
        super().__init__()
        self.base = base
        self.lora_a = nn.Parameter(a.to(base.weight), requires_grad=False)
        self.lora_b = nn.Parameter(b.to(base.weight), requires_grad=False)
        self._scale = scale

    def forward(self, x: Tensor) -> Tensor:
        beside = F.linear(F.linear(x, self.lora_a), self.lora_b)
        return self.base(x) + (beside if self._scale == 1 else self._scale * beside)


def _adapted_names(model: WanTransformer3DModel) -> list[str]:
    """Original names of the weights of a model that adapters change."""
    names = (str(original_name(name)) for name in model.state_dict())
    return [name for name in names if ADAPTED.fullmatch(name)]


def _check(lora: Lora, shapes: Mapping[str, Size]) -> None:
    """Raises CheckpointError unless there is exactly one adapter that fits for each of the modules."""
    misshapen = [
        f"{name} adapts {[b.shape[0], a.shape[1]]}, expected {list(shapes[name])}"
        for name, (a, b) in sorted(lora.pairs.items())
        if name in shapes and (b.shape[0], a.shape[1]) != tuple(shapes[name])
    ]
    missing, unexpected = shapes.keys() - lora.pairs.keys(), lora.pairs.keys() - shapes.keys()
    if missing or unexpected or misshapen:
        raise CheckpointError(
            "the adapters do not fit the transformer",
            missing=missing,
            unexpected=unexpected,
            misshapen=misshapen,
        )
