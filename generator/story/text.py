"""Text conditioning of a rollout: the captions of a video and which block uses which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from generator.methods.context import NO_SCENES, Scenes
from generator.story.schedule import Schedule


@dataclass(frozen=True, kw_only=True)
class PromptTrack:
    """Embedded captions of one video and the caption of each block."""

    embeds: Tensor
    """[P, text_len, text_dim] float32, one matrix per distinct caption. Rows past the caption's
    end are exactly zero and are attended without a mask, as in Wan."""

    rows: tuple[int, ...]
    """Row of `embeds` used by each block; its length is the number of blocks."""

    scenes: Scenes = NO_SCENES
    """Where another prompt begins. Rows may change without one: worlds have captions for every block."""

    def __post_init__(self) -> None:
        if self.embeds.ndim != 3:
            raise ValueError(f"embeds must be [P, text_len, text_dim], got {self.embeds.shape}")
        if any(not 0 <= row < len(self.embeds) for row in self.rows):
            raise ValueError(f"rows must index {len(self.embeds)} captions, got {self.rows}")

    @staticmethod
    def of(schedule: Schedule, encoder: TextEncoder, num_blocks: int) -> PromptTrack:
        """One prompt after the other. Raises ValueError on one that the model has no words for."""
        embeds, rows, captions = [], [], 0
        stretches = list(schedule.stretches(num_blocks, encoder.follow))
        encoder.prepare([prompt for prompt, _ in stretches])
        for prompt, blocks in stretches:
            track = encoder.track(prompt, blocks)
            embeds.append(track.embeds)
            rows += [captions + row for row in track.rows]
            captions += len(track.embeds)
        return PromptTrack(embeds=torch.cat(embeds), rows=tuple(rows), scenes=schedule.scenes)


class TextEncoder(Protocol):
    """Turns a prompt into the captions of a video."""

    def track(self, prompt: str, num_blocks: int) -> PromptTrack:
        """Captions of all blocks. Raises ValueError on a prompt that the model has no words for."""

    def prepare(self, prompts: Sequence[str]) -> None:
        """Tracks of all these will be asked for: what is costly to load is loaded once for them."""

    def follow(self, prompt: str, before: str, num_blocks: int) -> str:
        """A prompt as it is meant after num_blocks blocks of `before`.

        A world whose prompts hold scripts goes on with that of `before` where the new one has none.
        """
