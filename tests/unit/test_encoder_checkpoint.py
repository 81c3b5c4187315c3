"""Autoencoder checkpoints: ours and the published layout, both strict."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from encoder.checkpoint import CheckpointError, load, save
from encoder.model import LatentAE, LatentAEConfig

CONFIG = LatentAEConfig(height=8, width=12, embedding_dim=32, hidden_dims=(16, 32))
PUBLISHED = {
    "in_channels": 16,
    "spatial_h": 8,
    "spatial_w": 12,
    "latent_dim": 32,
    "hidden_dims": [16, 32],
    "lr": 3e-4,
    "data_dir": "datasets",
    "use_amp": True,
}


def published(model: LatentAE) -> dict:
    optimizer = torch.optim.AdamW(model.parameters())
    return {
        "epoch": 399,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": {"scale": 65536.0},
        "config": PUBLISHED,
        "val_loss": 0.1,
    }


def test_own_files_come_back(tmp_path: Path) -> None:
    model = LatentAE(CONFIG)
    save(model, tmp_path / "ae.safetensors")
    again = load(tmp_path / "ae.safetensors")
    assert again.config == CONFIG
    assert again.encoder_id == model.encoder_id
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_published_files_load(tmp_path: Path, dtype: torch.dtype) -> None:
    model = LatentAE(CONFIG).to(dtype)
    torch.save(published(model), tmp_path / "ae_latent_mem.pt")
    again = load(tmp_path / "ae_latent_mem.pt")
    assert again.config == CONFIG
    assert again.encoder_id == model.encoder_id
    assert {p.dtype for p in again.parameters()} == {torch.float32}


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    content = published(LatentAE(CONFIG))
    content["model"] = dict(content["model"])
    content["model"]["encoder.surplus"] = content["model"].pop("encoder.fc.bias")
    content["model"]["encoder.fc.weight"] = torch.zeros(2, 2)
    torch.save(content, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError) as error:
        load(tmp_path / "bad.pt")
    message = str(error.value)
    assert "missing: encoder.fc.bias" in message
    assert "unexpected: encoder.surplus" in message
    assert "encoder.fc.weight is [2, 2], expected [32, 32]" in message


def test_configurations_must_be_complete(tmp_path: Path) -> None:
    content = published(LatentAE(CONFIG))
    content["config"] = {name: value for name, value in PUBLISHED.items() if name != "latent_dim"}
    torch.save(content, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError, match="lacks latent_dim"):
        load(tmp_path / "bad.pt")


def test_other_files_are_refused(tmp_path: Path) -> None:
    torch.save({"generator": {}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="'model' and 'config'"):
        load(tmp_path / "other.pt")
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match="metadata"):
        load(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError, match="autoencoder"):
        load(tmp_path / "nowhere.pt")


@pytest.mark.parametrize("name", ["bad.pt", "bad.safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04", b"\x80\x02garbage", bytes(1000)])
def test_unreadable_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        load(tmp_path / name)


@pytest.mark.parametrize(
    "entries",
    [
        {"model": None},
        {"model": {"encoder.fc.bias": None}},
        {"config": None},
        {"config": PUBLISHED | {"hidden_dims": None}},
        {"config": PUBLISHED | {"spatial_h": "eight"}},
    ],
)
def test_entries_of_another_type_are_refused(tmp_path: Path, entries: dict) -> None:
    torch.save(published(LatentAE(CONFIG)) | entries, tmp_path / "bad.pt")
    with pytest.raises(CheckpointError):
        load(tmp_path / "bad.pt")


def test_metadata_that_is_no_configuration_is_refused(tmp_path: Path) -> None:
    for config in ("{", "null", "{}"):
        save_file({"weight": torch.zeros(1)}, tmp_path / "bad.safetensors", metadata={"config": config})
        with pytest.raises(CheckpointError, match=r"bad\.safetensors"):
            load(tmp_path / "bad.safetensors")


def test_files_of_the_format_before_zip_load(tmp_path: Path) -> None:
    content = published(LatentAE(CONFIG))
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert load(tmp_path / "old.pt").config == CONFIG


def test_a_name_that_would_be_read_as_the_published_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"ae\.pt: expected a name that ends in \.safetensors"):
        save(LatentAE(CONFIG), tmp_path / "ae.pt")
    assert not list(tmp_path.iterdir())
