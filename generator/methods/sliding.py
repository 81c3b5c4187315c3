"""Sliding windows: the published baseline `native`, and `relative`, the same frames at relative positions.

Both attend the sink and the newest W - S frames, the block's own among them, and retrieve nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from generator.configs import MAX_POSITION, Window
from generator.methods.context import (
    NO_SCENES,
    Context,
    Placed,
    Policy,
    Scenes,
    check_positions,
    first_kept,
    kept_frames,
    slot,
)
from memory_service.types import Handle, Span


@dataclass(frozen=True)
class Sliding(Policy):
    """The newest frames behind the sink.

    positions: "absolute" is a frame's number, for ever (Self-Forcing, LongLive v1); "slot" its place in the
    window (LongLive v1's `use_infinite_attention`), which makes the control for everything that retrieves:
    the paper's A/B of `native` and `longlive_rag` changes positions and memory at once.
    """

    name: str
    positions: Literal["absolute", "slot"]

    @property
    def at_switch(self) -> tuple[str, ...]:
        return "recache", "keep"

    def window(self, given: Window) -> Window:
        return replace(given, top_k=0)

    def check(self, window: Window, num_frames: int) -> None:
        absolute = self.positions == "absolute"
        check_positions(self.name, num_frames if absolute else window.window_frames, MAX_POSITION)

    def context(
        self, window: Window, span: Span, scenes: Scenes = NO_SCENES, retrieved: Sequence[Handle] = ()
    ) -> Context:
        del scenes  # a change of prompt leaves the window as it is
        self.check_budget(0, retrieved)
        kept_from = first_kept(window, span)
        own = tuple(self._position(window, span, frame) for frame in range(span.start, span.stop))
        return Context(
            span=span,
            sink=self._placed(window, span, range(min(window.sink_frames, span.start))),
            local=self._placed(window, span, range(kept_from, span.start)),
            query_positions=own,
            key_positions=own,
            kept=kept_frames(window, span, kept_from),
        )

    def _placed(self, window: Window, span: Span, frames: range) -> tuple[Placed, ...]:
        return tuple(Placed(frame, self._position(window, span, frame)) for frame in frames)

    def _position(self, window: Window, span: Span, frame: int) -> int:
        return frame if self.positions == "absolute" else slot(window, span, frame)
