"""Infinity-RoPE: a small window at relative positions, flushed at a change of prompt, torn at a cut.

Released code by default; `paper` is our reading of the paper's abstract and its published description, and
differs where the docstrings say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from generator.configs import MAX_POSITION, Window
from generator.methods.context import NO_SCENES, Context, Placed, Policy, Scenes, check_positions
from memory_service.types import Handle, Span

WINDOW_FRAMES, SINK_FRAMES = 6, 1
CUT_POSITIONS = (45, 46, 47)
"""Temporal positions of the newest three frames in the first block of a scene ("RoPE cut")."""

PAPER_LIMIT = 21
"""Position of the newest frame in the paper, once the video is longer (f_limit)."""


class Buffer:
    """Which frame is in which slot of the window; slots after the live ones hold what was there before.

    A flush copies from the last slots, also where they are not live: a window that has not filled again since
    the last flush gives back the frames that this one left there.
    """

    def __init__(self, window: Window) -> None:
        self._slots: list[int | None] = [None] * window.window_frames
        self._sink_frames = window.sink_frames
        self._end = 0

    @property
    def live(self) -> list[int]:
        return [frame for frame in self._slots[: self._end] if frame is not None]

    def tail(self, count: int) -> list[int]:
        """Frames of the last slots, as far as any was ever written."""
        return [frame for frame in self._slots[-count:] if frame is not None]

    def flush(self, count: int) -> None:
        """The first slot stays; the last `count` come after it.

        Before the last slots were ever written the code copies zeros; here the newest frames stay.
        """
        stale = self.tail(count)
        newest = stale if len(stale) == count else self.live[1:][-count:]
        self._slots[1 : 1 + len(newest)] = newest
        self._end = min(self._end, 1) + len(newest)

    def make_room(self, count: int) -> None:
        """The oldest frames behind the sink leave until `count` more fit."""
        over = max(0, self._end + count - len(self._slots))
        first = self._sink_frames
        self._slots[first : self._end - over] = self._slots[first + over : self._end]
        self._end -= over

    def append(self, start: int, count: int) -> None:
        self._slots[self._end : self._end + count] = range(start, start + count)
        self._end += count


def torn(positions: list[int]) -> list[int]:
    """Positions with the newest ones far ahead: the RoPE cut."""
    newest = min(len(CUT_POSITIONS), len(positions))
    return [*positions[: len(positions) - newest], *CUT_POSITIONS[-newest:]]


@dataclass(frozen=True)
class InfinityRope(Policy):
    """Block-relativistic positions, KV flush and RoPE cut."""

    name: str
    paper: bool = False

    @property
    def flush_frames(self) -> int:
        """Frames that outlive a change of prompt beside the sink: two in the code, one in the paper."""
        return 1 if self.paper else 2

    @property
    def at_switch(self) -> tuple[str, ...]:
        return "flush", "keep"

    def window(self, given: Window) -> Window:
        return replace(given, window_frames=WINDOW_FRAMES, sink_frames=SINK_FRAMES, top_k=0)

    def check(self, window: Window, num_frames: int) -> None:
        del num_frames  # no position depends on it
        needed = max(window.window_frames, PAPER_LIMIT + 1 if self.paper else 0, CUT_POSITIONS[-1] + 1)
        check_positions(self.name, needed, MAX_POSITION)

    def context(
        self, window: Window, span: Span, scenes: Scenes = NO_SCENES, retrieved: Sequence[Handle] = ()
    ) -> Context:
        self.check_budget(0, retrieved)
        buffer = self._buffer(window, span, scenes)
        frames = [*buffer.live, *range(span.start, span.stop)]
        keys, queries = self._positions(window, span, frames)
        if span.start // window.block_frames in scenes.cuts:
            keys, queries = torn(keys), torn(queries)
        placed = [Placed(frame, position) for frame, position in zip(frames, keys, strict=True)]
        past = len(buffer.live)
        sink = min(window.sink_frames, past)
        return Context(
            span=span,
            sink=tuple(placed[:sink]),
            local=tuple(placed[sink:past]),
            query_positions=tuple(queries),
            key_positions=tuple(keys[past:]),
            kept=frozenset(buffer.live) | frozenset(buffer.tail(self.flush_frames)),
        )

    def _buffer(self, window: Window, span: Span, scenes: Scenes) -> Buffer:
        """The window's slots as the block `span` finds them, after those before it."""
        flushes = frozenset[int]() if scenes.keeps_window else scenes.switches
        buffer = Buffer(window)
        for block in range(span.start // window.block_frames + 1):
            if block in flushes:
                buffer.flush(self.flush_frames)
            buffer.make_room(window.block_frames)
            if block * window.block_frames < span.start:
                buffer.append(block * window.block_frames, window.block_frames)
        return buffer

    def _positions(self, window: Window, span: Span, frames: list[int]) -> tuple[list[int], list[int]]:
        """Positions of all keys and of the block's queries.

        Code: a key's place among those attended; a query's frame until the window is full, then the last
        places of the window, whatever is in it. Paper: frame numbers, moved so that the newest is at 21 and
        none is negative.
        """
        own = range(span.start, span.stop)
        if self.paper:
            shift = max(0, span.stop - 1 - PAPER_LIMIT)
            return [max(0, frame - shift) for frame in frames], [frame - shift for frame in own]
        first = span.start if span.start < window.window_frames else window.window_frames - len(span)
        return list(range(len(frames))), list(range(first, first + len(span)))
