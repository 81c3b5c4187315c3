"""What is rolled out: scenes of the toy world, and camera paths of a minute that come back.

The beginning is given, up to where the camera has held for four seconds before it turns: the painted world
itself, put into the memory as the video's past. What is generated goes on from it and comes back to it, so
that there is a truth to come back to; `from_nothing` leaves the beginning to the generator as well. Without
the hold, what has just left the view is among the newest 16 frames, which window and guard keep out.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
import torch

from generator.corpus.painted import paint_latents
from generator.toy import prompts
from generator.toy.codec import ToyCodec

NUM_FRAMES = 240

CAMERAS = (
    "pan right 10s, hold 4s, pan left 10s, hold 4s, pan right 10s, hold 4s, pan left 18s",
    "pan left 10s, hold 4s, pan right 20s, hold 4s, pan left 22s",
    "pan right 12s, hold 4s, pan left 6s, hold 4s, pan right 6s, hold 4s, pan left 24s",
)
GIVEN_MOVES = 2
"""The first pan and the first hold."""

SCENES = (
    "a summer village at noon with mountains",
    "a winter forest at noon with hills and a balloon",
    "a spring village at dawn by the sea with a bird",
    "a summer castle at dusk with mountains",
    "an autumn forest at dawn with mountains",
    "a winter village at dusk with hills and a bird",
    "an autumn castle at noon by the sea",
    "a spring forest at noon by the sea with a balloon",
)


@dataclass(frozen=True)
class Story:
    """One video to make: a prompt on one draw of the noise, and how many frames of it are given."""

    prompt: str
    seed: int
    given_frames: int

    def cells(self, num_frames: int) -> np.ndarray:
        """True camera cell of each latent frame."""
        return prompts.parse(self.prompt).camera_cells(num_frames // prompts.BLOCK_FRAMES)

    def given(self, codec: ToyCodec) -> torch.Tensor:
        """Latents [given_frames, 16, 8, 8] of the painted world."""
        world = (self.seed, zlib.crc32(self.prompt.encode()))
        return paint_latents(codec, self.prompt, self.given_frames, world)

    @property
    def scene(self) -> prompts.Scene:
        return prompts.parse(self.prompt).scene


def stories(seeds: int, scenes: int = len(SCENES)) -> tuple[Story, ...]:
    """Scenes and seeds, the three camera paths in turn."""
    told = (
        (f"{scene}; {CAMERAS[(number + seed) % len(CAMERAS)]}", seed)
        for seed in range(seeds)
        for number, scene in enumerate(SCENES[:scenes])
    )
    return tuple(Story(prompt, seed, beginning(prompt)) for prompt, seed in told)


def beginning(prompt: str) -> int:
    """Frames, in whole blocks, of the moves that are given."""
    seconds = sum(seconds for _, seconds in prompts.parse(prompt).moves[:GIVEN_MOVES])
    return int(seconds * prompts.LATENT_FPS) // prompts.BLOCK_FRAMES * prompts.BLOCK_FRAMES


def from_nothing(seeds: int, scenes: int = len(SCENES)) -> tuple[Story, ...]:
    """The same with nothing given."""
    return tuple(replace(story, given_frames=0) for story in stories(seeds, scenes))
