"""Generators and memories are killed at random blocks; no bit of what they make may depend on it."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
import torch
from generators import GeneratorProcess
from safetensors.torch import load_file
from serving import ServerProcess
from tiny_weights import write_tiny_weights

from generator.history.past import handles_of
from generator.history.payloads import latents_of
from generator.records.record import RolloutRecord
from memory_service.client import MemoryClient
from memory_service.types import LATENT, VideoKey

FRAMES = 60
PROMPT = "a snowy village at dusk; pan right 3s, pan left 3s"
METHODS = ("longlive_rag", "deep_forcing")


class Stage:
    """A memory service, the folder of results and generators that share them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.weights = write_tiny_weights(folder / "weights")
        self.server = ServerProcess(folder / "data")
        self.address = self.server.address

    def restart(self) -> None:
        """A new server process on the same data, at the same address."""
        self.server = ServerProcess(self.folder / "data", self.address)

    def generator(self, *words: object, out: str = "out") -> GeneratorProcess:
        places = ["--memory", self.address, "--weights", self.weights, "--out", self.folder / out]
        return GeneratorProcess(self.folder / "generators.log", *words, *places)

    def begun(self, video: str, method: str = "longlive_rag", *words: object) -> GeneratorProcess:
        wanted = ["--prompt", PROMPT, "--frames", FRAMES, "--video", video, "--method", method]
        return self.generator(*wanted, *words)

    def latents(self, video: str, out: str = "out") -> torch.Tensor:
        return load_file(self.folder / out / f"{video}.latents.safetensors")["latents"]

    def record(self, video: str) -> RolloutRecord:
        return RolloutRecord.read(self.folder / "out" / f"{video}.json")

    def in_memory(self, video: str) -> torch.Tensor:
        """All latents that the memory has of a video."""
        with MemoryClient(self.address) as memory:
            info = memory.get_video(VideoKey("default", video))
            frames = memory.fetch(handles_of(memory, info), [LATENT])
            return latents_of([bytes(frame.parts[LATENT]) for frame in frames], info.spec)


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    stage = Stage(tmp_path_factory.mktemp("survival"))
    yield stage
    stage.server.kill()


@pytest.fixture(scope="module")
def whole(stage):
    """Method -> latents of a rollout that nothing happened to."""
    for method in METHODS:
        with stage.begun(f"whole-{method}", method) as generator:
            assert generator.wait() == 0, generator.errors.read_text()
    return {method: stage.latents(f"whole-{method}") for method in METHODS}


@pytest.mark.parametrize("seed", range(4))
def test_a_generator_that_is_killed_again_and_again(stage, whole, seed) -> None:
    chance = random.Random(seed)
    method, video = METHODS[seed % len(METHODS)], f"killed-{seed}"
    generator = stage.begun(video, method)
    deaths = 0
    while deaths < 3:
        with generator:
            generator.reach(chance.randrange(3, FRAMES - 9))
            time.sleep(chance.uniform(0, 0.03))
            if generator.kill() != -signal.SIGKILL:
                break
        deaths += 1
        generator = stage.generator("--resume", video)
    with generator:
        assert generator.wait() == 0, generator.errors.read_text()
    assert deaths > 0
    assert stage.latents(video).equal(whole[method])
    assert stage.in_memory(video).equal(whole[method])


def test_a_branch_whose_generator_is_killed(stage, whole) -> None:
    words = "--prompt", "a summer castle at noon", "--video", "branch"
    with stage.generator("--fork", "whole-longlive_rag@30", *words, out="first") as generator:
        generator.reach(42)
        generator.kill()
    with stage.generator("--resume", "branch") as generator:
        assert generator.wait() == 0, generator.errors.read_text()
    with stage.generator("--fork", "whole-longlive_rag@30", *words[:2], "--video", "other") as generator:
        assert generator.wait() == 0, generator.errors.read_text()
    branch = stage.latents("branch")
    assert branch.equal(stage.latents("other"))
    assert branch[:30].equal(whole["longlive_rag"][:30])
    assert not branch[30:33].equal(whole["longlive_rag"][30:33])


@pytest.mark.parametrize("seed", range(2))
def test_a_memory_that_is_killed_and_back_in_time_changes_nothing(stage, whole, seed) -> None:
    chance = random.Random(seed)
    with stage.begun(f"restarted-{seed}") as generator:
        generator.reach(chance.randrange(3, FRAMES - 6))
        time.sleep(chance.uniform(0, 0.03))
        stage.server.kill()
        stage.restart()
        assert generator.wait() == 0, generator.errors.read_text()
    assert stage.latents(f"restarted-{seed}").equal(whole["longlive_rag"])
    assert stage.in_memory(f"restarted-{seed}").equal(whole["longlive_rag"])


def test_a_generator_and_its_memory_killed_at_once(stage, whole) -> None:
    with stage.begun("both") as generator:
        generator.reach(33)
        stage.server.kill()
        generator.kill()
    stage.restart()
    with stage.generator("--resume", "both") as generator:
        assert generator.wait() == 0, generator.errors.read_text()
    assert stage.latents("both").equal(whole["longlive_rag"])


@pytest.mark.parametrize("seed", range(2))
def test_a_rollout_that_does_without_its_memory_for_a_while(stage, whole, seed) -> None:
    chance, video = random.Random(seed), f"degraded-{seed}"
    words = "--on-memory-loss", "degrade", "--memory-patience", "0.2"
    with stage.begun(video, "longlive_rag", *words) as generator:
        generator.reach(chance.randrange(24, 40))
        time.sleep(chance.uniform(0, 0.03))
        stage.server.kill()
        generator.reach(FRAMES - 6)
        stage.restart()
        assert generator.wait() == 0, generator.errors.read_text()
    made = stage.latents(video)
    assert stage.in_memory(video).equal(made), "every block exactly once, in order"
    affected = [block for block in stage.record(video).blocks if block.degraded]
    said = generator.errors.read_text()
    assert affected
    assert all(not block.retrieved for block in affected)
    assert all(f"degraded video=default/{video} frames=[{b.start}, {b.stop})" in said for b in affected)
    assert f"memory is back video=default/{video}" in said
    first = affected[0].start
    assert made[:first].equal(whole["longlive_rag"][:first])
    with stage.generator("--resume", video, out="again") as generator:
        assert generator.wait() == 0, generator.errors.read_text()
    assert stage.latents(video, "again").equal(made)


def test_a_generator_that_was_only_asleep_is_fenced(stage, whole) -> None:
    with stage.begun("asleep") as zombie:
        zombie.reach(27)
        zombie.send(signal.SIGSTOP)
        with stage.generator("--resume", "asleep", out="taken-over") as generator:
            generator.reach(42)
            zombie.send(signal.SIGCONT)
            assert zombie.wait() == 1
            assert generator.wait() == 0, generator.errors.read_text()
    assert "is over" in zombie.errors.read_text(), "its epoch"
    assert stage.latents("asleep", "taken-over").equal(whole["longlive_rag"])
    assert stage.in_memory("asleep").equal(whole["longlive_rag"])
