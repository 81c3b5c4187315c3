"""Published weights, strictly: every name of the 1.3B model, and what happens when one does not fit."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from diffusers import WanTransformer3DModel
from original_wan import original_names, original_weights
from safetensors.torch import load_file, save_file
from tiny_rollouts import TINY

from generator.errors import CheckpointError, ConfigError, MissingFileError
from generator.weights.checkpoints import (
    WAN_1_3B,
    build_transformer,
    check_weights,
    convert,
    diffusers_name,
    load_transformer,
    original_name,
)


def test_all_825_names_of_the_1_3b_model() -> None:
    names = original_names(30)
    assert len(names) == 825
    with torch.device("meta"):
        model = WanTransformer3DModel(**WAN_1_3B)
    own = model.state_dict()
    weights = {diffusers_name(name): own[diffusers_name(name)] for name in names}
    check_weights(model, weights)
    assert sum(t.numel() for t in weights.values()) == 1_418_996_800


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("prefix", ["", "model.", "model._fsdp_wrapped_module."])
def test_files_with_original_names(tmp_path: Path, suffix: str, prefix: str) -> None:
    weights = original_weights()
    path = tmp_path / f"generator.{suffix}"
    wrapped = {prefix + name: tensor for name, tensor in weights.items()}
    if suffix == "pt":
        torch.save({"generator_ema": wrapped, "step": 100}, path)
    else:
        save_file(wrapped, path)
    model = load_transformer(path, TINY, dtype=torch.float32)
    for name, tensor in weights.items():
        assert torch.equal(model.state_dict()[diffusers_name(name)], tensor)


def test_folders_of_diffusers(tmp_path: Path) -> None:
    model = build_transformer(TINY, convert(original_weights()), torch.float32)
    model.save_pretrained(tmp_path / "transformer")
    for folder in (tmp_path, tmp_path / "transformer"):
        again = load_transformer(folder, dtype=torch.float32)
        assert again.config.num_layers == 2
        assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))


def test_bf16_keeps_in_float32_what_diffusers_keeps(tmp_path: Path) -> None:
    weights = convert(original_weights())
    model = build_transformer(TINY, weights, torch.bfloat16)
    model.save_pretrained(tmp_path)
    loaded = WanTransformer3DModel.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    ours = {name: t.dtype for name, t in model.state_dict().items()}
    assert ours == {name: t.dtype for name, t in loaded.state_dict().items()}
    assert ours["blocks.0.norm2.weight"] == torch.float32
    assert ours["blocks.0.attn1.norm_q.weight"] == torch.bfloat16


def test_what_does_not_fit_is_named() -> None:
    weights = convert(original_weights())
    weights["blocks.0.surplus"] = weights.pop("proj_out.bias")
    weights["proj_out.weight"] = torch.zeros(3, 3)
    with pytest.raises(CheckpointError) as error:
        build_transformer(TINY, weights, torch.float32)
    assert error.value.missing == ("proj_out.bias",)
    assert error.value.unexpected == ("blocks.0.surplus",)
    assert "proj_out.weight is [3, 3], expected [64, 24]" in str(error.value)


def test_the_container_must_be_unambiguous(tmp_path: Path) -> None:
    weights, path = original_weights(), tmp_path / "both.pt"
    averaged = {name: tensor + 1 for name, tensor in weights.items()}
    torch.save({"generator": weights, "generator_ema": averaged}, path)
    with pytest.raises(ConfigError, match="generator, generator_ema"):
        load_transformer(path, TINY)
    model = load_transformer(path, TINY, dtype=torch.float32, container="generator_ema")
    assert torch.equal(model.proj_out.bias, averaged["head.head.bias"])
    with pytest.raises(CheckpointError, match=re.escape("no 'model'")):
        load_transformer(path, TINY, container="model")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.pt does not exist"):
        load_transformer(tmp_path / "nowhere.pt")
    with pytest.raises(MissingFileError, match=r"config\.json"):
        load_transformer(tmp_path)


def test_code_in_checkpoints_is_not_run(tmp_path: Path) -> None:
    torch.save({"generator": original_weights(), "args": Path("x")}, tmp_path / "code.pt")
    with pytest.raises(CheckpointError, match="Weights only load failed"):
        load_transformer(tmp_path / "code.pt", TINY)


def test_files_that_do_not_fit_are_named_in_their_own_spelling(tmp_path: Path) -> None:
    weights = original_weights()
    weights["blocks.0.self_attn.surplus"] = weights.pop("blocks.0.self_attn.q.weight")
    weights["blocks.7.ffn.0.bias"] = weights["blocks.0.ffn.0.bias"]
    weights["head.modulation"] = torch.zeros(2)
    torch.save({"generator": weights}, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError) as error:
        load_transformer(tmp_path / "bad.pt", TINY)
    assert error.value.missing == ("blocks.0.self_attn.q.weight",)
    assert error.value.unexpected == ("blocks.0.self_attn.surplus", "blocks.7.ffn.0.bias")
    assert error.value.misshapen == ("head.modulation is [2], expected [1, 2, 24]",)


def test_names_are_translated_both_ways() -> None:
    for name in original_names(30):
        assert original_name(diffusers_name(name)) == name
    assert original_name("blocks.0.attn1.surplus.weight") is None


def test_names_that_differ_in_prefixes_alone_are_refused(tmp_path: Path) -> None:
    weights = original_weights()
    torch.save(weights | {"model.head.head.bias": weights["head.head.bias"]}, tmp_path / "twice.pt")
    with pytest.raises(CheckpointError, match="twice") as error:
        load_transformer(tmp_path / "twice.pt", TINY)
    assert error.value.unexpected == ("head.head.bias",)


@pytest.fixture(params=["one file", "several files"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A diffusers folder."""
    model = build_transformer(TINY, convert(original_weights()), torch.float32)
    model.save_pretrained(tmp_path, max_shard_size="5GB" if request.param == "one file" else "20KB")
    assert (len(list(tmp_path.glob("*.safetensors"))) > 1) == (request.param == "several files")
    return tmp_path


def change(folder: Path, name: str, **new: torch.Tensor) -> None:
    """Replace the weight `name` of a folder by `new`."""
    for file in folder.glob("*.safetensors"):
        weights = load_file(file)
        if name in weights:
            save_file({n: t.clone() for n, t in weights.items() if n != name} | new, file)


def test_folders_load_strictly(folder: Path) -> None:
    model = load_transformer(folder, dtype=torch.bfloat16)
    assert model.state_dict()["blocks.0.norm2.weight"].dtype == torch.float32
    assert model.state_dict()["proj_out.bias"].dtype == torch.bfloat16
    change(folder, "proj_out.weight", **{"proj_out.weight": torch.zeros(3, 3)})
    change(folder, "proj_out.bias", **{"proj_out.surplus": torch.zeros(3)})
    with pytest.raises(CheckpointError) as error:
        load_transformer(folder)
    assert error.value.missing == ("proj_out.bias",)
    assert error.value.unexpected == ("proj_out.surplus",)
    assert error.value.misshapen == ("proj_out.weight is [3, 3], expected [64, 24]",)


def test_missing_files_of_folders_are_named(folder: Path) -> None:
    gone = sorted(folder.glob("*.safetensors"))[0]
    gone.unlink()
    with pytest.raises(MissingFileError, match=re.escape(gone.name)):
        load_transformer(folder)


def test_unreadable_folders_are_refused(folder: Path) -> None:
    config = folder / "config.json"
    for content in ("{", "[1]", json.dumps(dict(TINY) | {"num_layers": "two"})):
        config.write_text(content)
        with pytest.raises(CheckpointError, match=re.escape(str(folder))):
            load_transformer(folder)


@pytest.mark.parametrize("name", ["bad.pt", "bad.safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04", b"\x80\x02garbage", bytes(1000)])
def test_unreadable_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=re.escape(str(tmp_path / name))):
        load_transformer(tmp_path / name, TINY)


@pytest.mark.parametrize("content", [None, [1], {"generator": {"head.head.bias": None}}, {1: 2}])
def test_files_of_something_else_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError):
        load_transformer(tmp_path / "bad.pt", TINY)


def test_files_of_the_format_before_zip_load(tmp_path: Path) -> None:
    torch.save(original_weights(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert load_transformer(tmp_path / "old.pt", TINY).config.num_layers == 2
