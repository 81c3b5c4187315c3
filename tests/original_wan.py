"""Random weights of a tiny model, and adapters of it, under the names of the original Wan."""

from __future__ import annotations

import torch
from diffusers import WanTransformer3DModel
from tiny_rollouts import TINY
from torch import Tensor

from generator.weights.checkpoints import diffusers_name
from generator.weights.lora import ADAPTED, PREFIX

RANK = 3


def original_names(layers: int) -> list[str]:
    """Names of the original Wan 2.1 text-to-video model."""
    linears = ["text_embedding.0", "text_embedding.2", "time_embedding.0", "time_embedding.2"]
    linears += ["patch_embedding", "time_projection.1", "head.head"]
    names = ["head.modulation"]
    for layer in range(layers):
        block = f"blocks.{layer}."
        names.append(block + "modulation")
        for attention in ("self_attn", "cross_attn"):
            linears += [f"{block}{attention}.{part}" for part in "qkvo"]
            names += [f"{block}{attention}.norm_{part}.weight" for part in "qk"]
        linears += [block + "norm3", block + "ffn.0", block + "ffn.2"]
    return names + [f"{linear}.{kind}" for linear in linears for kind in ("weight", "bias")]


def original_weights() -> dict[str, Tensor]:
    with torch.device("meta"):
        shapes = {name: t.shape for name, t in WanTransformer3DModel(**TINY).state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    names = original_names(TINY["num_layers"])
    return {name: torch.randn(shapes[diffusers_name(name)], generator=generator) for name in names}


def original_adapters() -> dict[str, Tensor]:
    """Adapters of rank RANK under peft's names."""
    generator = torch.Generator().manual_seed(1)
    made = {}
    for name, weight in original_weights().items():
        if ADAPTED.fullmatch(name):
            module = PREFIX + name.removesuffix(".weight")
            made[f"{module}.lora_A.weight"] = torch.randn(RANK, weight.shape[1], generator=generator)
            made[f"{module}.lora_B.weight"] = 0.1 * torch.randn(weight.shape[0], RANK, generator=generator)
    return made
