"""The toy transformer: stock diffusers architecture, built, saved and loaded."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor, nn

from generator.toy.config import ModelConfig


def build(config: ModelConfig, seed: int) -> WanTransformer3DModel:
    """Freshly initialised model; the output projection starts at zero."""
    torch.manual_seed(seed)
    model = WanTransformer3DModel(**asdict(config))
    nn.init.zeros_(model.proj_out.weight)
    nn.init.zeros_(model.proj_out.bias)
    return model


def save_bf16(model: WanTransformer3DModel, state: dict[str, Tensor], folder: Path) -> None:
    """Write `state` in diffusers' folder format, weights in bf16."""
    copy = WanTransformer3DModel.from_config(model.config)
    copy.load_state_dict(state)
    for parameter in copy.parameters():
        parameter.data = parameter.data.bfloat16()
    copy.save_pretrained(folder)


class Ema:
    """Exponential moving average of a model's parameters, warmed up from its first steps."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.step = decay, 0
        self.state = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        self.step += 1
        weight = 1 - min(self.decay, (1 + self.step) / (10 + self.step))
        for name, value in model.state_dict().items():
            self.state[name].lerp_(value, weight)


def optimizers(model: WanTransformer3DModel) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the matrices of the blocks, AdamW for the rest; rates are set at every step."""
    matrices = {id(p): p for p in model.blocks.parameters() if p.ndim == 2}
    others = [p for p in model.parameters() if id(p) not in matrices]
    return (
        torch.optim.Muon(list(matrices.values()), weight_decay=0.01),
        torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0),
    )
