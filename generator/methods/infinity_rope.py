"""Infinity-RoPE: a small window at relative positions, flushed at a change of prompt, torn at a cut.

Released code by default; `paper` is our reading of the paper's abstract and its published description, and
differs where the docstrings say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from generator.configs import Window
from generator.context import NO_SCENES, Context, Placed, Policy, Scenes, check_positions, first_kept
from generator.rope import MAX_POSITION
from memory_service.types import Handle, Span

WINDOW_FRAMES, SINK_FRAMES = 6, 1
CUT_POSITIONS = (45, 46, 47)
"""Temporal positions of the newest three frames in the first block of a scene ("RoPE cut")."""

PAPER_LIMIT = 21
"""Position of the newest frame in the paper, once the video is longer (f_limit)."""


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
        block = span.start // window.block_frames
        switches = () if scenes.keeps_window else scenes.switches
        flushes = [switch * window.block_frames for switch in switches if 0 < switch <= block]
        kept_from = max([first_kept(window, span), *(flush - self.flush_frames for flush in flushes)])
        sink, local = range(min(window.sink_frames, span.start)), range(kept_from, span.start)
        frames = [*sink, *local, *range(span.start, span.stop)]
        keys, queries = self._positions(window, span, frames)
        if block in scenes.cuts:
            torn = min(len(CUT_POSITIONS), len(frames))
            keys = [*keys[: len(keys) - torn], *CUT_POSITIONS[-torn:]]
            torn = min(len(CUT_POSITIONS), len(queries))
            queries = [*queries[: len(queries) - torn], *CUT_POSITIONS[-torn:]]
        placed = [Placed(frame, position) for frame, position in zip(frames, keys, strict=True)]
        past = len(sink) + len(local)
        return Context(
            span=span,
            sink=tuple(placed[: len(sink)]),
            local=tuple(placed[len(sink) : past]),
            query_positions=tuple(queries),
            key_positions=tuple(keys[past:]),
            keep_from=kept_from,
        )

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
