"""Tiny random weights of everything that is published, as its commands fetch it."""

from __future__ import annotations

from pathlib import Path

import torch
from original_wan import original_adapters, original_weights
from tiny_wan import save_base
from torch import Tensor

FIRST = {"self_forcing": 0.25, "causal_forcing": 0.5, "longlive": 1.0}
"""By how much the tiny weights of each backbone are scaled, so that each can be told."""


def wrapped(scale: float) -> dict[str, Tensor]:
    """Weights as training leaves them."""
    return {f"model._fsdp_wrapped_module.{n}": scale * t for n, t in original_weights().items()}


def write(root: Path, path: str, content: object) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, root / path)


def write_published(root: Path) -> Path:
    """Fill the root with the files of all published backbones; the root."""
    save_base(root / "Wan2.1-T2V-1.3B-Diffusers")
    averaged = {"generator": wrapped(9), "generator_ema": wrapped(FIRST["self_forcing"])}
    write(root, "Self-Forcing/checkpoints/self_forcing_dmd.pt", averaged)
    single = {"generator": wrapped(FIRST["causal_forcing"]), "generator_ema": wrapped(9)}
    write(root, "Causal-Forcing/chunkwise/causal_forcing.pt", single)
    write(root, "LongLive-1.3B/models/longlive_base.pt", {"generator": wrapped(FIRST["longlive"])})
    adapters = {"generator_lora": original_adapters(), "critic_lora": {"x": torch.ones(1)}}
    write(root, "LongLive-1.3B/models/lora.pt", adapters)
    return root
