"""Windows that give K frames to memory: `longlive_rag`, and the controls that fill the K frames otherwise.

All attend [ sink | retrieved | local ] at the positions of `relative`. The local budget is W - S - K frames,
the block's own among them, always: also before anything can be retrieved (released code, not the paper).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from generator.configs import MAX_POSITION, Window
from generator.errors import ConfigError
from generator.methods.context import (
    NO_SCENES,
    Context,
    Placed,
    Policy,
    Scenes,
    check_positions,
    eligible,
    first_kept,
    kept_frames,
    slot,
)
from memory_service.types import Handle, Query, Span

RETRIEVED_POSITION = 0
"""Every retrieved frame shares the temporal position of the first sink frame (released code)."""


@dataclass(frozen=True)
class Retrieving(Policy):
    """K frames of the window for frames that have left it.

    filled_by: "search" takes the nearest to the last frame made (LongLive-RAG); the controls take the
    "newest" eligible frames, "random" ones, the same in every run, or "nothing".
    """

    name: str
    filled_by: Literal["search", "newest", "random", "nothing"]

    @property
    def retrieves(self) -> bool:
        return self.filled_by != "nothing"

    @property
    def searches(self) -> bool:
        return self.filled_by == "search"

    @property
    def at_switch(self) -> tuple[str, ...]:
        return "recache", "keep"

    def check(self, window: Window, num_frames: int) -> None:
        del num_frames  # positions are slots
        needed = window.sink_frames + window.top_k + window.block_frames
        if needed > window.window_frames:
            raise ConfigError(
                f"sink_frames + top_k + block_frames = {needed} exceeds window_frames = "
                f"{window.window_frames}: a block of {self.name} could not attend to itself"
            )
        check_positions(self.name, window.window_frames, MAX_POSITION)

    def context(
        self, window: Window, span: Span, scenes: Scenes = NO_SCENES, retrieved: Sequence[Handle] = ()
    ) -> Context:
        del scenes  # a change of prompt leaves the window as it is
        self.check_budget(window.top_k if self.retrieves else 0, retrieved)
        local_frames = window.window_frames - window.sink_frames - window.top_k
        first_local = max(window.sink_frames, span.stop - local_frames)
        own = tuple(slot(window, span, frame) for frame in range(span.start, span.stop))

        def placed(frames: range) -> tuple[Placed, ...]:
            return tuple(Placed(frame, slot(window, span, frame)) for frame in frames)

        return Context(
            span=span,
            sink=placed(range(min(window.sink_frames, span.start))),
            retrieved=tuple(Placed(handle, RETRIEVED_POSITION) for handle in retrieved),
            local=placed(range(first_local, span.start)),
            query_positions=own,
            key_positions=own,
            kept=kept_frames(window, span, first_kept(window, span)),
        )

    def query(self, window: Window, span: Span) -> Query | None:
        frames = eligible(window, span)
        if self.filled_by != "search" or window.top_k == 0 or not frames:
            return None
        return Query(k=window.top_k, eligible=frames)

    def chosen(self, window: Window, span: Span, since: int = 0) -> Sequence[int]:
        allowed = eligible(window, span)
        frames = range(max(allowed.start, since), allowed.stop)
        count = min(window.top_k, len(frames))
        match self.filled_by:
            case "newest":
                return frames[len(frames) - count :][::-1]
            case "random":
                return random.Random(span.start).sample(frames, count)
            case _:
                return ()
