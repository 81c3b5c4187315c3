"""What a user wants generated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from generator.history.replay import EXACT
from generator.kv.config import KVConfig
from generator.noise import NoisePart
from generator.records.record import rollout_name
from generator.story.schedule import Schedule, Turn
from generator.story.switching import Switching
from memory_service.types import Policy as Selection


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to generate: one rollout per method, all of the same prompt, seed and length."""

    prompt: str
    seed: int
    methods: tuple[str, ...]
    num_frames: int
    """Latent frames; a multiple of the backbone's block."""

    pool: str
    video: str
    out: Path
    block_frames: int
    """Of the backbone."""

    window_changes: Mapping[str, int] = field(default_factory=dict)
    """Fields of `Window` -> values in place of those that backbone and method bring."""

    selection: Selection = field(default_factory=Selection)
    """How the memory chooses among eligible frames, for methods that search."""

    turns: tuple[Turn, ...] = ()
    """Where another prompt begins. The noise is that of the first prompt, whatever comes later."""

    switching: Switching = field(default_factory=Switching)
    """What becomes of the past where one does."""

    resume: bool = False
    """Whether the memory has the videos already, and they are to be continued."""

    replay: str = EXACT
    """How their past is passed again, see `Replay`."""

    drawn: tuple[NoisePart, ...] = ()
    """What the noise is drawn from where that is more than prompt and seed: in forks."""

    loading: Mapping[str, object] = field(default_factory=dict)
    """Options of the command line that chose the model, for whoever has to load it again."""

    kv: KVConfig = field(default_factory=KVConfig)
    """What keys and values of past frames may take."""

    patience_s: float | None = None
    """How long a block waits for a memory that is away before it does without it; None: that is an error."""

    def name(self, method: str) -> str:
        """Name of a rollout: the only one bears the video's own, whatever its method."""
        return rollout_name(self.video, method) if len(self.methods) > 1 else self.video

    @property
    def schedule(self) -> Schedule:
        return Schedule(self.prompt, self.turns)

    @property
    def noise(self) -> tuple[NoisePart, ...]:
        """What the noise of all blocks is drawn from."""
        return self.drawn or (NoisePart(prompt=self.prompt, seed=self.seed, num_blocks=self.num_blocks),)

    @property
    def num_blocks(self) -> int:
        return self.num_frames // self.block_frames

    def __post_init__(self) -> None:
        block = self.block_frames
        if self.num_frames < block or self.num_frames % block:
            raise ValueError(f"frames must be a positive multiple of {block}, got {self.num_frames}")
