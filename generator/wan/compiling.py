"""Optional: the transformer's blocks through torch.compile, which fuses what lies between matrix products."""

from __future__ import annotations

import torch

from generator.errors import ConfigError
from generator.wan.causal_wan import CausalWan

COMPILED = "compiled"
"""The numerics of such a model, as records name them."""


def compile_blocks(model: CausalWan) -> None:
    """Compile the blocks in place; the first pass takes longer, and results differ in their last bits.

    All blocks share one compiled code. Attention stays as it is: keys and values go into a context that
    changes from block to block, and its products are single kernels already. Needs a C++ compiler on the CPU
    and Triton on a GPU, whose absence shows in the first pass. Raises ConfigError for a model that does not
    run its blocks as they are.
    """
    if type(model).flow is not CausalWan.flow:
        raise ConfigError(f"{type(model).__name__} fixes every rounding; it cannot be compiled")
    for block in model.transformer.blocks:
        for attention in (block.attn1, block.attn2):
            attention.forward = torch.compiler.disable(attention.forward)
        block.compile(dynamic=False)
    model.numerics = COMPILED
