"""Original Wan names -> diffusers: every tensor arrives, none is changed, and what does not fit is named."""

from __future__ import annotations

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

from generator.errors import CheckpointError
from generator.weights.checkpoints import convert, unwrap


def test_conversion_is_complete_and_exact(case, make_wan) -> None:
    assert len(case.tensors) == case.info["num_tensors"]
    converted = convert(case.tensors)
    model = make_wan(case).transformer.state_dict()
    assert model.keys() == converted.keys()
    oracle = convert_wan_transformer_to_diffusers(dict(case.tensors))
    for name, tensor in model.items():
        assert torch.equal(tensor, oracle[name]), name
    assert sum(t.numel() for t in model.values()) == case.info["num_params"]


@pytest.mark.parametrize("prefix", ["", "model.", "model._fsdp_wrapped_module.", "module.model."])
@pytest.mark.parametrize("container", [None, "generator", "generator_ema", "model"])
def test_prefixes_and_containers(case, prefix: str, container: str | None) -> None:
    wrapped = {prefix + name: tensor for name, tensor in case.tensors.items()}
    content = wrapped if container is None else {container: wrapped, "step": 7}
    assert unwrap(content).keys() == case.tensors.keys()


def test_missing_and_unknown_weights_are_named(case) -> None:
    with pytest.raises(CheckpointError, match=r"blocks\.0\.surplus\.weight") as unknown:
        convert(case.tensors | {"blocks.0.surplus.weight": torch.zeros(1)})
    assert unknown.value.unexpected == ("blocks.0.surplus.weight",)
