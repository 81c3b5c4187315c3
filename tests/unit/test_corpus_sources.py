"""`reverie-encoder corpus` before anything is made: sources, lists, and what of a folder is missing."""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tiny_weights import write_tiny_weights

from encoder.__main__ import main
from encoder.commands import corpus as command
from encoder.corpus import Corpus, write_video
from generator.batch.job import Job, jobs_of
from generator.corpus.folder import WORK, collecting
from generator.corpus.making import JOB, missing, needs_encoder, recipe_of, worker_command
from generator.corpus.places import about_places, known_places
from generator.corpus.prompts import drawn
from generator.corpus.rollouts import add
from generator.errors import ConfigError

RECIPE = {"num_frames": 6, "window": {"top_k": None}}


def options_of(*words: object) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add(parser.add_subparsers())
    given = ["rollouts", "--prompts", "toy:2", "--out", "out", *map(str, words)]
    return parser.parse_args(given, argparse.Namespace(words=given, environment={}))


def write(out: Path, job: Job) -> None:
    about = {JOB: json.dumps(job.description)}
    write_video(out / f"{job.name}.safetensors", torch.zeros(6, 3, 2, 2), about)


@pytest.fixture
def jobs() -> list[Job]:
    return jobs_of(drawn(3, 0), [0, 1], ["native"], RECIPE)


def test_only_what_has_no_file_is_missing(tmp_path: Path, jobs: list[Job]) -> None:
    assert missing(jobs, tmp_path, replace=False) == jobs
    for job in jobs[1:4]:
        write(tmp_path, job)
    assert missing(jobs, tmp_path, replace=False) == [jobs[0], *jobs[4:]]


def test_a_file_that_was_made_otherwise_is_refused_by_field(tmp_path: Path, jobs: list[Job]) -> None:
    changed = jobs_of(drawn(3, 0), [0, 1], ["native"], {**RECIPE, "window": {"top_k": 3}})
    write(tmp_path, changed[2])
    with pytest.raises(ConfigError, match=rf"{jobs[2].name}\.safetensors has other window\.top_k"):
        missing(jobs, tmp_path, replace=False)
    assert missing(jobs, tmp_path, replace=True) == jobs


def test_a_file_that_is_no_video_is_refused(tmp_path: Path, jobs: list[Job]) -> None:
    write(tmp_path, jobs[0])
    path = tmp_path / f"{jobs[0].name}.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ConfigError, match="cannot be read"):
        missing(jobs, tmp_path, replace=False)


def test_one_process_collects_in_a_folder(tmp_path: Path) -> None:
    half = tmp_path / "a.safetensors.new"
    (tmp_path / WORK / "memory-1").mkdir(parents=True)
    half.write_bytes(b"half")
    with collecting(tmp_path) as work:
        assert not list(work.iterdir())
        assert not half.exists()
        with pytest.raises(ConfigError, match="another process"), collecting(tmp_path):
            pass
        assert work.exists()
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    write_video(path, torch.zeros(2, 3, 2, 2), {})

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    for name in ("a", "b"):
        with pytest.raises(OSError, match="No space"):
            write_video(tmp_path / f"{name}.safetensors", torch.ones(3, 3, 2, 2), {})
    (video,) = Corpus.open(tmp_path).videos
    assert torch.equal(video.latents(), torch.zeros(2, 3, 2, 2))


def test_places_are_those_of_the_camera() -> None:
    places = known_places("toy", "a village; pan right 3s, hold 2s, pan left 30s", 48)
    assert places is not None
    assert places.dtype == torch.int64
    assert places[:12].tolist() == list(range(12))
    assert places[12] == places[20] == 11
    assert len(places) == len(known_places("toy", "a village", 47)) + 1
    assert about_places(places) == {"view_cells": "8"}


@pytest.mark.parametrize(("backbone", "prompt"), [("longlive", "a village"), ("toy", "a giraffe")])
def test_places_that_nobody_knows(backbone: str, prompt: str) -> None:
    assert known_places(backbone, prompt, 12) is None
    assert about_places(None) == {}


def test_a_new_encoder_makes_no_other_corpus_where_it_has_no_part(tmp_path: Path) -> None:
    weights = write_tiny_weights(tmp_path)
    without = options_of("--weights", weights, "--method", "native", "--encoder", "avg-pool")
    with_one = options_of("--weights", weights, "--method", "longlive_rag")
    assert not needs_encoder(without.method)
    assert needs_encoder(with_one.method)
    before = recipe_of(without), recipe_of(with_one)
    (weights / "encoder.safetensors").write_bytes(b"another")
    after = recipe_of(without), recipe_of(with_one)
    assert before[0] == after[0]
    assert before[1]["weights"] != after[1]["weights"]
    model = next((weights / "transformer").glob("*.safetensors"))
    model.write_bytes(model.read_bytes() + b"\n")
    assert recipe_of(without) != before[0]


def test_workers_read_the_same_options() -> None:
    options = options_of("--seeds", "0-2", "--device", "cuda:0,cuda:1", "-K", "4", "--workers", "2")
    words = worker_command(options, RECIPE)(2)
    assert words[1:3] == ["-m", "encoder"]
    parser = argparse.ArgumentParser()
    add(parser.add_subparsers())
    theirs = vars(parser.parse_args(words[3:]))
    mine = {name: value for name, value in vars(options).items() if name not in ("words", "environment")}
    assert theirs == {**mine, "worker": 2, "recipe": json.dumps(RECIPE)}


def test_nothing_is_made_where_there_is_no_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["corpus", "rollouts", "--prompts", "toy:none", "--out", str(out)]) == 1
    assert main(["corpus", "rollouts", "--prompts", str(tmp_path / "none.txt"), "--out", str(out)]) == 1
    errors = capsys.readouterr().err
    assert "toy:COUNT" in errors
    assert "none.txt" in errors
    assert not out.exists()


def test_a_choice_among_frames_that_are_not_searched_for_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["corpus", "rollouts", "--prompts", "toy:2", "--out", str(tmp_path / "out")]
    assert main([*words, "--method", "random_memory", "--min-gap", "3"]) == 1
    assert "need a method that searches, got random_memory" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_lies_in_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(tmp_path / "a.safetensors", torch.zeros(9, 3, 2, 2).bfloat16(), {})
    write_video(tmp_path / "b.safetensors", torch.zeros(3, 3, 2, 2), {}, torch.arange(3))
    assert main(["corpus", "list", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "a: 9 frames, bfloat16",
        "b: 3 frames, float32, places",
        "2 videos, 1 with places, 12 frames of 3 x 2 x 2, 360 bytes",
    ]
    assert main(["corpus", "list", str(tmp_path / "none")]) == 1
    assert "has no latents" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ((), "comes with the generator, which is not installed here"),
        ((EntryPoint("pool", "nowhere.corpus:add", command.GROUP),), "No module named 'nowhere'"),
    ],
)
def test_a_source_that_is_not_installed(
    found: tuple, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "entry_points", lambda group: found if group == command.GROUP else ())
    assert main(["corpus", "pool", "--memory", "127.0.0.1:50051", "--out", "out"]) == 1
    assert words in capsys.readouterr().err


def test_sources_of_others_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mine", "their_package:add", command.GROUP)
    monkeypatch.setitem(sys.modules, "their_package", SimpleNamespace(add=add_mine))
    monkeypatch.setattr(command, "entry_points", lambda group: (entry,) if group == command.GROUP else ())
    assert main(["corpus", "mine"]) == 7


def add_mine(sources) -> None:
    sources.add_parser("mine").set_defaults(execute=lambda _: 7)
