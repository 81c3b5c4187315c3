"""What a peer must do to be measured."""

import importlib.util
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from numpy.typing import NDArray

from benchmarks.workload import Block, Step, Vectors, Video


class Durability(StrEnum):
    """What an acknowledged block survives. Only equals are compared, and with their own floor."""

    MEM = "nothing"
    FILE = "kill -9"
    SYNC = "power loss"


class Peer(Protocol):
    """One open video of a peer. A fetch copies into `staging`, uint8 [k, LATENT_BYTES], in that order."""

    def append(self, block: Block) -> None: ...
    def search(self, query: Vectors, k: int, start: int, stop: int) -> Sequence[int]: ...
    def fetch(self, frames: Sequence[int], staging: NDArray) -> None: ...
    def close(self) -> None: ...


@runtime_checkable
class Fused(Protocol):
    """A peer that does a whole step in one call. Returns the hits; None where there is nothing to check."""

    def step(self, step: Step, staging: NDArray) -> Sequence[int] | None: ...


@runtime_checkable
class Native(Protocol):
    """A peer that runs and times many steps by itself: seconds of each, CPU seconds, hits."""

    def run(self, steps: Sequence[Step]) -> tuple[list[float], list[float], list[Sequence[int]]]: ...


@dataclass(frozen=True)
class Served:
    """Where a peer is reached, and the processes that serve it; none for one that runs in the client."""

    place: str
    pids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Kind:
    """A way to keep frames, and how to run it. Instances go to other processes, so they hold plain values.

    `modules` and `commands` are what it needs beyond the development environment; `packages` are the
    distributions whose versions a report names; `install` is what a reader types to get it.
    """

    name: str
    durability: Durability

    modules: ClassVar[tuple[str, ...]] = ()
    commands: ClassVar[tuple[str, ...]] = ()
    packages: ClassVar[tuple[str, ...]] = ()
    install: ClassVar[str] = ""
    is_database: ClassVar[bool] = False
    """Whether it is sold as a store that searches vectors: those are the ones to be ahead of."""

    def missing(self) -> str:
        """What has to be installed first, as a command; empty when nothing has."""
        there = all(importlib.util.find_spec(name) for name in self.modules)
        return "" if there and all(map(shutil.which, self.commands)) else self.install

    @contextmanager
    def serve(self, folder: Path) -> Iterator[Served]:
        """Run whatever must run beside the clients; `folder` is empty and this peer's own."""
        yield Served(str(folder))

    def connect(self, place: str, video: Video) -> Peer:
        """Open a new, empty video. Called once per video, in the process that uses it."""
        raise NotImplementedError
