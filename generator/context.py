"""Which frames a block attends and where in time: C_sink || M_t || C_loc (LongLive-RAG, section 3).

Pure functions of the block's span; no tensors. A frame's slot is its place in a window of W frames that holds
the sink and the newest frames: slot = frame until the window is full, from then on the newest frame has slot
W - 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from generator.configs import Window
from generator.errors import ConfigError
from memory_service.types import Handle, Query, Span

Source: TypeAlias = int | Handle
"""Where keys and values are: a frame of this rollout's window, or a handle of the host tier."""


@dataclass(frozen=True)
class Policy:
    """How a method fills its context."""

    name: str

    positions: Literal["absolute", "slot"]
    """Temporal position of a key or query: its frame number, or its slot in the window."""

    retrieves: bool
    """Whether K frames of the window are given to retrieval, always, also where nothing is eligible yet."""


@dataclass(frozen=True)
class Placed:
    """One context frame at its temporal position."""

    source: Source
    position: int


@dataclass(frozen=True)
class Context:
    """Everything that a block attends beside itself, and the temporal positions of its own frames."""

    span: Span
    sink: tuple[Placed, ...]
    retrieved: tuple[Placed, ...]
    local: tuple[Placed, ...]
    block_positions: tuple[int, ...]

    @property
    def frames(self) -> tuple[Placed, ...]:
        return self.sink + self.retrieved + self.local


POLICIES = {
    policy.name: policy
    for policy in (
        Policy("native", positions="absolute", retrieves=False),
        Policy("relative", positions="slot", retrieves=False),
        Policy("longlive_rag", positions="slot", retrieves=True),
    )
}
"""`native` is the sliding window of the published baselines. `relative` differs from it in positions only,
and is the control for `longlive_rag`, which has the same positions and retrieves."""

RETRIEVED_POSITION = 0
"""Every retrieved frame shares the temporal position of the first sink frame."""


def policy_named(name: str) -> Policy:
    """Raises ConfigError with the names there are."""
    if name not in POLICIES:
        raise ConfigError(f"no method {name!r}; expected one of {', '.join(POLICIES)}")
    return POLICIES[name]


def block_spans(blocks: int, window: Window) -> Iterator[Span]:
    """Spans of the first `blocks` blocks of a video."""
    for index in range(blocks):
        yield Span(index * window.block_frames, (index + 1) * window.block_frames)


def assemble(policy: Policy, window: Window, span: Span, retrieved: Sequence[Handle] = ()) -> Context:
    """The context of the block `span`, given the frames that were retrieved for it."""
    if len(retrieved) > (window.top_k if policy.retrieves else 0):
        raise ConfigError(
            f"{policy.name} got {len(retrieved)} retrieved frames; its budget is {window.top_k}"
        )

    def placed(frames: range) -> tuple[Placed, ...]:
        return tuple(Placed(frame, position(policy, window, span, frame)) for frame in frames)

    return Context(
        span=span,
        sink=placed(range(min(window.sink_frames, span.start))),
        retrieved=tuple(Placed(handle, RETRIEVED_POSITION) for handle in retrieved),
        local=placed(range(first_local(policy, window, span), span.start)),
        block_positions=tuple(position(policy, window, span, f) for f in range(span.start, span.stop)),
    )


def first_local(policy: Policy, window: Window, span: Span) -> int:
    """First past frame that the block attends beyond the sink; local frames count the block itself."""
    local_frames = window.window_frames - window.sink_frames - (window.top_k if policy.retrieves else 0)
    return max(window.sink_frames, span.stop - local_frames)


def position(policy: Policy, window: Window, span: Span, frame: int) -> int:
    """Temporal position of a sink, local or own frame while the block `span` is made."""
    if policy.positions == "absolute" or frame < window.sink_frames:
        return frame
    return min(span.stop, window.window_frames) - (span.stop - frame)


def first_kept(window: Window, span: Span) -> int:
    """First frame beyond the sink that still is in the window when the block `span` is made.

    Frames between it and `first_local` are kept but not attended: neither local nor eligible.
    """
    return max(window.sink_frames, span.stop - (window.window_frames - window.sink_frames))


def eligible(window: Window, span: Span) -> Span:
    """Frames that may be retrieved for the block `span`: evicted before it, less the guard; may be empty."""
    evicted = max(0, span.start - window.window_frames)
    return Span(window.sink_frames, window.sink_frames + max(0, evicted - window.guard_frames))


def query_for(policy: Policy, window: Window, span: Span) -> Query | None:
    """The search for the block `span`, querying with the last frame appended; None: nothing to search."""
    frames = eligible(window, span)
    if not policy.retrieves or window.top_k == 0 or not frames:
        return None
    return Query(k=window.top_k, eligible=frames)
