"""Low-rank adapters: beside the weights as the reference has them, and merged as it merges them."""

from __future__ import annotations

import pytest
import torch
from native_runner import NativeRunner
from safetensors.torch import load_file
from torch import Tensor

from generator.wan.causal_wan import CausalWan
from generator.weights.checkpoints import diffusers_name
from generator.weights.lora import Lora, attach, from_weights, merge


@pytest.fixture
def lora(case) -> Lora:
    adapter = case.config.adapter
    lora = from_weights(case.under("lora."), alpha=adapter["alpha"])
    assert lora.scale == case.config.scaling
    return lora


@pytest.fixture
def weights(case) -> dict[str, Tensor]:
    return load_file(case.golden.folder / case.info["weights"])


def flows(case, wan: CausalWan) -> Tensor:
    """The calls of the case, on one cache."""
    blocks = [case[call["x"]] for call in case.info["calls"]]
    runner = NativeRunner(case, wan, blocks[0].shape[1])
    made, start = [], None
    for call, x in zip(case.info["calls"], blocks, strict=True):
        if call["current_start"] != start:
            start = call["current_start"]
            runner.begin(start // runner.geometry.tokens_per_frame, case["prompt_embeds"][0])
        made.append(runner.flow(x, torch.full(x.shape[1:2], call["timestep"])))
    return torch.cat(made)


@torch.inference_mode()
def test_without_adapters(case, make_wan) -> None:
    case.check("flow_base", flows(case, make_wan(case)))


@torch.inference_mode()
def test_adapters_beside_the_weights(case, make_wan, lora: Lora) -> None:
    wan = make_wan(case)
    attach(wan.transformer, lora)
    case.check("flow_lora", flows(case, wan))


@torch.inference_mode()
def test_merged_adapters(case, make_wan, lora: Lora, weights: dict[str, Tensor]) -> None:
    merged = merge(weights, lora)
    assert {f"{module}.weight" for module in lora.pairs} == set(case.info["merged_param_names"])
    for name, expected in case.under("merged.").items():
        assert expected.shape == merged[name].shape
        case.check(f"merged.{name}", merged[name])
    wan = make_wan(case)
    wan.transformer.load_state_dict({diffusers_name(name): tensor for name, tensor in merged.items()})
    case.check("flow_merged", flows(case, wan))
