"""Corpora rolled out by real worker processes, with an untrained model of two layers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from batches import FOREST, VILLAGE
from processes import processes_about
from published_weights import write_published
from safetensors.torch import load_file
from tiny_weights import write_tiny_weights

from encoder.__main__ import main
from encoder.corpus import Corpus
from generator.toy.prompts import parse

FRAMES = 24
GIRAFFE = '{"name": "giraffe", "prompt": "a giraffe"}'
NAMES = [f"{prompt}-s{seed}-native" for prompt in ("forest", "village") for seed in (0, 3)]
PROCESSES_END_S = 10.0


class Corpora:
    """Collects corpora with the tiny weights."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.weights = folder, write_tiny_weights(folder / "weights")

    def command(self, out: Path, *words: object, prompts: Sequence[str] = (VILLAGE, FOREST)) -> list[str]:
        """`words` come last, so that they win."""
        listed = self.folder / f"{out.name}-{len(prompts)}.jsonl"
        listed.write_text("\n".join(prompts))
        fixed = ["--prompts", listed, "--out", out, "--weights", self.weights, "--frames", FRAMES]
        return [*reverie("encoder", "corpus", "rollouts"), *map(str, [*fixed, "--seeds", "0,3", *words])]

    def collect(self, out: Path, *words: object, prompts: Sequence[str] = (VILLAGE, FOREST)) -> str:
        """What was printed."""
        return run(self.command(out, *words, prompts=prompts))


def reverie(program: str, *words: str) -> list[str]:
    return [sys.executable, "-m", program, *words]


def run(command: list[str], code: int = 0) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.glob("*.safetensors")}


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Corpora:
    return Corpora(tmp_path_factory.mktemp("corpora"))


@pytest.fixture(scope="module")
def whole(corpora: Corpora) -> tuple[Path, str]:
    """The folder of a finished corpus, and what was printed."""
    out = corpora.folder / "whole"
    return out, corpora.collect(out, "--workers", 2)


def test_a_file_per_prompt_and_seed(whole: tuple[Path, str]) -> None:
    out, printed = whole
    assert {path.name for path in out.iterdir()} == {f"{name}.safetensors" for name in NAMES}
    corpus = Corpus.open(out)
    assert [video.name for video in corpus.videos] == NAMES
    assert {(video.num_frames, video.latent_shape) for video in corpus.videos} == {(FRAMES, (16, 8, 8))}
    assert len({video.latents().sum().item() for video in corpus.videos}) == len(NAMES)
    assert "4 made, 0 there before, 0 failed" in printed
    assert "s left" in printed
    assert {line[:9] for line in printed.splitlines() if line.startswith("worker")} == {
        "worker 1:",
        "worker 2:",
    }


def test_files_say_what_they_were_made_of(whole: tuple[Path, str]) -> None:
    village = Corpus.open(whole[0]).videos[3]
    prompt = json.loads(VILLAGE)["prompt"]
    told = village.metadata
    expected = {"prompt": prompt, "seed": "3", "method": "native", "backbone": "toy", "frames": str(FRAMES)}
    assert expected.items() <= told.items()
    assert (told["latent_fps"], told["window_frames"], told["view_cells"]) == ("4", "12", "8")
    assert len(told["weights"]) == 16
    job = json.loads(told["job"])
    assert (job["name"], job["num_frames"], set(job["weights"])) == (
        village.name,
        FRAMES,
        {"transformer", "encoder"},
    )
    places = village.places()
    assert places is not None
    assert places.tolist() == parse(prompt).camera_cells(FRAMES // 3).tolist()


@pytest.mark.parametrize("method", ["native", "longlive_rag"])
def test_latents_are_those_of_the_generator(
    corpora: Corpora, whole: tuple[Path, str], method: str, tmp_path: Path
) -> None:
    """Corpus and generator are two ways to the same rollout."""
    out, window = whole[0], []
    if method != "native":
        out, window = tmp_path / "corpus", ["-R", "0", "-K", "3"]
        corpora.collect(out, "--method", method, *window, "--seeds", "3", prompts=[VILLAGE])
    words = ["--prompt", json.loads(VILLAGE)["prompt"], "--seed", "3", "--frames", str(FRAMES)]
    words += ["--threads", "1"]
    words += ["--method", method, *window, "--weights", str(corpora.weights), "--video", "v"]
    run(reverie("generator", "run", *words, "--out", str(tmp_path / "run")))
    made = load_file(tmp_path / "run" / "v.latents.safetensors")["latents"]
    assert torch.equal(Corpus.open(out).videos[-1].latents(), made)


def test_only_what_is_missing_is_made_and_a_prompt_that_fails_stops_no_other(
    corpora: Corpora, whole: tuple[Path, str], tmp_path: Path
) -> None:
    files = contents(whole[0])
    for name, data in list(files.items())[1:]:
        (tmp_path / name).write_bytes(data)
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    printed = run(corpora.command(tmp_path, "--workers", 2, prompts=(GIRAFFE, VILLAGE, FOREST)), code=1)
    assert "3 to make, 3 there" in printed
    assert "1 made, 3 there before, 2 failed" in printed
    assert "failed: giraffe-s0-native: UnknownWordError: unknown word 'giraffe'" in printed
    assert contents(tmp_path) == files
    assert kept.items() <= {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}.items()


@pytest.mark.parametrize("victim", ["parent", "worker"])
def test_kill_9_leaves_nothing_half_done(
    corpora: Corpora, whole: tuple[Path, str], tmp_path: Path, victim: str
) -> None:
    command = corpora.command(tmp_path)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as running:
        assert running.stdout is not None
        begun = 0
        while begun < 2:
            line = running.stdout.readline()
            assert line, "it ended before it was killed"
            begun += f" 0/{FRAMES}" in line
        workers = [number for number, words in processes_about(tmp_path).items() if "--worker=" in words]
        os.kill(running.pid if victim == "parent" else workers[0], signal.SIGKILL)
        rest = running.stdout.read()
    assert running.returncode == (-signal.SIGKILL if victim == "parent" else 0), rest
    if victim == "parent":
        deadline = time.monotonic() + PROCESSES_END_S
        while processes_about(tmp_path):
            assert time.monotonic() < deadline, "a worker outlives its parent"
            time.sleep(0.05)
        there = contents(tmp_path)
        assert 0 < len(there) < len(NAMES)
        assert there.items() <= contents(whole[0]).items()
        assert f"{len(there)} there before" in corpora.collect(tmp_path)
    assert contents(tmp_path) == contents(whole[0])
    assert len(list(tmp_path.iterdir())) == len(NAMES), "and nothing else"


def test_another_length_is_refused(
    corpora: Corpora, whole: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(whole[0])
    assert main(corpora.command(whole[0], "--frames", 6)[3:]) == 1
    assert "village-s0-native.safetensors has other num_frames" in capsys.readouterr().err
    assert contents(whole[0]) == before


def test_a_published_backbone_without_an_encoder(tmp_path: Path) -> None:
    """As the paper has it: rollouts of LongLive with three sink frames, of a share of the prompts."""
    root, out = write_published(tmp_path / "weights"), tmp_path / "out"
    (tmp_path / "list.txt").write_text("\n".join(f"a harbour with {number} boats" for number in range(10)))
    words = ["--prompts", tmp_path / "list.txt", "--share", 0.1, "--backbone", "longlive", "--sink", 3]
    words += ["--weights", root, "--text-cache", tmp_path / "text", "--device", "cpu", "--frames", 15]
    words += ["--height", 32, "--width", 48, "--out", out]
    run([*reverie("encoder", "corpus", "rollouts"), *map(str, words)])
    (video,) = Corpus.open(out).videos
    assert (video.num_frames, video.latent_shape, video.dtype) == (15, (16, 4, 6), torch.bfloat16)
    assert (video.metadata["sink_frames"], video.metadata["encoder"]) == ("3", "avg-pool/16")
    assert video.places() is None
