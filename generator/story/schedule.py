"""The prompts of one video and the blocks at which each begins. Values of JSON and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import floor
from typing import Any, TypeAlias

from generator.errors import ConfigError
from generator.methods.context import Scenes
from generator.story.cues import Cue

Follow: TypeAlias = Callable[[str, str, int], str]
"""A prompt, the one before and the blocks of that -> the prompt as it is meant, see `TextEncoder`."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Another prompt, from the beginning of a block on."""

    block: int
    prompt: str
    cut: bool = False
    asked_s: float
    """Seconds of video at which it was asked for; the block begins as near as a block can."""


@dataclass(frozen=True)
class Schedule:
    """The prompt that a video begins with, and the turns that it takes, in order."""

    prompt: str
    turns: tuple[Turn, ...] = ()

    @staticmethod
    def of(cues: Sequence[Cue], num_blocks: int, block_s: float) -> Schedule:
        """Cues on the grid of blocks, block_s seconds of video each; times go to the nearest, halves up.

        Raises ConfigError where none begins the video, two fall on one block or one on none.
        """
        blocks = [0]
        for cue in cues[1:]:
            blocks.append(_block(cue, blocks[-1], block_s))
        if not cues or _block(cues[0], 0, block_s) != 0:
            raise ConfigError("the first prompt must begin the video: it takes no time, or 0s")
        turns = []
        for before, cue, block in zip(blocks, cues[1:], blocks[1:], strict=False):
            if block <= before:
                raise ConfigError(
                    f"{cue.prompt!r} begins at block {block}, the prompt before it at block {before}: "
                    f"prompts must stand in order, a block ({block_s:g} s) apart at least"
                )
            if block >= num_blocks:
                raise ConfigError(
                    f"{cue.prompt!r} begins at block {block} ({block * block_s:g} s); the video has "
                    f"{num_blocks} blocks ({num_blocks * block_s:g} s)"
                )
            asked_s = block * block_s if cue.at_s is None else cue.at_s
            turns.append(Turn(block=block, prompt=cue.prompt, cut=cue.cut, asked_s=asked_s))
        return Schedule(cues[0].prompt, tuple(turns))

    @property
    def scenes(self) -> Scenes:
        return Scenes(
            switches=frozenset(turn.block for turn in self.turns),
            cuts=frozenset(turn.block for turn in self.turns if turn.cut),
        )

    def stretches(self, num_blocks: int, follow: Follow) -> list[tuple[str, int]]:
        """Prompts, each as it is meant after the one before, and the blocks that each holds for."""
        starts = [0, *(turn.block for turn in self.turns), num_blocks]
        lengths = [stop - start for start, stop in pairwise(starts)]
        prompts = [self.prompt]
        for turn, length in zip(self.turns, lengths, strict=False):
            prompts.append(follow(turn.prompt, prompts[-1], length))
        return list(zip(prompts, lengths, strict=True))

    def to_json(self) -> dict[str, object]:
        return {"prompt": self.prompt, "turns": [asdict(turn) for turn in self.turns]}

    @staticmethod
    def from_json(fields: Mapping[str, Any]) -> Schedule:
        """Raises ConfigError."""
        try:
            return Schedule(fields["prompt"], tuple(Turn(**turn) for turn in fields["turns"]))
        except (KeyError, TypeError) as error:
            raise ConfigError(f"expected a schedule of prompts, got {fields!r}") from error


def _block(cue: Cue, before: int, block_s: float) -> int:
    """The block at which a cue begins, when the cue before it begins at block `before`."""
    if cue.at_block is not None:
        return cue.at_block
    if cue.after_s is not None:
        return before + int(cue.after_s / block_s)
    return floor((cue.at_s or 0.0) / block_s + 0.5)
