"""Simulated generators: each is a process that steps through its own video and times every verb."""

import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.numpy_memory import NumpyMemory
from benchmarks.workload import LATENT_BYTES, K, Step, Workload
from memory_service.client import MemoryClient
from memory_service.engine import MemoryEngine
from memory_service.memory import Memory
from memory_service.types import LATENT, Query, VideoKey

VERBS = ("append", "search", "fetch", "advance")

Seconds = dict[str, list[float]]

OPENING_S = 300.0
"""Deadline of a client: sixteen cold videos of 4,800 frames are opened at once, 15 GB of checksums."""


@dataclass(frozen=True)
class Target:
    """What one generator talks to.

    `kind` is "numpy", "engine" or "client"; `place` is a data directory or an address.
    """

    name: str
    kind: str
    place: str
    num_steps: int
    history: int
    seed: int

    @property
    def key(self) -> VideoKey:
        return VideoKey("bench", f"{self.name}-{self.history}-{self.seed}")

    def workload(self) -> Workload:
        return Workload(self.seed, self.history, self.num_steps)


class Stepper(Protocol):
    """The four verbs as a generator uses them; payloads end up in `staging`."""

    def append(self, step: Step) -> None: ...
    def search(self, step: Step) -> tuple[int, ...]: ...
    def fetch(self, frames: Sequence[int]) -> None: ...
    def advance(self, step: Step) -> tuple[int, ...]: ...


class NumpyStepper:
    """In-process arrays; advance is the three verbs one after the other."""

    def __init__(self, target: Target) -> None:
        self._memory = NumpyMemory(target.workload())
        self._staging = np.empty((K, LATENT_BYTES), np.uint8)

    def append(self, step: Step) -> None:
        self._memory.append(step.block)

    def search(self, step: Step) -> tuple[int, ...]:
        return tuple(self._memory.search(step.query, K, step.eligible))

    def fetch(self, frames: Sequence[int]) -> None:
        for row, latent in zip(self._staging, self._memory.fetch(list(frames)), strict=False):
            row[:] = latent

    def advance(self, step: Step) -> tuple[int, ...]:
        self.append(step)
        frames = self.search(step)
        self.fetch(frames)
        return frames


class MemoryStepper:
    """The memory itself, in process or over gRPC; every fetched payload is checked against its frame."""

    def __init__(self, memory: Memory, key: VideoKey) -> None:
        self._memory = memory
        self._key = key
        self._handles: dict[int, Any] = {}
        self._staging = np.empty((K, LATENT_BYTES), np.uint8)

    def append(self, step: Step) -> None:
        self._memory.append(self._key, step.block)

    def search(self, step: Step) -> tuple[int, ...]:
        found = self._memory.search(self._key, [Query(K, step.eligible, step.query)])
        self._handles = {hit.handle.frame: hit.handle for hit in found.hits[0]}
        return tuple(self._handles)

    def fetch(self, frames: Sequence[int]) -> None:
        self._stage(self._memory.fetch([self._handles[f] for f in frames], [LATENT]))

    def advance(self, step: Step) -> tuple[int, ...]:
        advanced = self._memory.advance(self._key, step.block, Query(K, step.eligible, step.query))
        self._stage(advanced.frames)
        return tuple(hit.handle.frame for hit in advanced.hits)

    def _stage(self, frames: Sequence[Any]) -> None:
        for row, frame in zip(self._staging, frames, strict=True):
            row[:] = np.frombuffer(frame.parts[LATENT], np.uint8)
            if int.from_bytes(row[:8].tobytes(), "little") != frame.handle.frame:
                raise SystemExit(f"wrong payload for frame {frame.handle.frame}")


def _open(target: Target) -> Stepper:
    if target.kind == "numpy":
        return NumpyStepper(target)
    memory: Memory = (
        MemoryEngine(Path(target.place))
        if target.kind == "engine"
        else MemoryClient(target.place, timeout_s=OPENING_S)
    )
    return MemoryStepper(memory, target.key)


def _timed(seconds: Seconds, verb: str, call: Callable[[], Any]) -> Any:
    start = time.perf_counter()
    result = call()
    seconds[verb].append(time.perf_counter() - start)
    return result


def _run_steps(stepper: Stepper, steps: Sequence[Step]) -> Seconds:
    """First half: append, search and fetch one by one; second half: advance."""
    seconds: Seconds = defaultdict(list)
    half = len(steps) // 2
    for step in steps[:half]:
        _timed(seconds, "append", lambda step=step: stepper.append(step))
        frames = _timed(seconds, "search", lambda step=step: stepper.search(step))
        _timed(seconds, "fetch", lambda frames=frames: stepper.fetch(frames))
        _check(frames, step)
    for step in steps[half:]:
        _check(_timed(seconds, "advance", lambda step=step: stepper.advance(step)), step)
    return dict(seconds)


def _check(frames: tuple[int, ...], step: Step) -> None:
    if frames != step.expected:
        raise SystemExit(f"wrong hits: {frames} instead of {step.expected}")


def _serve_rounds(target: Target, pipe: Connection) -> None:
    """Body of a generator process: one reply of timings per round asked for."""
    stepper = _open(target)
    steps = target.workload().steps()
    stepper.search(steps[0])  # a cold video is verified and indexed at its first use: not part of a step
    pipe.send("ready")
    while (part := pipe.recv()) is not None:
        pipe.send(_run_steps(stepper, steps[part]))


class Generators:
    """A set of generator processes that run rounds at the same time."""

    def __init__(self, targets: Sequence[Target]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for target in targets:
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve_rounds, args=(target, theirs), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        for pipe in self._pipes:
            pipe.recv()

    def run_round(self, part: slice) -> Seconds:
        """Timings of all generators over their steps `part`, pooled."""
        for pipe in self._pipes:
            pipe.send(part)
        pooled: Seconds = defaultdict(list)
        for pipe in self._pipes:
            for verb, values in pipe.recv().items():
                pooled[verb] += values
        return dict(pooled)

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join()
