"""What is rolled out: scenes of the toy world, and camera paths of a minute that come back.

The camera holds for four seconds before it turns. Without that, nothing can be retrieved of what has just
left the view, since window and guard keep the newest 17 frames out: see `turning_at_once`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from generator.toy import prompts

NUM_FRAMES = 240

THERE_AND_BACK = "pan right 26s, hold 4s, pan left 30s"
BOTH_SIDES = "pan left 12s, hold 4s, pan right 24s, hold 4s, pan left 16s"
THRICE = "pan right 16s, hold 4s, pan left 18s, hold 4s, pan right 18s"
"""The last leg passes places that have been seen twice."""

AT_ONCE = "pan right 28s, pan left 32s"

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
    """One video to make: a prompt on one draw of the noise."""

    prompt: str
    seed: int

    def cells(self, num_frames: int) -> np.ndarray:
        """True camera cell of each latent frame."""
        return prompts.parse(self.prompt).camera_cells(num_frames // prompts.BLOCK_FRAMES)

    @property
    def scene(self) -> prompts.Scene:
        return prompts.parse(self.prompt).scene

    @property
    def camera(self) -> str:
        """The camera's script, as the prompt has it."""
        return self.prompt.partition("; ")[2]


def stories(seeds: int, scenes: int = len(SCENES)) -> tuple[Story, ...]:
    """Scenes and seeds, the three camera paths in turn."""
    cameras = (THERE_AND_BACK, BOTH_SIDES, THRICE)
    return tuple(
        Story(f"{scene}; {cameras[(number + seed) % 3]}", seed)
        for seed in range(seeds)
        for number, scene in enumerate(SCENES[:scenes])
    )


def turning_at_once(seeds: int, scenes: int = len(SCENES)) -> tuple[Story, ...]:
    """The same scenes with a camera that turns without holding."""
    return tuple(Story(f"{scene}; {AT_ONCE}", seed) for seed in range(seeds) for scene in SCENES[:scenes])
