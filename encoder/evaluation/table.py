"""A table of estimates: for people in a terminal and as Markdown, for programs as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.table import Table as RichTable

from encoder.evaluation.confidence import Estimate

EMPTY = "-"


@dataclass(frozen=True, slots=True)
class Column:
    """A number of every row: its key, the words over it and the digits after its point."""

    name: str
    title: str
    digits: int


@dataclass(frozen=True, kw_only=True)
class Table:
    """`labels` name the first columns; a row has their texts, then an estimate, or None, for each column."""

    title: str
    labels: Sequence[str]
    columns: Sequence[Column]
    rows: Sequence[tuple[Sequence[str], Sequence[Estimate | None]]]
    note: str

    def rich(self) -> RichTable:
        table = RichTable(box=box.SIMPLE, title=self.title, caption=self.note)
        table.title_justify = table.caption_justify = "left"
        for label in self.labels:
            table.add_column(label)
        for column in self.columns:
            table.add_column(column.title, justify="right")
        for cells in self._cells("\n"):
            table.add_row(*cells)
        return table

    def markdown(self) -> str:
        head = [*self.labels, *(column.title for column in self.columns)]
        rule = ["---"] * len(self.labels) + ["---:"] * len(self.columns)
        lines = ["| " + " | ".join(cells) + " |" for cells in (head, rule, *self._cells(" "))]
        return "\n".join([f"## {self.title}", "", *lines, "", self.note, ""])

    def csv(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        parts = ("", "_low", "_high", "_videos")
        writer.writerow([*self.labels, *(column.name + part for column in self.columns for part in parts)])
        for labels, estimates in self.rows:
            numbers = [
                (e.mean, e.low, e.high, e.num_videos) if e else (None, None, None, 0) for e in estimates
            ]
            writer.writerow([*labels, *(value for four in numbers for value in four)])
        return text.getvalue()

    def _cells(self, between: str) -> list[list[str]]:
        return [
            [
                *labels,
                *(
                    written(estimate, column.digits, between)
                    for column, estimate in zip(self.columns, estimates, strict=True)
                ),
            ]
            for labels, estimates in self.rows
        ]


def written(estimate: Estimate | None, digits: int, between: str = " ") -> str:
    """`0.71 [0.68, 0.74]`; without an interval where one video has the number."""
    if estimate is None:
        return EMPTY
    mean = f"{estimate.mean:.{digits}f}"
    if estimate.low is None or estimate.high is None:
        return mean
    return f"{mean}{between}[{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
