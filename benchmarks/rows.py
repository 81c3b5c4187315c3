"""What a run found, as tables, plots and targets read it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.measures import Sample
from benchmarks.peers.base import Kind
from benchmarks.worker import Loaded

FAILED = "failed:"
"""How the note of a peer begins that is installed and did not work."""


@dataclass
class Row:
    """One peer under one load. `note` says why there are no figures: not installed, or what went wrong."""

    name: str
    durability: str
    is_database: bool
    clients: int = 1
    history: int = 0
    sample: Sample = field(default_factory=Sample)
    loaded: Loaded | None = None
    disk_bytes_per_frame: float = 0.0
    hot_bytes_per_frame: float = 0.0
    """Anonymous memory that further videos take in the serving processes, per frame."""
    note: str = ""

    @classmethod
    def of(cls, kind: Kind, **values: Any) -> "Row":
        """An empty row of a peer."""
        return cls(kind.name, kind.durability.value, kind.is_database, **values)

    @property
    def measured(self) -> bool:
        return self.sample.num_steps > 0

    @property
    def p50(self) -> float:
        """Seconds of a step."""
        return self.sample.p(50)


@dataclass
class Cold:
    """A server on a data directory with many videos that nobody uses."""

    videos: int
    written_s: float
    start_s: float
    resident_bytes: int
    anonymous_bytes: int
    first_use_s: dict[int, list[float]]
    resident_after: int


@dataclass
class Results:
    """All that one run found; what was not asked for stays empty."""

    peers: list[Row] = field(default_factory=list)
    databases: list[Row] = field(default_factory=list)
    """With floors and ours again: only rows of one list were measured side by side."""
    clients: list[Row] = field(default_factory=list)
    growth: list[Row] = field(default_factory=list)
    cold: Cold | None = None
    cold_failure: str = ""
    memory: str = ""
    """What was free as rounds began, as `Ballast` tells it."""

    def all_rows(self) -> list[Row]:
        """Of all parts, measured or not."""
        return [*self.peers, *self.databases, *self.clients, *self.growth]

    def row(self, name: str) -> Row | None:
        """The measured row of a peer with one client."""
        return named(self.peers, name)

    def with_clients(self, name: str, clients: int) -> Row | None:
        """The measured row of a peer with so many clients."""
        return next((r for r in self.clients if r.name == name and r.clients == clients and r.measured), None)

    def grown(self, name: str) -> dict[int, Row]:
        """The measured rows of a peer by length of the history."""
        return {row.history: row for row in self.growth if row.name == name and row.measured}


def named(table: Sequence[Row], name: str) -> Row | None:
    """The row of that name, if it was measured."""
    return next((row for row in table if row.name == name and row.measured), None)
