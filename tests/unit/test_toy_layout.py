"""The toy's matrices lie otherwise in memory than torch would have them, and give the same results."""

from __future__ import annotations

import torch
from torch import nn

from generator.backbones import TOY_WEIGHTS, toy
from generator.weights.checkpoints import load_transformer


def test_linear_layers_give_the_same_results() -> None:
    laid_out = toy().model.transformer
    as_stored = load_transformer(TOY_WEIGHTS / "transformer", dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    seen = 0
    for name, stored in as_stored.named_modules():
        if isinstance(stored, nn.Linear) and "blocks" in name:
            layer = laid_out.get_submodule(name)
            assert layer.weight.stride() != stored.weight.stride()
            assert torch.equal(layer.weight, stored.weight)
            tokens = torch.randn(1, 24, stored.in_features, generator=generator)
            torch.testing.assert_close(layer(tokens), stored(tokens), atol=1e-6, rtol=1e-5)
            seen += 1
    assert seen == 8 * 10
