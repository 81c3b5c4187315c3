"""How much of a video's past is passed again before a rollout goes on with it.

exact: every block, with the very context that it had: keys and values come back bit for bit, at the price of
one clean pass per block. window: only the blocks of the sink and of the window that the next block attends,
whose oldest do without the frames before them; frames retrieved later are re-created from their latents. The
number of passes does not grow with the video, and what comes after is not what an uninterrupted rollout would
have made.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from generator.errors import ConfigError
from generator.methods.context import Context
from memory_service.types import Span

EXACT, WINDOW = "exact", "window"
REPLAYS = (EXACT, WINDOW)


@dataclass(frozen=True)
class Replay:
    """Which blocks of the past are passed again: those with frames that are kept; None: all."""

    length: int
    kept: frozenset[int] | None = None

    @staticmethod
    def of(kind: str, length: int, following: Context | None) -> Replay:
        """For a past of `length` frames, after which comes a block with the context `following`, if any.

        Raises ConfigError where the method keeps more of its past than can be passed again.
        """
        tokens = None if following is None else following.compression
        if length and following and tokens and tokens.recent_frames > 2 * len(following.span):
            raise ConfigError(
                f"tokens are chosen by the queries of {tokens.recent_frames} frames, more than two blocks "
                "have: also by passes that are not done again; such a video cannot be continued"
            )
        if kind == EXACT or following is None:
            return Replay(length)
        if following.compression is not None:
            raise ConfigError("this method keeps tokens of all its past: it can only be replayed exactly")
        return Replay(length, following.kept)

    def skips(self, span: Span) -> bool:
        """Whether a block is not passed again."""
        if self.kept is None or span.stop > self.length:
            return False
        return self.kept.isdisjoint(range(span.start, span.stop))

    def remaining(self, context: Context, frames: Collection[int]) -> Context:
        """The context of a block, less frames that are not there because their blocks were skipped."""
        if context.span.start >= self.length or self.kept is None:
            return context
        return context.within(frames)
