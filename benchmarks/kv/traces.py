"""Which frames the toy retrieves for each block of 30 s of video: what the tiers are asked for."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import torch

from encoder import checkpoint
from encoder.model import Encoder
from generator.backbones import Backbone, toy
from generator.history.history import History, video_spec
from generator.methods import policy_named
from generator.noise import SeededNoise
from generator.rollout import rollout
from generator.toy.config import WEIGHTS
from memory_service.engine import MemoryEngine
from memory_service.types import VideoKey

Trace: TypeAlias = list[list[int]]
"""Frames retrieved for each block."""

BLOCKS = 40
"""120 latent frames: 30 s of the toy, as of Wan."""

PROMPTS: Mapping[str, str] = {
    "village, there and back": "a snowy village at dusk with mountains; "
    "pan right 10s, pan left 10s, pan right 10s",
    "forest, there and beyond": "an autumn forest at noon by the sea with a balloon; "
    "pan left 8s, pan right 8s, pan left 14s",
    "village, half of the demo": "a snowy village at dusk with mountains; "
    "pan right 20s, pan left 20s, pan right 20s",
    "forest, half of the demo": "an autumn forest at noon by the sea with a balloon; "
    "pan left 15s, pan right 15s, pan left 30s",
}


@contextmanager
def new_history(encoder: Encoder, latent_shape: tuple[int, ...], dtype: torch.dtype) -> Iterator[History]:
    """A video in a memory of its own, which goes with it."""
    spec = video_spec(encoder, latent_shape, dtype)
    with tempfile.TemporaryDirectory(prefix="reverie-bench-") as folder:
        memory = MemoryEngine(Path(folder))
        try:
            with History(memory, VideoKey("bench", "video"), spec) as history:
                yield history
        finally:
            memory.close()


def seeded_noise(backbone: Backbone, prompt: str, blocks: int) -> SeededNoise:
    return SeededNoise(
        prompt,
        0,
        blocks=blocks,
        block_frames=backbone.window.block_frames,
        passes=len(backbone.sampling.steps),
        latent_shape=backbone.geometry.latent_shape,
    )


def trace(prompt: str, blocks: int = BLOCKS) -> Trace:
    """Roll the prompt out, with retrieval."""
    backbone, encoder = toy(), checkpoint.load(WEIGHTS / "encoder.safetensors")
    track, noise = backbone.text.track(prompt, blocks), seeded_noise(backbone, prompt, blocks)
    config = backbone.config(policy_named("longlive_rag"))
    with new_history(encoder, backbone.geometry.latent_shape, backbone.model.dtype) as history:
        made = rollout(backbone.model, config, track, noise, encoder, history)
        return [[hit.handle.frame for hit in block.hits] for block in made]


def write(path: Path, traces: Mapping[str, Trace]) -> None:
    """One line per trace."""
    lines = [f"{json.dumps(name)}: {json.dumps(found)}" for name, found in traces.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read(path: Path) -> dict[str, Trace]:
    found: dict[str, Trace] = json.loads(path.read_text(encoding="utf-8"))
    return found
