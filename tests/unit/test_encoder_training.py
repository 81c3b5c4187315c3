"""Training: the committed curve, going on after kill -9 bit for bit, and what it refuses."""

from __future__ import annotations

import math
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import encoder_trainings
import pytest
import torch
from encoder_trainings import PANS, SHORT, train, trainer

from encoder import checkpoint
from encoder.configs.debug import config as debug
from encoder.corpus import Corpus, write_video
from encoder.training import curve
from encoder.training.config import TrainingError
from encoder.training.run_folder import RunFolder
from encoder.training.snapshot import Snapshot
from encoder.training.trainer import Diverged, accelerator_for, learning_rate

RESULTS = ("state.safetensors", "best.safetensors", "last.safetensors", "curve.csv")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Sums are the same in every process, and small tensors do not wait for a second core."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("uninterrupted")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    train(run)
    torch.set_num_threads(before)
    return run


def test_the_debug_training_repeats_its_curve(tmp_path: Path) -> None:
    rows = train(tmp_path, debug).rows
    expected = curve.read_csv(PANS / "curve.csv")
    assert len(rows) == len(expected) == debug.epochs
    # Other orders of summation stay within a hundredth of this; no decay, no clipping, other betas, a
    # learning rate or weight 1 % off, or a margin 0.01 off are at least six times as far.
    for row, before in zip(rows, expected, strict=True):
        assert row == pytest.approx(before, rel=2e-3, abs=3e-4)


def test_a_run_leaves_its_files(uninterrupted: Path) -> None:
    run = RunFolder(uninterrupted)
    files = {*RESULTS, "config.json", "corpus.json", "curve.png"}
    assert {path.name for path in uninterrupted.iterdir()} == files
    assert run.config() == SHORT
    assert (uninterrupted / "curve.png").read_bytes().startswith(b"\x89PNG")
    rows = curve.read_csv(uninterrupted / "curve.csv")
    assert [(row["epoch"], row["steps"]) for row in rows] == [(0, 4), (1, 8), (2, 12), (3, 16)]
    snapshot = Snapshot.load(run.state)
    assert [dict(row) for row in snapshot.rows] == rows
    assert snapshot.best == min(row["validation_total"] for row in rows)
    last = checkpoint.load(run.last)
    assert last.config == SHORT.model
    for name, weight in last.state_dict().items():
        assert torch.equal(weight, snapshot.model[name])


def test_the_best_epoch_is_kept(tmp_path: Path) -> None:
    """The second of three epochs: the third is spoiled."""
    steady = replace(SHORT, schedule="constant", epochs=3)
    training = trainer(tmp_path / "whole", steady)

    def spoil(steps: int, _: int, __: curve.Row | None) -> None:
        if steps == 9:
            training.model.decoder.final[-1].bias.data += 3

    training.train(spoil)
    run, until_best = training.run, train(tmp_path / "until", replace(steady, epochs=2)).run
    assert run.best.read_bytes() == until_best.last.read_bytes()
    assert run.last.read_bytes() != until_best.last.read_bytes()
    assert training.best == Snapshot.load(until_best.state).best == trainer(run.path, steady).best


@pytest.mark.parametrize(("moment", "number", "epochs"), [("step", 2, 0), ("step", 10, 2), ("state", 3, 2)])
def test_a_killed_training_goes_on_bit_for_bit(
    uninterrupted: Path, tmp_path: Path, moment: str, number: int, epochs: int
) -> None:
    command = [sys.executable, encoder_trainings.__file__, str(tmp_path), moment, str(number)]
    killed = subprocess.run(command, cwd=PANS.parents[2], env=environment(), timeout=120)
    assert killed.returncode == -signal.SIGKILL
    run = RunFolder(tmp_path)
    assert run.state.exists() == bool(epochs)
    again = trainer(tmp_path)
    assert again.epochs_done == epochs
    again.train(lambda *_: None)
    assert_same(tmp_path, uninterrupted)


def test_a_training_goes_on_after_any_epoch(uninterrupted: Path, tmp_path: Path) -> None:
    def interrupt(_: int, __: int, row: curve.Row | None) -> None:
        if row is not None:
            raise KeyboardInterrupt

    for epochs in range(1, SHORT.epochs + 1):
        with pytest.raises(KeyboardInterrupt):
            trainer(tmp_path).train(interrupt)
        assert len(curve.read_csv(tmp_path / "curve.csv")) == epochs
    train(tmp_path)
    assert_same(tmp_path, uninterrupted)


def test_a_corpus_that_stays_in_its_files_trains_the_same(uninterrupted: Path, tmp_path: Path) -> None:
    training = trainer(tmp_path, memory_bytes=0)
    assert not training.reader.in_memory
    training.train(lambda *_: None)
    assert_same(tmp_path, uninterrupted)


def test_another_configuration_is_refused_by_field(uninterrupted: Path, tmp_path: Path) -> None:
    shutil.copytree(uninterrupted, tmp_path / "run")
    other = replace(SHORT, learning_rate=1e-4, losses=replace(SHORT.losses, delta_margin=0.5))
    with pytest.raises(TrainingError) as error:
        trainer(tmp_path / "run", other)
    assert "losses.delta_margin is 0.5, was 0.85; learning_rate is 0.0001, was 0.003" in str(error.value)
    with pytest.raises(TrainingError, match="configuration: epochs is 5, was 4"):
        trainer(tmp_path / "run", replace(SHORT, epochs=5))
    assert_same(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("change", ["value", "missing", "more"])
def test_another_corpus_is_refused_by_video(uninterrupted: Path, tmp_path: Path, change: str) -> None:
    shutil.copytree(uninterrupted, tmp_path / "run")
    shutil.copytree(PANS, tmp_path / "pans")
    video = Corpus.open(tmp_path / "pans").videos[3]
    if change == "value":
        write_video(video.path, video.latents() * 1.25, video.metadata)
    elif change == "missing":
        video.path.unlink()
    else:
        shutil.copy(video.path, video.path.with_name("pan-03b.safetensors"))
    with pytest.raises(TrainingError, match=r"corpus: .* 1 videos are new, missing or changed, .*pan-03"):
        trainer(tmp_path / "run", corpus=tmp_path / "pans")


def test_frames_of_another_shape_are_refused(tmp_path: Path) -> None:
    larger = replace(SHORT, model=replace(SHORT.model, height=16))
    with pytest.raises(TrainingError, match=r"model is for latent frames of \[16, 16, 8\]"):
        trainer(tmp_path, larger)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_half_precision_needs_a_device() -> None:
    with pytest.raises(TrainingError, match="precision is fp16"):
        accelerator_for(replace(SHORT, precision="fp16"))


@pytest.mark.parametrize("term", ["recon", "gradient"])
def test_a_loss_that_is_no_number_ends_the_training(tmp_path: Path, term: str) -> None:
    training = trainer(tmp_path)

    def spoil(steps: int, _: int, __: curve.Row | None) -> None:
        if steps == 9 and term == "recon":
            training.model.decoder.final[-1].bias.data[0] = math.nan
        elif steps == 9:
            training.model.encoder.fc.bias.register_hook(lambda gradient: gradient * math.inf)

    with pytest.raises(Diverged, match=f"{term} is (nan|inf) in step 9, epoch 2; .* has the 2 epochs"):
        training.train(spoil)
    assert len(curve.read_csv(tmp_path / "curve.csv")) == 2
    assert (tmp_path / "curve.png").exists()
    snapshot = Snapshot.load(training.run.state)
    assert snapshot.epochs_done == 2
    for weights in (snapshot.model, checkpoint.load(training.run.best).state_dict()):
        assert all(tensor.isfinite().all() for tensor in weights.values())


def test_a_validation_that_is_no_number_is_not_kept(tmp_path: Path) -> None:
    training = trainer(tmp_path)

    def spoil(steps: int, _: int, __: curve.Row | None) -> None:
        if steps == 7:
            training.model.decoder.final[-1].register_forward_hook(
                lambda module, _, output: output if module.training else output * math.nan
            )

    with pytest.raises(Diverged, match="recon is nan in validation 1"):
        training.train(spoil)
    assert Snapshot.load(training.run.state).epochs_done == 1


def test_a_state_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    train(tmp_path, replace(SHORT, epochs=1))
    state = tmp_path / "state.safetensors"
    for content in (b"", b"garbage", state.read_bytes()[:-1]):
        state.write_bytes(content)
        with pytest.raises(TrainingError, match=r"state\.safetensors is not the state of a training"):
            trainer(tmp_path, replace(SHORT, epochs=1))


def test_the_rate_follows_the_schedule_over_all_epochs(tmp_path: Path) -> None:
    training, rates = trainer(tmp_path), []
    training.train(lambda *_: rates.append(training.optimizer.param_groups[0]["lr"]))
    assert rates == [learning_rate(SHORT, step, 16) for step in range(16)]


def test_the_cosine_schedule_ends_at_nothing() -> None:
    rates = [learning_rate(SHORT, step, 100) / SHORT.learning_rate for step in (0, 25, 50, 75, 100)]
    assert rates == pytest.approx([1, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125), 0])
    assert learning_rate(debug, 99, 100) == debug.learning_rate


def environment() -> dict[str, str]:
    root = PANS.parents[2]
    return {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin"}


def assert_same(run: Path, other: Path) -> None:
    for name in RESULTS:
        assert (run / name).read_bytes() == (other / name).read_bytes(), name
