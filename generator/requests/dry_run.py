"""What each block of a rollout would attend, at which temporal positions: the policy alone, no weights.

Frames and positions are written as runs, "0 4-11 c12-14": c is the block itself, braces are frames that have
left the window, and "{6 of 1-7}" what a search will choose among the eligible.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.table import Table

from generator.configs import Window
from generator.errors import ConfigError
from generator.methods import policy_named
from generator.methods.context import (
    NO_SCENES,
    Compression,
    Context,
    Placed,
    Policy,
    Scenes,
    block_spans,
    eligible,
    window_of,
)
from generator.story.cues import Cue
from generator.story.schedule import Schedule
from generator.story.switching import Switching
from memory_service.types import Handle, Span, VideoKey

NO_VIDEO = VideoKey("dry", "run")

LATENT_FPS = 4.0
"""Latent frames per second of every backbone, and so of Wan's autoencoder."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One block."""

    block: int
    start: int
    """First latent frame."""
    attended: str
    queries: str
    """Temporal positions of the block's queries."""
    keys: str
    """Temporal positions of all keys, in the order of `attended`."""
    evicted: int
    """Frames that have left the window by the time the block is made."""
    note: str
    """What happens at the block: another prompt, a cut, a compression."""


def rows(policy: Policy, window: Window, num_blocks: int, scenes: Scenes = NO_SCENES) -> Iterator[Row]:
    """The blocks of a rollout. Raises ConfigError where the method cannot be run so."""
    policy.check(window, num_blocks * window.block_frames)
    compressions = 0
    for index, span in enumerate(block_spans(num_blocks, window)):
        allowed = eligible(window, span)
        searched = policy.query(window, span)
        known = list(policy.chosen(window, span))
        count = min(window.top_k, len(allowed)) if searched else len(known)
        handles = [Handle(NO_VIDEO, 0, frame) for frame in known or range(count)]
        context = policy.context(window, span, scenes, handles)
        compresses = context.compression is not None and context.compression.candidates is not None
        compressions += compresses
        yield Row(
            block=index,
            start=span.start,
            attended=" ".join(_attended(context, allowed if searched else None, known, compressions > 0)),
            queries=_runs(context.query_positions),
            keys=" ".join(_keys(context, compressions > 0)),
            evicted=span.start - len(context.kept),
            note=", ".join(_notes(index, scenes, context.compression)),
        )


def tables(
    methods: Sequence[str],
    num_frames: int,
    changes: Mapping[str, int],
    cues: Sequence[Cue],
    switching: Switching,
) -> Iterator[Table]:
    """What blocks of a backbone's usual window would attend, by method. Raises ConfigError."""
    given = Window()
    if num_frames < given.block_frames or num_frames % given.block_frames:
        raise ConfigError(f"frames must be a positive multiple of {given.block_frames}, got {num_frames}")
    num_blocks = num_frames // given.block_frames
    told = Schedule.of(cues, num_blocks, given.block_frames / LATENT_FPS).scenes if cues else NO_SCENES
    for policy in map(policy_named, methods):
        switching.check(policy)
        window = window_of(policy, given, changes)
        yield table(policy, window, rows(policy, window, num_blocks, switching.scenes(policy, told)))


def table(policy: Policy, window: Window, made: Iterable[Row]) -> Table:
    """The rows of one method, for a terminal."""
    title = (
        f"{policy.name}: window {window.window_frames}, sink {window.sink_frames}, top_k {window.top_k}, "
        f"guard {window.guard_frames}"
    )
    drawn = Table(title=title, title_justify="left")
    for column in ("block", "t", "attended frames", "q positions", "k positions", "evicted", ""):
        drawn.add_column(column, overflow="fold")
    for row in made:
        counts = str(row.block), str(row.start), row.attended, row.queries, row.keys, str(row.evicted)
        drawn.add_row(*counts, row.note)
    return drawn


def _attended(
    context: Context, searched: Span | None, known: Sequence[int], has_tokens: bool
) -> Iterator[str]:
    yield from _named(_frames(context.sink))
    if context.retrieved and searched is not None:
        yield f"{{{len(context.retrieved)} of {_runs(range(searched.start, searched.stop))}}}"
    elif known:
        yield f"{{{_runs(sorted(known))}}}"
    if context.compression is not None and has_tokens:
        yield f"{{{context.compression.frames} F tokens}}"
    yield from _named(_frames(context.local))
    yield f"c{_runs(range(context.span.start, context.span.stop))}"


def _keys(context: Context, has_tokens: bool) -> Iterator[str]:
    yield from _named([placed.position for placed in context.sink])
    if context.retrieved:
        yield f"{{{context.retrieved[0].position} x{len(context.retrieved)}}}"
    if context.compression is not None and has_tokens:
        yield f"{{{_runs(context.compression.positions) or 'own'}}}"
    yield from _named([placed.position for placed in context.local])
    yield f"c{_runs(context.key_positions)}"


def _notes(index: int, scenes: Scenes, compression: Compression | None) -> Iterator[str]:
    if index in scenes.switches:
        yield "new prompt"
    if index in scenes.cuts:
        yield "cut"
    if compression is not None and compression.candidates is not None:
        whole = compression.candidates
        yield f"compresses {_runs(range(whole.start, whole.stop))}"


def _frames(placed: Iterable[Placed]) -> list[int]:
    return [frame.source for frame in placed if isinstance(frame.source, int)]


def _named(numbers: Sequence[int]) -> Iterator[str]:
    if numbers:
        yield _runs(numbers)


def _runs(numbers: Iterable[int]) -> str:
    """Ascending numbers as runs: 0 4-11."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return " ".join("-".join(map(str, run)) for run in runs)
