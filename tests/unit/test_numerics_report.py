"""The table of docs/numerics.md: what it says of a short rollout, and that the file has its rows."""

from __future__ import annotations

from pathlib import Path

from generator import numerics_report
from generator.numerics_report import PAIRS, random, rows, trained
from memory_service.engine import MemoryEngine

DOCUMENT = Path(numerics_report.__file__).parents[1] / "docs" / "numerics.md"


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_rows_of_a_short_rollout(memory: MemoryEngine) -> None:
    table = [cells(row) for row in rows(random(2), [0, 1], memory)]
    assert [row[1] for row in table] == [f"{a} to {b}" for a, b in PAIRS]
    exact, stock, reference, between, unrelated = ([float(cell) for cell in row[2:5]] for row in table)
    assert max(exact) < 1e-6
    for differences in (stock, reference, between):
        assert 1e-3 < min(differences) <= max(differences) < 2e-2
    assert min(unrelated) > 1


def test_the_document_has_every_row() -> None:
    lines = [cells(line) for line in DOCUMENT.read_text(encoding="utf-8").splitlines()]
    wanted = {(make(1).name, f"{a} to {b}") for make in (trained, random) for a, b in PAIRS}
    assert wanted <= {(line[0], line[1]) for line in lines if len(line) == 8}
