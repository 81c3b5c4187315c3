"""Deep Forcing: a deep sink that follows the video in time, and tokens that stand for compressed frames.

Released code by default; `paper` differs where the docstrings say so. Positions are frame numbers, so a
video is as long as the model's table of positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from generator.configs import MAX_POSITION, Window
from generator.errors import ConfigError
from generator.methods.context import (
    NO_SCENES,
    Compression,
    Context,
    Placed,
    Policy,
    Scenes,
    check_positions,
    first_kept,
    kept_frames,
)
from memory_service.types import Handle, Span

WINDOW_FRAMES = 21
FIRST_SHIFT_FROM = 21
"""The code's first shift of the sink is this less the budget, whatever the window."""


@dataclass(frozen=True)
class DeepSink(Policy):
    """A sink of S frames (14 of a window of 21) that is moved to just before the local frames.

    Code: it stays until the window is full and then moves by a block with every block; in a window of whole
    blocks it starts at t - W, which leaves a gap of one block before the local frames. Paper: no gap.
    """

    name: str
    paper: bool = False
    sink_frames: int = 14

    def window(self, given: Window) -> Window:
        return replace(given, window_frames=WINDOW_FRAMES, sink_frames=self.sink_frames, top_k=0)

    def check(self, window: Window, num_frames: int) -> None:
        del window
        check_positions(self.name, num_frames, MAX_POSITION)

    def context(
        self, window: Window, span: Span, scenes: Scenes = NO_SCENES, retrieved: Sequence[Handle] = ()
    ) -> Context:
        del scenes  # a change of prompt leaves the window as it is
        self.check_budget(0, retrieved)
        kept_from = first_kept(window, span)
        full_from = window.window_frames - window.window_frames % window.block_frames
        shift = span.stop - window.window_frames if self.paper else span.start - full_from
        return _context(window, span, max(0, shift), range(kept_from, span.start), kept_from)


@dataclass(frozen=True)
class DeepForcing(DeepSink):
    """Deep sink with participative compression.

    When cached and new frames exceed the window, the first pass cuts them to `budget_frames`: the sink, the
    `recent_frames` newest, and between them the tokens that the newest queries attend most. The next block
    is appended, the one after compresses again.

    Code: chosen tokens keep their positions, a token is chosen `reuse_limit` times at most, and the sink
    moves at compressions only. Paper (equations 10 and 11): chosen tokens take the positions between sink
    and recent frames, without a gap and without a limit; they are ranked at their own.

    Where the limit leaves a layer fewer tokens than it may keep, the code places that layer's sink by what is
    left; ours stays with that of the other layers. It cannot happen while a compression sees as many new
    frames as it keeps, as the published one does (6 for 2).
    """

    sink_frames: int = 10
    budget_frames: int = 16
    recent_frames: int = 4
    reuse_limit: int | None = 7

    def check(self, window: Window, num_frames: int) -> None:
        super().check(window, num_frames)
        if not window.sink_frames + self.recent_frames <= self.budget_frames <= window.window_frames:
            raise ConfigError(
                f"{self.name} keeps {self.budget_frames} frames at a compression: they must hold "
                f"{window.sink_frames} sink and {self.recent_frames} recent frames, and fit the window of "
                f"{window.window_frames}"
            )
        if self.recent_frames < window.block_frames:
            raise ConfigError(f"recent_frames must hold a block, got {self.recent_frames}")
        if self.budget_frames > FIRST_SHIFT_FROM and not self.paper:
            raise ConfigError(f"budget_frames must be at most {FIRST_SHIFT_FROM}, got {self.budget_frames}")
        last = Span(num_frames - window.block_frames, num_frames)
        sink = self.context(window, last).sink
        check_positions(self.name, max((placed.position for placed in sink), default=0) + 1, MAX_POSITION)

    def context(
        self, window: Window, span: Span, scenes: Scenes = NO_SCENES, retrieved: Sequence[Handle] = ()
    ) -> Context:
        del scenes  # a change of prompt leaves the window as it is
        self.check_budget(0, retrieved)
        compression = Compression(
            frames=self.budget_frames - window.sink_frames - self.recent_frames,
            recent_frames=self.recent_frames,
            reuse_limit=None if self.paper else self.reuse_limit,
        )
        events = self._compressions(window, span)
        ends = [window.sink_frames, *(event.stop - self.recent_frames for event in events)]
        kept_from = ends[-1]
        if events and events[-1] == span:
            kept_from = ends[-2]
            compression = replace(compression, candidates=Span(ends[-2], ends[-1]))
        shift = 0
        if events and self.paper:
            tokens_from = ends[-1] - compression.frames
            shift = tokens_from - window.sink_frames
            compression = replace(compression, positions=tuple(range(tokens_from, ends[-1])))
        elif events:
            shift = FIRST_SHIFT_FROM - self.budget_frames + events[-1].start - events[0].start
        context = _context(window, span, shift, range(ends[-1], span.start), kept_from)
        return replace(context, compression=compression)

    def _compressions(self, window: Window, span: Span) -> list[Span]:
        """Blocks that compress, up to and including `span`."""
        events, frames = [], 0
        for start in range(0, span.stop, window.block_frames):
            frames += window.block_frames
            if frames > window.window_frames:
                events.append(Span(start, start + window.block_frames))
                frames = self.budget_frames
        return events


def _context(window: Window, span: Span, shift: int, local: range, kept_from: int) -> Context:
    """Local frames at their numbers, the sink `shift` later than its own."""
    own = tuple(range(span.start, span.stop))
    sink = range(min(window.sink_frames, span.start))
    return Context(
        span=span,
        sink=tuple(Placed(frame, frame + shift) for frame in sink),
        local=tuple(Placed(frame, frame) for frame in local),
        query_positions=own,
        key_positions=own,
        kept=kept_frames(window, span, kept_from),
    )
