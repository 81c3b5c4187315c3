"""How far rollouts are: live bars in a terminal, plain lines elsewhere, JSON lines to a parent process.

A rollout is named by its label, e.g. "village native". Counts are latent frames.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, Self, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

PLAIN_STEPS = 10
"""Lines that a rollout prints on its way where there is no terminal."""


class Meter(Protocol):
    """What a rollout reports to. One meter may serve several rollouts at once."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def plan(self, label: str, num_frames: int) -> None:
        """Announce a rollout that will come; announcing it again changes nothing."""

    def begin(self, label: str) -> None:
        """The rollout's first block is being made."""

    def advance(self, label: str, frames: int) -> None:
        """So many more frames are done."""

    def end(self, label: str) -> None:
        """The rollout's files are written."""


class RateColumn(ProgressColumn):
    """Latent frames per second over the whole rollout; empty before the first block."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:5.1f} frames/s", style="progress.data.speed")


class BarMeter(Meter):
    """One live bar per rollout."""

    def __init__(self, console: Console) -> None:
        self._tasks: dict[str, TaskID] = {}
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            TextColumn("{task.completed:.0f}/{task.total:.0f} frames"),
            RateColumn(),
            TextColumn("{task.fields[state]}", style="dim"),
            TimeRemainingColumn(compact=True),
            console=console,
        )

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def plan(self, label: str, num_frames: int) -> None:
        if label not in self._tasks:
            self._tasks[label] = self._bars.add_task(label, total=num_frames, state="waiting")

    def begin(self, label: str) -> None:
        self._bars.update(self._tasks[label], state="")

    def advance(self, label: str, frames: int) -> None:
        self._bars.advance(self._tasks[label], frames)

    def end(self, label: str) -> None:
        self._bars.update(self._tasks[label], state="done")


@dataclass(slots=True)
class _Count:
    total: int
    done: int = 0
    started: float = 0.0


class LineMeter(Meter):
    """A line at the start, at every tenth and at the end of a rollout."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._write, self._clock = write, clock
        self._counts: dict[str, _Count] = {}

    def plan(self, label: str, num_frames: int) -> None:
        self._counts.setdefault(label, _Count(num_frames))

    def begin(self, label: str) -> None:
        self._counts[label].started = self._clock()
        self._write(f"{label}: 0/{self._counts[label].total} frames")

    def advance(self, label: str, frames: int) -> None:
        count = self._counts[label]
        before, count.done = count.done, count.done + frames
        if count.done * PLAIN_STEPS // count.total == before * PLAIN_STEPS // count.total:
            return
        rate = count.done / max(self._clock() - count.started, 1e-9)
        left = (count.total - count.done) / rate
        self._write(f"{label}: {count.done}/{count.total} frames, {rate:.1f} frames/s, {left:.0f} s left")

    def end(self, label: str) -> None:
        self._write(f"{label}: done")


class JsonMeter(Meter):
    """One JSON object a line, for a parent that calls `replay` on each."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def plan(self, label: str, num_frames: int) -> None:
        self._send(event="plan", label=label, num_frames=num_frames)

    def begin(self, label: str) -> None:
        self._send(event="begin", label=label)

    def advance(self, label: str, frames: int) -> None:
        self._send(event="advance", label=label, frames=frames)

    def end(self, label: str) -> None:
        self._send(event="end", label=label)

    def _send(self, **event: str | int) -> None:
        print(json.dumps(event), file=self._stream, flush=True)


def replay(line: str, meter: Meter) -> None:
    """Hand one line of a `JsonMeter` to another meter. Raises ValueError where it is none."""
    match json.loads(line):
        case {"event": "plan", "label": str(label), "num_frames": int(num_frames)}:
            meter.plan(label, num_frames)
        case {"event": "begin", "label": str(label)}:
            meter.begin(label)
        case {"event": "advance", "label": str(label), "frames": int(frames)}:
            meter.advance(label, frames)
        case {"event": "end", "label": str(label)}:
            meter.end(label)
        case _:
            raise ValueError(f"not a line of progress: {line!r}")


def meter_for(console: Console) -> Meter:
    """Bars where someone watches, lines where the output is kept."""
    return (
        BarMeter(console)
        if console.is_terminal
        else LineMeter(lambda line: console.print(line, highlight=False))
    )
