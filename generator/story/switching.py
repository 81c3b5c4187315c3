"""What becomes of the past where another prompt begins: of the window, and of the history before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from generator.configs import Window
from generator.errors import ConfigError
from generator.methods.context import NO_SCENES, Policy, Scenes
from generator.story.searching import Search
from memory_service.types import Query, Span

KEEP, RECACHE, FLUSH = "keep", "recache", "flush"
FADE, CLEAR = "fade", "clear"
OLD_HISTORY = (KEEP, FADE, CLEAR)


@dataclass(frozen=True, kw_only=True)
class Switching:
    """The user's choice. What a method has nothing of, it passes over: a sliding window has no history."""

    at_switch: str | None = None
    """"recache", "flush" or "keep" the window, as far as the method can; None: as its released code does."""

    recache_sink: bool = False
    """Whether recaching takes the sink in; LongLive's `global_sink` is the opposite of this."""

    old_history: str = KEEP
    """"keep": frames of earlier scenes are retrieved like any; "fade": they count less; "clear": they are not
    retrieved. The sink stays."""

    fade: float = 0.9
    """Weight of a frame per switch since it was made, in (0, 1); of "fade"."""

    def __post_init__(self) -> None:
        if self.old_history not in OLD_HISTORY:
            raise ConfigError(
                f"old_history must be one of {', '.join(OLD_HISTORY)}, got {self.old_history!r}"
            )
        if not 0 < self.fade < 1:
            raise ConfigError(f"fade must lie between 0 and 1, got {self.fade:g}")

    def check(self, policy: Policy) -> None:
        """Raises ConfigError where the method cannot do what was chosen."""
        if self.of(policy) not in policy.at_switch:
            raise ConfigError(
                f"{policy.name} can {' or '.join(policy.at_switch)} its window at a switch, "
                f"got {self.at_switch!r}"
            )
        if self.old_history == FADE and policy.retrieves and not policy.searches:
            raise ConfigError(f"old_history fade weighs scores, and {policy.name} retrieves without any")

    def of(self, policy: Policy) -> str:
        """What the window of this method undergoes at a switch."""
        return self.at_switch or policy.at_switch[0]

    def scenes(self, policy: Policy, scenes: Scenes) -> Scenes:
        """What the method is told: whether it flushes is the user's choice, a cut is always one."""
        return replace(scenes, keeps_window=self.of(policy) != FLUSH)

    def recaches(self, policy: Policy, scenes: Scenes, block: int) -> bool:
        """Whether the window is recached before this block."""
        return block > 0 and block in scenes.switches and self.of(policy) == RECACHE

    def since(self, window: Window, span: Span, scenes: Scenes) -> int:
        """First frame that the block `span` may retrieve without a search."""
        return self._starts(window, span, scenes)[-1] if self.old_history == CLEAR else 0

    def search(self, policy: Policy, window: Window, span: Span, scenes: Scenes = NO_SCENES) -> Search:
        """What the block `span` searches for."""
        query = policy.query(window, span)
        if query is None or self.old_history == KEEP:
            return Search(query)
        starts = self._starts(window, span, scenes)
        present = _within(query, Span(starts[-1], span.start))
        if self.old_history == CLEAR:
            return Search(present)
        older = [
            (within, self.fade ** (len(starts) - 1 - scene))
            for scene, frames in enumerate(_spans(starts))
            if (within := _within(query, frames)) is not None
        ]
        return Search(present, tuple(query for query, _ in older), tuple(weight for _, weight in older))

    def _starts(self, window: Window, span: Span, scenes: Scenes) -> list[int]:
        """First frames of the scenes up to that of the block `span`."""
        firsts = (block * window.block_frames for block in sorted(scenes.switches) if block > 0)
        return [0, *(first for first in firsts if first <= span.start)]


def _spans(starts: Sequence[int]) -> Iterator[Span]:
    return (Span(start, stop) for start, stop in pairwise(starts))


def _within(query: Query, frames: Span) -> Query | None:
    """The query among these frames; None where none of them is eligible."""
    eligible = Span(max(query.eligible.start, frames.start), min(query.eligible.stop, frames.stop))
    return replace(query, eligible=eligible) if eligible else None
