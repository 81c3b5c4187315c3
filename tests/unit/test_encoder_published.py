"""Trainings in the reference's format: out and in again, and files as the reference itself writes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from encoder_trainings import PANS, SHORT, train, trainer

from encoder import checkpoint
from encoder.__main__ import main
from encoder.checkpoint import CheckpointError
from encoder.losses import LossConfig
from encoder.model import LatentAE, LatentAEConfig
from encoder.training import curve
from encoder.training.config import TrainingConfig
from encoder.training.published import import_training, training_config, training_values
from encoder.training.run_folder import RunFolder

MODEL = LatentAEConfig(height=8, width=8, embedding_dim=32, hidden_dims=(16,))
REFERENCE = {
    "data_dir": "datasets",
    "val_split": 0.2,
    "seq_len": 6,
    "in_channels": 16,
    "spatial_h": 8,
    "spatial_w": 8,
    "latent_dim": 32,
    "hidden_dims": [16],
    "batch_size": 64,
    "lr": 1e-3,
    "weight_decay": 1e-2,
    "epochs": 30,
    "delta_margin": 0.8,
    "delta_weight": 0.5,
    "delta_window": 2,
    "smooth_weight": 0.25,
    "grad_clip": 2.0,
    "use_amp": True,
    "log_every": 20,
    "seed": 7,
}
SCALER = {
    "scale": 1024.0,
    "growth_factor": 2.0,
    "backoff_factor": 0.5,
    "growth_interval": 2000,
    "_growth_tracker": 3,
}


def written_by_the_reference(path: Path) -> LatentAE:
    """A file of its fields, after one step of its optimizer."""
    model = LatentAE(MODEL)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    recon, _ = model(torch.randn(4, 16, 8, 8))
    recon.square().mean().backward()
    optimizer.step()
    content = {
        "epoch": 11,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scaler": SCALER,
        "config": REFERENCE,
        "val_loss": 0.75,
    }
    torch.save(content, path)
    return model


def test_a_file_of_the_reference_is_read(tmp_path: Path) -> None:
    model = written_by_the_reference(tmp_path / "ae.pt")
    config, snapshot = import_training(tmp_path / "ae.pt")
    assert config == TrainingConfig(
        model=MODEL,
        losses=LossConfig(delta_weight=0.5, delta_margin=0.8, delta_window=2, smooth_weight=0.25),
        clip_frames=6,
        batch_clips=64,
        validation_share=0.2,
        epochs=30,
        learning_rate=1e-3,
        weight_decay=1e-2,
        max_grad_norm=2.0,
        precision="fp16",
        seed=7,
    )
    assert (snapshot.epochs_done, snapshot.best, snapshot.scaler) == (12, None, SCALER)
    for name, weight in model.state_dict().items():
        assert torch.equal(snapshot.model[name], weight)
    assert snapshot.optimizer["decoder.fc.0.weight.exp_avg"].abs().max() > 0


@pytest.mark.parametrize(
    "config",
    [
        TrainingConfig(),
        replace(SHORT, losses=replace(SHORT.losses, smooth_form="squared"), precision="bf16"),
    ],
)
def test_every_field_survives(config: TrainingConfig) -> None:
    assert training_config(training_values(config)) == config


def test_a_training_goes_on_out_of_its_export_bit_for_bit(tmp_path: Path) -> None:
    """As `train` would have gone on itself; only the rows of the curve before stay behind."""
    whole = train(tmp_path / "whole")

    def stop(_: int, __: int, row: curve.Row | None) -> None:
        if row is not None and row["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "half").train(stop)
    file = tmp_path / "half.pt"
    assert main(["export", str(tmp_path / "half"), str(file)]) == 0
    assert main(["import", str(file), "--out", str(tmp_path / "again")]) == 0
    assert RunFolder(tmp_path / "again").config() == SHORT
    again = train(tmp_path / "again")
    assert again.run.last.read_bytes() == whole.run.last.read_bytes()
    assert again.rows == whole.rows[2:]
    assert again.best == min(row["validation_total"] for row in again.rows)
    assert again.run.best.exists()


def test_an_export_is_what_the_reference_reads(tmp_path: Path) -> None:
    run = train(tmp_path / "run", replace(SHORT, epochs=1)).run
    assert main(["export", str(run.path), str(tmp_path / "ae.pt")]) == 0
    content = torch.load(tmp_path / "ae.pt", weights_only=True)
    assert content["epoch"] == 0
    assert content["config"].keys() >= REFERENCE.keys() - {"data_dir", "log_every"}
    model = LatentAE(SHORT.model)
    model.load_state_dict(content["model"], strict=True)
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.load_state_dict(content["optimizer"])
    for parameter in model.parameters():
        assert optimizer.state[parameter]["exp_avg"].shape == parameter.shape
    assert checkpoint.load(tmp_path / "ae.pt").encoder_id == checkpoint.load(run.last).encoder_id


def test_weights_alone_are_exported_from_a_checkpoint(tmp_path: Path) -> None:
    model = LatentAE(MODEL)
    checkpoint.save(model, tmp_path / "ae.safetensors")
    assert main(["export", str(tmp_path / "ae.safetensors"), str(tmp_path / "ae.pt")]) == 0
    assert checkpoint.load(tmp_path / "ae.pt").encoder_id == model.encoder_id
    with pytest.raises(CheckpointError, match="not a training"):
        import_training(tmp_path / "ae.pt")


def test_a_model_that_the_reference_lacks_is_not_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint.save(LatentAE(replace(MODEL, keep_rows=True)), tmp_path / "ae.safetensors")
    assert main(["export", str(tmp_path / "ae.safetensors"), str(tmp_path / "ae.pt")]) == 1
    assert "expected keep_rows = False" in capsys.readouterr().err
    assert not (tmp_path / "ae.pt").exists()


@pytest.mark.parametrize(
    ("entry", "value", "expected"),
    [
        ("epoch", None, "not fit together"),
        ("model", {}, "missing: decoder"),
        ("optimizer", {}, "not fit together"),
        ("optimizer", {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": []}, "not fit together"),
        ("config", {**REFERENCE, "seq_len": 0}, "clip_frames"),
        ("config", {name: value for name, value in REFERENCE.items() if name != "lr"}, "lacks lr"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, entry: str, value: object, expected: str) -> None:
    written_by_the_reference(tmp_path / "ae.pt")
    content = torch.load(tmp_path / "ae.pt", weights_only=True)
    torch.save(content | {entry: value}, tmp_path / "ae.pt")
    with pytest.raises(CheckpointError, match=expected):
        import_training(tmp_path / "ae.pt")


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04", bytes(1000)])
def test_unreadable_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ae.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"ae\.pt"):
        import_training(tmp_path / "ae.pt")


def test_a_finished_training_is_imported_and_prolonged(tmp_path: Path) -> None:
    """Epochs may be added where nothing before depends on how many there are."""
    constant = replace(SHORT, schedule="constant", epochs=1)
    run = train(tmp_path / "run", constant).run
    assert main(["export", str(run.path), str(tmp_path / "ae.pt")]) == 0
    assert main(["import", str(tmp_path / "ae.pt"), "--out", str(tmp_path / "again")]) == 0
    words = ["train", "--cpu", "--corpus", str(PANS), "--out", str(tmp_path / "again")]
    assert main(words) == 0
    longer = train(tmp_path / "again", replace(constant, epochs=2))
    assert [row["epoch"] for row in longer.rows] == [1]
    whole = train(tmp_path / "whole", replace(constant, epochs=2))
    assert longer.run.last.read_bytes() == whole.run.last.read_bytes()


def test_a_folder_in_use_is_not_imported_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written_by_the_reference(tmp_path / "ae.pt")
    assert main(["import", str(tmp_path / "ae.pt"), "--out", str(tmp_path / "run")]) == 0
    state = (tmp_path / "run" / "state.safetensors").read_bytes()
    assert main(["import", str(tmp_path / "ae.pt"), "--out", str(tmp_path / "run")]) == 1
    assert "holds a training already" in capsys.readouterr().err
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == state
    assert main(["export", str(tmp_path), str(tmp_path / "out.pt")]) == 1
    assert "no training with a whole epoch" in capsys.readouterr().err
