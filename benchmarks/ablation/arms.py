"""The arms of the ablation: what fills a block's context, and by which embedding it is chosen.

All arms roll out the same prompts on the same noise; they differ in nothing but what is named here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from encoder.untrained import AVG_POOL, ROW_POOL
from generator.configs import Window
from generator.methods import policy_named
from generator.methods.context import Policy, eligible
from generator.methods.retrieving import Retrieving
from memory_service.types import Policy as Selection
from memory_service.types import Span

ORACLE, NEAREST = "oracle_memory", "nearest_memory"


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One row of the table."""

    name: str
    method: str
    encoder: str = AVG_POOL
    """Name of the embedding; where the method does not search, nothing depends on it."""
    selection: Selection = Selection()  # noqa: RUF009 (frozen)

    def policy(self, cells: Sequence[int], given_frames: int = 0) -> Policy:
        """The method; cells [frames] are the camera's, for the one that may know them.

        Of a past that is given nobody knows what it would have attended: it is passed with nothing retrieved.
        """
        if self.method in (ORACLE, NEAREST):
            told = TrueMemory(
                self.method, filled_by="newest", cells=tuple(cells), ahead=self.method == ORACLE
            )
            return Afterwards(self.method, "newest", inner=told, given_frames=given_frames)
        policy = policy_named(self.method)
        if isinstance(policy, Retrieving):
            return Afterwards(policy.name, policy.filled_by, inner=policy, given_frames=given_frames)
        return policy


@dataclass(frozen=True, kw_only=True)
class Afterwards(Retrieving):
    """Another policy whose blocks of a given past retrieve nothing."""

    inner: Retrieving
    given_frames: int

    def chosen(self, window: Window, span: Span, since: int = 0) -> Sequence[int]:
        return () if span.start < self.given_frames else self.inner.chosen(window, span, since)


@dataclass(frozen=True, kw_only=True)
class TrueMemory(Retrieving):
    """Retrieves by the camera's true path: of each place its first visit, the nearest first.

    Of what it retrieves nothing is newer than what the others may retrieve.
    """

    cells: tuple[int, ...]

    ahead: bool
    """Nearest to the coming block, which no method knows that is asked with the last frame; or to that frame:
    what an embedding would find that knew places perfectly."""

    def chosen(self, window: Window, span: Span, since: int = 0) -> Sequence[int]:
        allowed = eligible(window, span)
        target = self.cells[(span.start + span.stop - 1) // 2 if self.ahead else span.start - 1]
        visits: dict[int, int] = {}
        for frame in range(max(allowed.start, since), allowed.stop):
            visits.setdefault(self.cells[frame], frame)
        nearest = sorted(visits, key=lambda cell: (abs(cell - target), visits[cell]))
        return [visits[cell] for cell in nearest[: window.top_k]]


FULL = Arm(name="full loss", method="longlive_rag", encoder="full")
RELATIVE = Arm(name="relative", method="relative")
RANDOM = Arm(name="random memory", method="random_memory")
ORACLE_ARM = Arm(name="oracle memory", method=ORACLE)
NEAREST_ARM = Arm(name="nearest true place", method=NEAREST)

ARMS = (
    Arm(name="native", method="native"),
    RELATIVE,
    RANDOM,
    Arm(name="average pool", method="longlive_rag"),
    Arm(name="row pool", method="longlive_rag", encoder=ROW_POOL),
    Arm(name="AE", method="longlive_rag", encoder="ae"),
    Arm(name="AE + delta", method="longlive_rag", encoder="delta"),
    FULL,
    Arm(name="full, gap 2", method="longlive_rag", encoder="full", selection=Selection(min_gap_frames=2)),
    Arm(name="full, MMR 0.7", method="longlive_rag", encoder="full", selection=Selection(mmr_lambda=0.7)),
    NEAREST_ARM,
    ORACLE_ARM,
)

FROM_NOTHING = (RELATIVE, RANDOM, FULL, ORACLE_ARM)
"""What is rolled out once more with nothing given."""
