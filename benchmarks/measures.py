"""Figures from samples. Pure; times in seconds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Sample:
    """What some steps took: seconds by verb, `step` for the whole, and what was used meanwhile.

    `wall` is the time of whole rounds with the checks between steps; `found` of `expected` hits were right.
    CPU seconds are of the clients and of the processes that serve them, without the checks.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)
    client_cpu: float = 0.0
    server_cpu: float = 0.0
    wall: float = 0.0
    found: int = 0
    expected: int = 0

    @property
    def num_steps(self) -> int:
        return len(self.seconds.get("step", ()))

    @property
    def recall(self) -> float:
        return self.found / self.expected if self.expected else math.nan

    @property
    def cpu_per_step(self) -> float:
        """Client and server."""
        return (self.client_cpu + self.server_cpu) / self.num_steps

    @property
    def steps_per_second(self) -> float:
        return self.num_steps / self.wall

    def p(self, percent: float, verb: str = "step") -> float:
        """A percentile of a verb's seconds; not a number when there are none."""
        values = self.seconds.get(verb)
        return float(np.percentile(values, percent)) if values else math.nan

    def add(self, other: "Sample") -> None:
        """Take in another sample; `wall` too, so of samples taken one after the other."""
        for verb, values in other.seconds.items():
            self.seconds.setdefault(verb, []).extend(values)
        self.client_cpu += other.client_cpu
        self.server_cpu += other.server_cpu
        self.wall += other.wall
        self.found += other.found
        self.expected += other.expected


def together(samples: Sequence[Sample], wall: float, server_cpu: float) -> Sample:
    """Samples taken at the same time, by one client each, within `wall` seconds."""
    pooled = Sample()
    for sample in samples:
        pooled.add(sample)
    pooled.wall, pooled.server_cpu = wall, server_cpu
    return pooled


def exponent(seconds: Mapping[int, float]) -> float:
    """b of the least-squares fit seconds = a * n ** b, over at least two sizes n."""
    sizes, values = np.log(list(seconds)), np.log(list(seconds.values()))
    return float(np.polyfit(sizes, values, 1)[0])
