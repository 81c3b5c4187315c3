"""What a batch and its workers tell each other: one JSON object a line.

To a worker goes an `Order`. From it come READY once its model is loaded, the lines of a `JsonMeter` while it
makes what was ordered, and then its `Outcome`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

READY = '{"event": "ready"}'


@dataclass(frozen=True, kw_only=True)
class Order:
    """One rollout to make; `drop`: the memory has part of it from an earlier attempt."""

    name: str
    prompt: str
    seed: int
    method: str
    drop: bool

    def to_line(self) -> str:
        return json.dumps(asdict(self))

    @staticmethod
    def from_line(line: str) -> Order:
        return Order(**json.loads(line))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an order: failed where there is a reason, else what it left."""

    reason: str = ""
    seconds: float = 0.0
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name -> its `bytes` and `sha256`."""

    settings: Mapping[str, object] = field(default_factory=dict)
    timings: Mapping[str, object] = field(default_factory=dict)
    retrievals: Mapping[str, object] = field(default_factory=dict)

    def to_line(self) -> str:
        return json.dumps({"event": "outcome", **asdict(self)})


def parse(line: str) -> dict[str, Any]:
    """A line of a worker, by its `event`. Raises ValueError where it is none."""
    message = json.loads(line)
    if not isinstance(message, dict) or "event" not in message:
        raise ValueError(f"not a message of a worker: {line!r}")
    return message
