"""What a block attends, [ sink | retrieved | local ], and where in time (LongLive-RAG, section 3).

Pure functions of the block's span; no tensors. A frame's slot is its place in a window of W frames that holds
the sink and the newest frames: slot = frame until the window is full, from then on the newest frame has slot
W - 1. The methods, each a `Policy`, are in `generator.methods`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from generator.configs import Window
from generator.errors import ConfigError
from memory_service.types import Handle, Query, Span

Source: TypeAlias = int | Handle
"""Where keys and values are: a frame of this rollout's window, or a handle of the host tier."""


@dataclass(frozen=True)
class Placed:
    """One context frame at its temporal position."""

    source: Source
    position: int


@dataclass(frozen=True, kw_only=True)
class Compression:
    """Tokens that stand for frames which are no longer attended whole (Deep Forcing, section 3.2)."""

    frames: int
    """How many frames' worth of tokens are kept, C."""

    recent_frames: int
    """Newest frames, the block's own among them, that are never compressed; their queries choose."""

    reuse_limit: int | None
    """How often a token may be chosen; None: for ever."""

    candidates: Span | None = None
    """Whole frames that the block compresses, with the tokens chosen before; None: it compresses nothing."""

    positions: tuple[int, ...] = ()
    """Temporal positions that the chosen tokens share, F tokens each; empty: they keep their own."""


@dataclass(frozen=True, kw_only=True)
class Context:
    """Everything that a block attends beside itself, and the temporal positions of its own frames."""

    span: Span
    sink: tuple[Placed, ...]
    retrieved: tuple[Placed, ...] = ()
    local: tuple[Placed, ...]

    query_positions: tuple[int, ...]
    key_positions: tuple[int, ...]
    """Of the block's own frames; they differ from those of its queries right after a flush only."""

    kept: frozenset[int]
    """Past frames that stay in the window; all others are evicted now."""

    compression: Compression | None = None
    """For methods that keep tokens of older frames: they come between sink and local."""

    @property
    def frames(self) -> tuple[Placed, ...]:
        return self.sink + self.retrieved + self.local

    def within(self, window: Collection[int]) -> Context:
        """The same, less frames of the window that are not there."""
        sink = tuple(placed for placed in self.sink if placed.source in window)
        return replace(
            self, sink=sink, local=tuple(placed for placed in self.local if placed.source in window)
        )


@dataclass(frozen=True)
class Scenes:
    """Where the story turns, by block: `switches` to another prompt, of them `cuts` to another scene."""

    switches: frozenset[int] = frozenset()
    cuts: frozenset[int] = frozenset()
    keeps_window: bool = False
    """Whether a method that would flush its window at a switch shall keep it."""

    def __post_init__(self) -> None:
        if not self.cuts <= self.switches:
            raise ConfigError(f"a cut needs another prompt: {sorted(self.cuts - self.switches)} have none")


NO_SCENES = Scenes()


class Policy(ABC):
    """A method: which frames a block attends, at which positions, and what it searches for.

    What is not overridden is that of a method which retrieves nothing.
    """

    name: str

    @property
    def retrieves(self) -> bool:
        """Whether evicted keys and values are kept for later blocks."""
        return False

    @property
    def searches(self) -> bool:
        """Whether the frames that it retrieves have scores."""
        return False

    @property
    def at_switch(self) -> tuple[str, ...]:
        """What its window can undergo where another prompt begins, see `Switching`; its default first."""
        return "keep", "recache"

    def window(self, given: Window) -> Window:
        """The method's own window in place of the backbone's, where its authors set one."""
        return given

    @abstractmethod
    def check(self, window: Window, num_frames: int) -> None:
        """Raises ConfigError where the window cannot be run, or not for so many frames."""

    @abstractmethod
    def context(
        self, window: Window, span: Span, scenes: Scenes = NO_SCENES, retrieved: Sequence[Handle] = ()
    ) -> Context:
        """The context of the block `span`, given the frames that were retrieved for it."""

    def query(self, window: Window, span: Span) -> Query | None:
        """The search for the block `span`, by the last frame appended; None: nothing to search."""
        del window, span
        return None

    def chosen(self, window: Window, span: Span, since: int = 0) -> Sequence[int]:
        """Frames, none before `since`, that are retrieved for the block `span` without a search."""
        del window, span, since
        return ()

    def check_budget(self, budget: int, retrieved: Sequence[Handle]) -> None:
        """Raises ConfigError where more frames were retrieved than the method attends."""
        if len(retrieved) > budget:
            raise ConfigError(f"{self.name} got {len(retrieved)} retrieved frames; its budget is {budget}")


def window_of(policy: Policy, given: Window, changes: Mapping[str, int]) -> Window:
    """The backbone's window, as the method has it, with a user's changes; K only where it is used."""
    own = policy.window(given)
    unused = set() if own.top_k else {"top_k"}
    return replace(own, **{name: value for name, value in changes.items() if name not in unused})


def block_spans(blocks: int, window: Window) -> Iterator[Span]:
    """Spans of the first `blocks` blocks of a video."""
    for index in range(blocks):
        yield Span(index * window.block_frames, (index + 1) * window.block_frames)


def kept_frames(window: Window, span: Span, first: int) -> frozenset[int]:
    """The sink, and the frames from `first` on, as far as they come before the block `span`."""
    return frozenset(range(min(window.sink_frames, span.start))) | frozenset(range(first, span.start))


def first_kept(window: Window, span: Span) -> int:
    """First frame beyond the sink that still is in the window when the block `span` is made."""
    return max(window.sink_frames, span.stop - (window.window_frames - window.sink_frames))


def slot(window: Window, span: Span, frame: int) -> int:
    """Place of a sink, local or own frame in the window while the block `span` is made."""
    if frame < window.sink_frames:
        return frame
    return min(span.stop, window.window_frames) - (span.stop - frame)


def eligible(window: Window, span: Span) -> Span:
    """Frames that may be retrieved for the block `span`: evicted before it, less the guard; may be empty.

    Frames that are kept but not attended are neither local nor eligible.
    """
    evicted = max(0, span.start - window.window_frames)
    return Span(window.sink_frames, window.sink_frames + max(0, evicted - window.guard_frames))


def check_positions(name: str, needed: int, available: int) -> None:
    """Raises ConfigError where a method needs more temporal positions than the model has."""
    if needed > available:
        raise ConfigError(f"{name} needs {needed} temporal positions; the model has {available}")
