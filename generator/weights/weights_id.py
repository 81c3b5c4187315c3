"""Names the weights that a model runs with, whatever files they came from."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

SAMPLES = 64
"""Values of each tensor that count: training changes next to all of them, and gigabytes need not be read."""


def weights_id(module: nn.Module) -> str:
    """16 hex digits of SHA-256 over name, dtype, shape and some evenly spaced values of every tensor."""
    digest = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        flat = tensor.reshape(-1)
        values = flat[:: max(1, len(flat) // SAMPLES)].cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(values.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
