"""Adapters on a tiny random model: files, strictness, and that merged and unmerged say the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel
from original_wan import RANK, original_adapters, original_names, original_weights
from safetensors.torch import save_file
from tiny_rollouts import TINY
from torch import Tensor

from generator.errors import CheckpointError, MissingFileError
from generator.weights.checkpoints import WAN_1_3B, build_transformer, diffusers_name
from generator.weights.lora import (
    ADAPTED,
    PREFIX,
    AdaptedLinear,
    Lora,
    attach,
    from_weights,
    load_lora,
    merge,
)


def forward(model: WanTransformer3DModel) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    model.rope = WanTransformer3DModel(**TINY).rope  # built without memory, and replaced in rollouts
    dtype = model.patch_embedding.weight.dtype
    latents = torch.randn(1, 16, 3, 4, 4, generator=generator).to(dtype)
    text = torch.randn(1, 5, TINY["text_dim"], generator=generator).to(dtype)
    with torch.inference_mode():
        return model(latents, torch.tensor([500.0]), text, return_dict=False)[0]


def small_weights() -> dict[str, Tensor]:
    return {name: 0.2 * tensor for name, tensor in original_weights().items()}


def merged_model(lora: Lora, dtype: torch.dtype) -> WanTransformer3DModel:
    return build_transformer(TINY, merge(small_weights(), lora, dtype), dtype, original=True)


def unmerged_model(lora: Lora, dtype: torch.dtype) -> WanTransformer3DModel:
    model = build_transformer(TINY, small_weights(), dtype, original=True)
    attach(model, lora)
    return model


def test_longlives_adapters_are_on_300_linear_layers_with_350_million_values() -> None:
    names = [name for name in original_names(30) if ADAPTED.fullmatch(name)]
    assert len(names) == 300
    with torch.device("meta"):
        shapes = WanTransformer3DModel(**WAN_1_3B).state_dict()
    assert sum(256 * sum(shapes[diffusers_name(name)].shape) for name in names) == 349_962_240


def test_merging_is_done_in_float32_and_cast_once() -> None:
    lora, weights = from_weights(original_adapters()), small_weights()
    name = "blocks.1.cross_attn.v.weight"
    a, b = lora.pairs[name.removesuffix(".weight")]
    model = merged_model(lora, torch.bfloat16)
    expected = (weights[name] + b @ a).to(torch.bfloat16)
    assert torch.equal(model.state_dict()[diffusers_name(name)], expected)
    untouched = "blocks.1.cross_attn.v.bias"
    assert torch.equal(model.state_dict()[diffusers_name(untouched)], weights[untouched].to(torch.bfloat16))


@pytest.mark.parametrize("alpha", [None, 1.5])
def test_merged_and_unmerged_agree(alpha: float | None) -> None:
    lora = from_weights(original_adapters(), alpha=alpha)
    assert lora.scale == (1 if alpha is None else alpha / RANK)
    merged, unmerged = (build(lora, torch.float32) for build in (merged_model, unmerged_model))
    assert sum(isinstance(module, AdaptedLinear) for module in unmerged.modules()) == 2 * 10
    torch.testing.assert_close(forward(unmerged), forward(merged), atol=2e-5, rtol=1e-4)
    base = build_transformer(TINY, small_weights(), torch.float32, original=True)
    assert (forward(base) - forward(merged)).abs().max() > 0.01


def test_unmerged_in_bf16_runs_in_bf16() -> None:
    model = unmerged_model(from_weights(original_adapters()), torch.bfloat16)
    assert forward(model).dtype == torch.bfloat16
    assert model.get_parameter("blocks.0.attn1.to_q.lora_a").dtype == torch.bfloat16
    assert not any(p.requires_grad for n, p in model.named_parameters() if "lora_" in n)


@pytest.mark.parametrize("kind", ["safetensors", "bare.pt", "longlive.pt"])
def test_files(tmp_path: Path, kind: str) -> None:
    path, made = tmp_path / f"lora.{kind}", original_adapters()
    if kind == "safetensors":
        save_file(made, path)
    else:
        other = {"generator_lora": made, "critic_lora": {"x": torch.ones(1)}, "step": 3}
        torch.save(made if kind == "bare.pt" else other, path)
    lora = load_lora(path)
    assert lora.scale == 1
    assert len(lora.pairs) == 20
    a, b = lora.pairs["blocks.0.ffn.2"]
    assert torch.equal(a, made[f"{PREFIX}blocks.0.ffn.2.lora_A.weight"])
    assert torch.equal(b, made[f"{PREFIX}blocks.0.ffn.2.lora_B.weight"])


@pytest.mark.parametrize("content", [None, [1], {"generator_lora": [1]}, {"a": 1}])
def test_files_of_something_else_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError):
        load_lora(tmp_path / "bad.pt")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.pt does not exist; expected low-rank adapters"):
        load_lora(tmp_path / "nowhere.pt")


def test_half_a_pair_and_foreign_names_are_refused() -> None:
    made = original_adapters()
    del made[f"{PREFIX}blocks.1.ffn.0.lora_B.weight"]
    made[f"{PREFIX}blocks.0.ffn.0.bias"] = torch.ones(3)
    with pytest.raises(CheckpointError) as error:
        from_weights(made)
    assert "blocks.1.ffn.0.lora_B" in error.value.missing
    assert error.value.unexpected == (f"{PREFIX}blocks.0.ffn.0.bias",)


def test_adapters_of_several_ranks_are_refused() -> None:
    made = original_adapters()
    made[f"{PREFIX}blocks.1.ffn.0.lora_A.weight"] = torch.ones(RANK + 1, 24)
    with pytest.raises(CheckpointError, match=r"\[3, 4\]"):
        from_weights(made)


@pytest.mark.parametrize("where", ["merged", "unmerged"])
def test_adapters_must_fit_exactly(where: str) -> None:
    made = original_adapters()
    for part in "AB":
        made[f"{PREFIX}head.head.lora_{part}.weight"] = made.pop(
            f"{PREFIX}blocks.0.self_attn.q.lora_{part}.weight"
        )
    made[f"{PREFIX}blocks.1.ffn.0.lora_A.weight"] = torch.ones(RANK, 7)
    build = merged_model if where == "merged" else unmerged_model
    with pytest.raises(CheckpointError) as error:
        build(from_weights(made), torch.float32)
    assert error.value.missing == ("blocks.0.self_attn.q",)
    assert error.value.unexpected == ("head.head",)
    assert error.value.misshapen == ("blocks.1.ffn.0 adapts [32, 7], expected [32, 24]",)
