"""A story told by the command line: watched while it is made, killed over its turns, and resumed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch
from generators import GeneratorProcess
from safetensors.torch import load_file
from tiny_weights import write_tiny_weights

from generator.records.record import RolloutRecord
from generator.records.video import read_frames

FRAMES = 60
STORY = """\
- a village at noon; pan right 3s, pan left 3s
- {at: 4.2s, prompt: a village at night}
- {at: 9s, prompt: a winter forest at dusk, cut: true}
"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    return write_tiny_weights(tmp_path_factory.mktemp("weights"))


class Stage:
    """A folder with a memory of its own that one generator after the other opens."""

    def __init__(self, folder: Path, weights: Path) -> None:
        self.folder, self.weights = folder, weights
        self.story = folder / "story.yaml"
        self.story.write_text(STORY)

    def generator(self, *words: object) -> GeneratorProcess:
        places = ["--memory", f"embedded:{self.folder / 'memory'}", "--out", self.folder]
        return GeneratorProcess(self.folder / "log", *words, *places, "--weights", self.weights)

    def told(self, video: str, *words: object) -> GeneratorProcess:
        return self.generator("--schedule", self.story, "--frames", FRAMES, "--video", video, *words)

    def latents(self, video: str) -> torch.Tensor:
        return load_file(self.folder / f"{video}.latents.safetensors")["latents"]


@pytest.fixture
def stage(tmp_path, weights) -> Stage:
    return Stage(tmp_path, weights)


def test_a_story_is_watched_killed_and_resumed(stage) -> None:
    choice = ("--old-history", "fade", "--fade", "0.8")
    with stage.told("whole", *choice) as generator:
        assert generator.wait() == 0, generator.errors.read_text()
    with stage.told("killed", *choice) as generator:
        generator.reach(39)
        generator.send(signal.SIGSTOP)
        seen = len(list(read_frames(stage.folder / "killed.mp4")))
        assert generator.frames - 1 <= seen < FRAMES, "all that is told to be done, but the last"
    assert len(list(read_frames(stage.folder / "killed.mp4"))) == seen, "a crash takes no frame"
    with stage.generator("--resume", "killed") as generator:
        assert generator.wait() == 0, generator.errors.read_text()
    assert torch.equal(stage.latents("killed"), stage.latents("whole"))
    record = RolloutRecord.read(stage.folder / "killed.json")
    assert [(turn.block, turn.asked_s, turn.cut) for turn in record.turns] == [
        (6, 4.2, False),
        (12, 9.0, True),
    ]
    assert len(list(read_frames(stage.folder / "killed.mp4"))) == FRAMES


def test_the_three_ways_to_tell_it_make_the_same_video(stage) -> None:
    ways = {
        "file": ["--schedule", stage.story],
        "options": [
            *("--prompt", "a village at noon; pan right 3s, pan left 3s"),
            *("--prompt", "6b:a village at night"),
            *("--prompt", "9s#:a winter forest at dusk"),
        ],
        "scenes": [
            "--scenes",
            "a village at noon; pan right 3s, pan left 3s[4.6s] | a village at night[4.5s#] | "
            "a winter forest at dusk[1s]",
        ],
    }
    for video, words in ways.items():
        with stage.generator(
            *words, "--frames", FRAMES, "--video", video, "--method", "infinity_rope"
        ) as made:
            assert made.wait() == 0, made.errors.read_text()
    first = stage.latents("file")
    assert all(torch.equal(stage.latents(video), first) for video in ways)


def test_a_story_that_cannot_be_told_is_one_line_and_no_memory(stage) -> None:
    with stage.generator(
        "--prompt", "a village", "--prompt", "30s:a castle", "--frames", FRAMES
    ) as generator:
        assert generator.wait() == 1
    assert "begins at block 40 (30 s); the video has 20 blocks (15 s)" in generator.errors.read_text()
    assert not (stage.folder / "memory").exists()
