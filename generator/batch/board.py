"""How far a batch is, per worker and over all: live bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from generator.processes.progress import LineMeter, RateColumn


class Board(Protocol):
    """What a batch reports to. Workers are numbered from 1; counts are latent frames."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def begin(self, worker: int, job: str) -> None:
        """A worker makes its job's first block."""

    def advance(self, worker: int, frames: int) -> None:
        """So many more frames of its job are done."""

    def end(self, worker: int, job: str, outcome: str) -> None:
        """A worker is rid of its job, "done" or other; only what is done counts."""

    def lose(self, worker: int, reason: str) -> None:
        """A worker is gone for good, and the reason names it; the others go on."""


class Tally:
    """Jobs and frames of a batch, and how long the rest will take at this rate."""

    def __init__(
        self, num_jobs: int, frames_per_job: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.num_jobs, self.frames_per_job = num_jobs, frames_per_job
        self.done = self.failed = 0
        self._begun: dict[int, int] = {}
        self._clock, self._started = clock, clock()

    @property
    def frames(self) -> int:
        """Frames that are done, of jobs under way too, and those that will never come."""
        return (self.done + self.failed) * self.frames_per_job + sum(self._begun.values())

    @property
    def num_frames(self) -> int:
        return self.num_jobs * self.frames_per_job

    def begin(self, worker: int) -> None:
        self._begun[worker] = 0

    def advance(self, worker: int, frames: int) -> None:
        self._begun[worker] += frames

    def end(self, worker: int, outcome: str) -> None:
        self._begun.pop(worker, None)
        self.done += outcome == "done"
        self.failed += outcome == "failed"

    def words(self) -> str:
        elapsed = self._clock() - self._started
        left = elapsed * (self.num_frames - self.frames) / self.frames if self.frames else None
        failed = f", {self.failed} failed" if self.failed else ""
        ahead = "" if left is None else f", {left:.0f} s left"
        return f"{self.done}/{self.num_jobs} videos{failed}{ahead}"


class BarBoard(Board):
    """One live bar per worker, and one for all videos."""

    def __init__(self, console: Console, tally: Tally, num_workers: int) -> None:
        self._tally = tally
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f} frames"),
            RateColumn(),
            TextColumn("{task.fields[state]}", style="dim"),
            TimeRemainingColumn(compact=True),
            console=console,
        )
        frames = tally.frames_per_job
        self._overall = self._bars.add_task("all", total=tally.num_frames, state="")
        self._tasks = {
            worker: self._bars.add_task(f"worker {worker}", total=frames, state="loading", start=False)
            for worker in range(1, num_workers + 1)
        }

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def begin(self, worker: int, job: str) -> None:
        self._tally.begin(worker)
        self._bars.reset(self._tasks[worker], description=f"worker {worker}: {job}", state="")
        self._show_overall()

    def advance(self, worker: int, frames: int) -> None:
        self._tally.advance(worker, frames)
        self._bars.advance(self._tasks[worker], frames)
        self._show_overall()

    def end(self, worker: int, job: str, outcome: str) -> None:
        self._tally.end(worker, outcome)
        self._bars.update(self._tasks[worker], description=f"worker {worker}: {job}", state=outcome)
        self._show_overall()

    def lose(self, worker: int, reason: str) -> None:
        self._bars.update(self._tasks[worker], state="gone")
        self._bars.console.print(reason, highlight=False, markup=False, soft_wrap=True)

    def _show_overall(self) -> None:
        failed = f", {self._tally.failed} failed" if self._tally.failed else ""
        state = f"{self._tally.done}/{self._tally.num_jobs} videos{failed}"
        self._bars.update(self._overall, completed=self._tally.frames, state=state)


class LineBoard(Board):
    """The lines of a rollout for each worker's job, and one over all whenever a job ends."""

    def __init__(self, write: Callable[[str], None], tally: Tally) -> None:
        self._write, self._tally = write, tally
        self._meters: dict[int, tuple[str, LineMeter]] = {}

    def begin(self, worker: int, job: str) -> None:
        self._tally.begin(worker)
        label, meter = f"worker {worker}: {job}", LineMeter(self._write)
        self._meters[worker] = label, meter
        meter.plan(label, self._tally.frames_per_job)
        meter.begin(label)

    def advance(self, worker: int, frames: int) -> None:
        self._tally.advance(worker, frames)
        label, meter = self._meters[worker]
        meter.advance(label, frames)

    def end(self, worker: int, job: str, outcome: str) -> None:
        self._tally.end(worker, outcome)
        self._write(f"worker {worker}: {job}: {outcome}")
        self._write(f"all: {self._tally.words()}")

    def lose(self, worker: int, reason: str) -> None:  # noqa: ARG002
        self._write(reason)


def board_for(console: Console, tally: Tally, num_workers: int) -> Board:
    """Bars where someone watches, lines where the output is kept."""
    if console.is_terminal:
        return BarBoard(console, tally, num_workers)
    return LineBoard(lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True), tally)
