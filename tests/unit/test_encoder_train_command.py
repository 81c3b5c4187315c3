"""`reverie-encoder train` from its command line: beginning, going on, and what it says when it cannot."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from encoder_trainings import PANS

from encoder.__main__ import main
from encoder.training import curve
from encoder.training.config import TrainingConfig
from encoder.training.run_folder import RunFolder

ROOT = PANS.parents[2]
SHORT = """
from dataclasses import replace
from encoder.configs.debug import config
config = replace(config, epochs={epochs}, clips_per_video=2)
"""


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "short.py"
    path.write_text(SHORT.format(epochs=2))
    return path


def words(run: Path, *more: object) -> list[str]:
    return ["train", "--cpu", "--corpus", str(PANS), "--out", str(run), *map(str, more)]


def test_the_same_command_goes_on(
    tmp_path: Path, config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(words(run, "--config", config_file)) == 0
    shown = capsys.readouterr().out
    assert "8 videos to train on, 2 held out, in memory; 2 epochs of 2 steps, 0 done" in shown
    assert "1 process of cpu, precision no" in shown
    assert "epoch 1: train " in shown
    assert "4 steps in" in shown
    assert len(curve.read_csv(run / "curve.csv")) == 2
    state = (run / "state.safetensors").read_bytes()
    assert main(words(run)) == 0
    assert "2 epochs of 2 steps, 2 done" in capsys.readouterr().out
    assert (run / "state.safetensors").read_bytes() == state


def test_what_is_wrong_is_said_in_a_line(
    tmp_path: Path, config_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(words(run, "--config", "nowhere")) == 1
    assert "config: nowhere is neither" in capsys.readouterr().err
    assert main(words(run)) == 1
    assert "precision is fp16" in capsys.readouterr().err
    assert main([*words(run, "--config", config_file), "--corpus", str(tmp_path)]) == 1
    assert f"{tmp_path} has no latents" in capsys.readouterr().err
    assert not run.exists()
    RunFolder(run).begin(TrainingConfig())
    assert main(words(run, "--config", config_file)) == 1
    assert "begun with another configuration: model.height is 8, was 60" in capsys.readouterr().err


def test_two_processes_train_what_one_does(tmp_path: Path, config_file: Path) -> None:
    """Each takes half of every batch; the means of both are those of the whole, but for rounding."""
    launch = "torch.distributed.run --standalone --nproc-per-node 2 -m encoder"
    both = [sys.executable, "-m", *launch.split(), *words(tmp_path / "two", "--config", config_file)]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}
    ran = subprocess.run(both, cwd=tmp_path, env=environment, timeout=280, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert "2 processes of cpu" in ran.stdout
    assert main(words(tmp_path / "one", "--config", config_file)) == 0
    two, one = (curve.read_csv(tmp_path / name / "curve.csv") for name in ("two", "one"))
    for row, expected in zip(two, one, strict=True):
        assert row == pytest.approx(expected, rel=1e-4, abs=1e-6)
