"""What each block of one rollout attends and searches for: its configuration, and where its story turns."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from generator.history.history import History
from generator.history.recalled import Recalled
from generator.history.replay import Replay
from generator.methods.context import Compression, Context, Scenes, block_spans
from generator.methods.sliding import Sliding
from generator.rollout_config import RolloutConfig
from generator.story.searching import NO_SEARCH, Search
from memory_service.types import Span

_log = logging.getLogger(__name__)

WITHOUT_MEMORY = Sliding("relative", positions="slot")
"""What a block attends when the memory could not be asked: the whole window, at retrieval's positions."""


@dataclass(frozen=True)
class Course:
    """The blocks of a rollout, by index."""

    config: RolloutConfig
    scenes: Scenes
    num_blocks: int

    def __post_init__(self) -> None:
        """Raises ConfigError where the method cannot be run so long, or with this window."""
        self.config.check_length(self.num_blocks)

    @property
    def spans(self) -> list[Span]:
        return list(block_spans(self.num_blocks, self.config.window))

    @property
    def compression(self) -> Compression | None:
        """Of a method that keeps single tokens of older frames."""
        return self.config.policy.context(self.config.window, self.spans[0]).compression

    def recaches(self, index: int) -> bool:
        """Whether the window is recached before a block."""
        return self.config.switching.recaches(self.config.policy, self.scenes, index)

    def context(self, index: int, recalled: Recalled, history: History) -> Context:
        """What a block attends, given what the memory answered."""
        policy, window, switching = self.config.policy, self.config.window, self.config.switching
        span, scenes = self._span(index), switching.scenes(policy, self.scenes)
        if recalled.degraded:
            frames = f"[{span.start}, {span.stop})"
            _log.warning("degraded video=%s frames=%s reason=%s", history.key, frames, recalled.degraded)
            return WITHOUT_MEMORY.context(window, span, scenes)
        chosen = policy.chosen(window, span, switching.since(window, span, self.scenes))
        retrieved = [hit.handle for hit in recalled.hits] or [*map(history.handle, chosen)]
        return policy.context(window, span, scenes, retrieved)

    def search(self, index: int) -> Search:
        """What is searched for a block, before it is made; nothing beyond the last."""
        if index >= self.num_blocks:
            return NO_SEARCH
        config = self.config
        search = config.switching.search(config.policy, config.window, self._span(index), self.scenes)
        return search.choosing(config.selection)

    def replay(self, history: History) -> Replay:
        """What is passed again of the history's past. Raises ConfigError."""
        window, length = self.config.window, history.past.length
        next_index = length // window.block_frames
        scenes = self.config.switching.scenes(self.config.policy, self.scenes)
        goes_on = next_index < self.num_blocks
        following = self.config.policy.context(window, self._span(next_index), scenes) if goes_on else None
        return Replay.of(history.past.replay, length, following)

    def _span(self, index: int) -> Span:
        frames = self.config.window.block_frames
        return Span(index * frames, (index + 1) * frames)
