"""How answers are printed: JSON for programs, tables and lines for people."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeAlias

Row: TypeAlias = Mapping[str, Any]
Answer: TypeAlias = Row | Sequence[Row] | Iterator[Row] | None
"""One row, a table, rows that come one after the other, or nothing to say."""


def write(answer: Answer, *, as_json: bool) -> None:
    """Print an answer: as one JSON document, or one a line where rows come one after the other."""
    if isinstance(answer, Iterator):
        for row in answer:
            print(json.dumps(row) if as_json else line(row), flush=True)
    elif answer is not None:
        print(json.dumps(answer, indent=2) if as_json else text(answer))


def text(answer: Row | Sequence[Row]) -> str:
    """A table of rows, or a line for each value of one row with its tables below."""
    if not isinstance(answer, Mapping):
        return table(answer)
    width = max(map(len, answer))
    lines = [
        f"{name:<{width}}  {_cell(value)}" for name, value in answer.items() if not isinstance(value, list)
    ]
    tables = [f"\n{name}\n{table(rows)}" for name, rows in answer.items() if isinstance(rows, list)]
    return "\n".join(lines + tables)


def table(rows: Sequence[Row]) -> str:
    """Columns under their names; "none" without rows."""
    if not rows:
        return "none"
    cells = [list(rows[0]), *([_cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


def line(row: Row) -> str:
    """One row on one line, without what it does not have."""
    return "  ".join(f"{name}={_cell(value)}" for name, value in row.items() if value not in (None, ""))


def time_of(unix_ms: int) -> str:
    """ISO 8601 in UTC."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{name}={text!r}" for name, text in value.items()) or "-"
    return "-" if value is None or value == "" else str(value)
