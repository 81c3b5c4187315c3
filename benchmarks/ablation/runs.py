"""Rolling out every story by every arm, in several processes; what is there already is not made again."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path

import matplotlib.image
import numpy as np
import torch

from benchmarks.ablation.arms import Arm
from benchmarks.ablation.measures import MEASURES, Worth, worth
from benchmarks.ablation.stories import Story
from encoder import checkpoint
from encoder.model import Encoder
from encoder.pooling import pool_named
from encoder.untrained import UNTRAINED
from generator.backbones import Backbone, toy
from generator.connect import EMBEDDED, connect
from generator.history.history import History, video_spec
from generator.history.past import Past
from generator.methods.context import Context
from generator.noise import SeededNoise
from generator.rollout import rollout
from generator.story.searching import NO_SEARCH
from generator.toy.codec import ToyCodec
from generator.toy.prompts import BLOCK_FRAMES
from generator.weights.weights_id import weights_id
from memory_service.memory import Memory
from memory_service.types import VideoKey, VideoSpec

STRIP_FRAMES = 20
"""Frames of a video in the picture that a run leaves."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One video of one arm."""

    arm: Arm
    story: Story
    num_frames: int
    weights: Path
    """Folder of the toy's weights."""
    encoders: Mapping[str, Path]
    """Name of an embedding -> its checkpoint."""
    out: Path

    @property
    def name(self) -> str:
        """Of its files: arm and story, and a hash of all that the numbers depend on."""
        depends = json.dumps(
            [
                asdict(self.arm),
                asdict(self.story),
                self.num_frames,
                _identity(self.weights),
                self._encoder_id(),
                MEASURES,
            ]
        )
        digest = hashlib.sha256(depends.encode()).hexdigest()[:12]
        return f"{re.sub(r'[^A-Za-z0-9.]+', '-', self.arm.name)}-{digest}"

    @property
    def result(self) -> Path:
        return self.out / f"{self.name}.json"

    def encoder(self) -> Encoder:
        """Raises CheckpointError, FileNotFoundError."""
        name = self.arm.encoder
        if name in UNTRAINED:
            return pool_named(name, _backbone(self.weights).geometry.latent_shape)
        return _loaded(self.encoders[name])

    def _encoder_id(self) -> str:
        return self.encoder().encoder_id


def run_all(jobs: Sequence[Job], workers: int) -> Iterator[tuple[Job, Worth]]:
    """Each job with its numbers, as they are done; those with a result on disk come first.

    Raises what a rollout raises; what was made until then stays.
    """
    missing = [job for job in jobs if not job.result.exists()]
    for job in jobs:
        if job not in missing:
            yield job, read(job.result)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(
        workers, mp_context=spawn, initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        running = {pool.submit(run, job): job for job in missing}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def read(path: Path) -> Worth:
    """The numbers of a result."""
    fields = json.loads(path.read_text())
    return Worth(**{**fields, "returns_db": tuple(map(tuple, fields["returns_db"]))})


def run(job: Job) -> Worth:
    """Roll out one video, measure it, and leave its numbers and a strip of its frames."""
    frames, contexts = roll(job)
    found = worth(frames, job.story.cells(job.num_frames).tolist(), job.story.scene, contexts)
    job.out.mkdir(parents=True, exist_ok=True)
    shown = frames[np.linspace(0, len(frames) - 1, STRIP_FRAMES).round().astype(int)]
    matplotlib.image.imsave(job.result.with_suffix(".png"), np.concatenate(shown, axis=1))
    unfinished = job.result.with_suffix(".tmp")
    unfinished.write_text(json.dumps(asdict(found)))
    unfinished.rename(job.result)
    return found


def roll(job: Job) -> tuple[np.ndarray, list[Context]]:
    """Pixel frames [n, 64, 64, 3] of the video, and what each block attended."""
    backbone, encoder, story = _backbone(job.weights), job.encoder(), job.story
    num_blocks = job.num_frames // backbone.window.block_frames
    policy = job.arm.policy(story.cells(job.num_frames).tolist(), story.given_frames)
    config = replace(backbone.config(policy), selection=job.arm.selection)
    shape = config.geometry.latent_shape
    noise = SeededNoise(
        story.prompt,
        story.seed,
        blocks=num_blocks,
        block_frames=config.window.block_frames,
        passes=len(config.sampling.steps),
        latent_shape=shape,
    )
    track = backbone.text.track(story.prompt, num_blocks)
    decode = backbone.decoder.stream()
    spec, key = video_spec(encoder, shape, backbone.model.dtype), VideoKey("ablation", job.name)
    with (
        tempfile.TemporaryDirectory(prefix="reverie-ablation-") as folder,
        closing(connect(EMBEDDED + folder)) as memory,
        History(memory, key, spec, past=given_past(job, memory, key, spec, encoder)) as history,
    ):
        blocks = list(rollout(backbone.model, config, track, noise, encoder, history))
    return np.concatenate([decode(block.latents) for block in blocks]), [block.context for block in blocks]


def given_past(job: Job, memory: Memory, key: VideoKey, spec: VideoSpec, encoder: Encoder) -> Past | None:
    """Put what is given of a story into the memory, as a rollout would have; None where nothing is."""
    if not job.story.given_frames:
        return None
    latents = job.story.given(ToyCodec.load(job.weights / "codec.safetensors"))
    with History(memory, key, spec) as history:
        for start in range(0, len(latents), BLOCK_FRAMES):
            block = latents[start : start + BLOCK_FRAMES]
            history.remember(start, block, encoder.encode(block), NO_SEARCH)
            history.recall()
    return Past.taken_over(memory, key, BLOCK_FRAMES)


@cache
def _backbone(weights: Path) -> Backbone:
    return toy(weights)


@cache
def _identity(weights: Path) -> tuple[str, str]:
    """Of the transformer, and of the codec, which paints what is given and decodes every frame."""
    codec = (weights / "codec.safetensors").read_bytes()
    return weights_id(_backbone(weights).model.transformer), hashlib.sha256(codec).hexdigest()


@cache
def _loaded(path: Path) -> Encoder:
    return checkpoint.load(path)
