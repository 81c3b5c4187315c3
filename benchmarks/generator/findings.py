"""What a run found, and the figures that follow from it. Pure; times in milliseconds, sizes in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, median

from benchmarks.generator.arithmetic import Model, Work
from benchmarks.generator.ceilings import Ceilings

PARTS = ("fetch", "denoise", "encode", "recache", "wait", "other")
"""What a block spends one after the other; `other` is the rest of its time."""

PASSES = ("denoise", "recache")
"""Parts in which the transformer runs."""

RETRIEVAL_LIMIT = 0.05
"""Most that retrieval may cost, as a share of the control's block."""


@dataclass(frozen=True, kw_only=True)
class BlockCost:
    """One block of one rollout."""

    context_frames: int
    """Beside its own."""

    parts: Mapping[str, float]
    total: float
    cpu: float
    """Of this process, all threads: on the CPU whatever hides behind something else counts here."""

    host_bytes: int
    """Keys and values brought back from the host."""

    kept_bytes: int
    """Keys and values on the host by now."""


@dataclass(frozen=True)
class Arm:
    """A method on a kind of memory."""

    method: str
    memory: str = "embedded"
    again: bool = False
    """A second arm of the same kind: what it differs by is noise."""

    @property
    def name(self) -> str:
        return f"{self.method}, {self.memory}{', again' if self.again else ''}"


@dataclass
class Row:
    """All rollouts of one arm: one list of blocks per round."""

    arm: Arm
    rollouts: list[list[BlockCost]] = field(default_factory=list)
    peak_bytes: int = 0
    """Of one rollout alone: the device's memory, or what the process took beyond what it had."""

    kept_bytes: int = 0
    """Keys and values on the host at its end."""

    def steady(self, full: int) -> list[BlockCost]:
        """Of each block that attends `full` frames beside itself, the fastest of all rounds."""
        best = [min(blocks, key=lambda block: block.total) for blocks in zip(*self.rollouts, strict=True)]
        return [block for block in best if block.context_frames == full]


@dataclass
class Findings:
    """One run."""

    subject: str
    device: str
    dtype: str
    threads: int
    model: Model
    passes: int
    """Of one block, the clean one too."""

    full: int
    """Frames that a block attends beside itself once its context is full."""

    rows: list[Row]
    ceilings: Ceilings = field(default_factory=Ceilings)

    def row(self, arm: Arm) -> Row:
        return next(row for row in self.rows if row.arm == arm)

    def work(self) -> Work:
        """Of a block with a full context."""
        return self.model.forward(self.full).times(self.passes)

    def floor_ms(self) -> float:
        """What a block with a full context cannot be faster than."""
        num_bytes = self.passes * self.model.forward_bytes(self.full)
        return 1e3 * self.ceilings.floor_s(self.work().total, num_bytes)

    def block_ms(self, row: Row) -> float:
        return fmean(block.total for block in row.steady(self.full))

    def cpu_ms(self, row: Row) -> float:
        """CPU time of a block."""
        blocks = [column for column in zip(*row.rollouts, strict=True) if self._counts(column[0])]
        return fmean(min(block.cpu for block in column) for column in blocks)

    def part_ms(self, row: Row) -> dict[str, float]:
        """Mean of each part over the blocks of `block_ms`; they add up to it."""
        blocks = row.steady(self.full)
        parts = {part: fmean(block.parts.get(part, 0.0) for block in blocks) for part in PARTS[:-1]}
        return {**parts, "other": self.block_ms(row) - sum(parts.values())}

    def rate(self, row: Row) -> float:
        """Operations per second of the passes."""
        parts = self.part_ms(row)
        return 1e3 * self.work().total / sum(parts[part] for part in PASSES)

    def host_bytes(self, row: Row) -> float:
        """Keys and values brought back per block."""
        return fmean(block.host_bytes for block in row.steady(self.full))

    def cost(self, arm: Arm, control: Arm) -> float:
        """What an arm takes beyond another, as a share of that one's block."""
        control_ms = self.block_ms(self.row(control))
        return self.block_ms(self.row(arm)) / control_ms - 1

    def cpu_cost(self, arm: Arm, control: Arm) -> float:
        """The same in CPU time, least of all rounds."""
        return self.cpu_ms(self.row(arm)) / self.cpu_ms(self.row(control)) - 1

    def paired_cost(self, arm: Arm, control: Arm) -> float:
        """The same as the median over all blocks of all rounds, each against its own round's control."""
        return median(
            one.total / other.total - 1
            for ours, theirs in zip(self.row(arm).rollouts, self.row(control).rollouts, strict=True)
            for one, other in zip(ours, theirs, strict=True)
            if self._counts(one)
        )

    def _counts(self, block: BlockCost) -> bool:
        """Whether its context is full."""
        return block.context_frames == self.full


def verdict(cost: float) -> str:
    return "met" if cost <= RETRIEVAL_LIMIT else "**not met**"
