"""What a training shows while it runs: a bar with steps, rate and time left, and a line an epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from encoder.training import curve
from encoder.training.trainer import Watch


@contextmanager
def shown(console: Console, steps_done: int) -> Iterator[Watch]:
    """What to tell a Trainer's `train`; the bar goes when the block ends."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} steps/s"),
        TimeRemainingColumn(),
    )
    began = time.monotonic()
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("steps", total=None, completed=steps_done, rate=0.0)

        def watch(done: int, total: int, row: curve.Row | None) -> None:
            rate = (done - steps_done) / (time.monotonic() - began)
            bars.update(task, completed=done, total=total, rate=rate)
            if row is not None:
                console.print(line(row), highlight=False, soft_wrap=True)

        yield watch


def line(row: curve.Row) -> str:
    """One epoch in words."""
    parts = (
        f"{part} {row[f'{part}_total']:.4f} ("
        + ", ".join(f"{term} {row[f'{part}_{term}']:.4f}" for term in curve.TERMS)
        + ")"
        for part in ("train", "validation")
    )
    return f"epoch {row['epoch']:.0f}: " + ", ".join(parts)
