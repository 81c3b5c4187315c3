"""The loss curve of a training: a row an epoch, as CSV and as a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from encoder.files import replacing

Row = Mapping[str, float]

TERMS = ("recon", "delta", "smooth")
FIELDS = (
    "epoch",
    "steps",
    *(f"{part}_{term}" for part in ("train", "validation") for term in (*TERMS, "total")),
)
"""`steps` counts from the beginning of the training; terms have their weights applied."""


def row(epoch: int, steps: int, train: Sequence[float], validation: Sequence[float]) -> dict[str, float]:
    """One epoch of the curve: means of recon, delta and smooth over its batches, and their sums."""
    return dict(zip(FIELDS, (epoch, steps, *train, sum(train), *validation, sum(validation)), strict=True))


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Numbers are written so that they are read back bit for bit."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with replacing(path) as aside:
        aside.write_text(text.getvalue())


def read_csv(path: Path) -> list[dict[str, float]]:
    """The rows of a file that `write_csv` wrote."""
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in line.items()} for line in csv.DictReader(file)]


def draw(rows: Sequence[Row], path: Path) -> None:
    """One panel a term and one for the sum, training beside validation."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    FigureCanvasAgg(figure)
    epochs = [line["epoch"] for line in rows]
    for axes, term in zip(figure.subplots(2, 2).flat, ("total", *TERMS), strict=True):
        for part, colour in (("train", "0.6"), ("validation", "C0")):
            axes.plot(epochs, [line[f"{part}_{term}"] for line in rows], color=colour, label=part)
        axes.set(title=term, xlabel="epoch")
        axes.grid(alpha=0.3)
    figure.axes[0].legend()
    with replacing(path) as aside:
        figure.savefig(aside, dpi=90, format="png")
