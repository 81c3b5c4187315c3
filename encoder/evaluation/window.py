"""Which frames each block may retrieve, and which its context shows anyway; all numbers are latent frames.

The rules are the rollout's: A = [ sink | retrieved | local ] (paper, A_rag), with the released code's budget.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One retrieval: what is asked before the frames `block` are made."""

    block: range

    eligible: range

    shown: tuple[int, ...]
    """Sink and local frames: the context holds them whatever is retrieved."""

    @property
    def query(self) -> int:
        """The last frame made."""
        return self.block.start - 1


@dataclass(frozen=True, kw_only=True)
class Window:
    """Budget of attention, W = S + K + local, where local includes the block itself."""

    window_frames: int = 12
    sink_frames: int = 1
    top_k: int = 6
    guard_frames: int = 5
    block_frames: int = 3

    def __post_init__(self) -> None:
        if min(self.top_k, self.block_frames) < 1 or min(self.sink_frames, self.guard_frames) < 0:
            raise ValueError(
                f"top_k and block_frames must be at least 1, sink_frames and guard_frames 0, got {self}"
            )
        needed = self.sink_frames + self.top_k + self.block_frames
        if needed > self.window_frames:
            raise ValueError(
                f"sink_frames + top_k + block_frames = {needed} exceeds window_frames = {self.window_frames}"
            )

    def step(self, start: int) -> Step:
        """The retrieval for the block that begins at `start`: eligible is [S, start - W - R + S)."""
        stop = start + self.block_frames
        first_barred = self.sink_frames + max(0, start - self.window_frames - self.guard_frames)
        first_local = max(self.sink_frames, stop - (self.window_frames - self.sink_frames - self.top_k))
        return Step(
            block=range(start, stop),
            eligible=range(self.sink_frames, first_barred),
            shown=(*range(min(self.sink_frames, start)), *range(first_local, start)),
        )

    def steps(self, num_frames: int) -> Iterator[Step]:
        """Every whole block of a video that has something to retrieve."""
        for start in range(0, num_frames - self.block_frames + 1, self.block_frames):
            step = self.step(start)
            if step.eligible:
                yield step
