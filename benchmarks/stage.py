"""Peers that run side by side, one or more clients each, measured in turn."""

import os
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.ballast import Ballast
from benchmarks.cache import read_again
from benchmarks.measures import Sample, together
from benchmarks.meter import anonymous_bytes, cpu_seconds, disk_bytes, family
from benchmarks.peers.base import Kind, Served
from benchmarks.rows import FAILED, Row
from benchmarks.worker import Loaded, Worker
from benchmarks.workload import BLOCK_FRAMES, Video

WARM_UP_STEPS = 6

ROUND_S = 0.6
"""What a round of one client is meant to take: slow peers do fewer steps."""


class Stand:
    """One peer with its serving processes and its clients, and what was measured of it so far."""

    def __init__(self, kind: Kind, served: Served, folder: Path, videos: Sequence[Video]) -> None:
        self.kind = kind
        self._served, self._folder, self._videos = served, folder, videos
        self._workers: list[Worker] = []
        self._frames = 0
        self.loaded: Loaded | None = None

    def open(self, num_clients: int) -> None:
        """Have so many clients in all, each with its history loaded, one after the other."""
        for video in self._videos[len(self._workers) : num_clients]:
            self._workers.append(Worker(self.kind, self._served, video))
            loaded: Loaded = self._workers[-1].answer()
            self.loaded = self.loaded or loaded
            self._frames += video.history

    def hot_bytes_per_frame(self, num_clients: int) -> float:
        """Open so many clients, and see what their videos take in the serving processes, which are warm."""
        self.run(WARM_UP_STEPS)
        before, frames = anonymous_bytes(family(self._served.pids)), self._frames
        self.open(num_clients)
        grown = anonymous_bytes(family(self._served.pids)) - before
        return grown / (self._frames - frames) if self._frames > frames else 0.0

    def run(self, num_steps: int, num_clients: int = 1, *, fused: bool = True) -> Sample:
        """A round of the first clients, all at once."""
        workers = self._workers[:num_clients]
        for worker in workers:
            worker.ask(num_steps, fused=fused)
        for worker in workers:
            worker.answer()
        os.sync()  # what others have left in the page cache is not written during this round
        read_again(self._folder)
        server = family(self._served.pids)
        cpu, began = cpu_seconds(server), time.perf_counter()
        for worker in workers:
            worker.go()
        samples: list[Sample] = [worker.answer() for worker in workers]
        self._frames += num_steps * BLOCK_FRAMES * num_clients
        wall = time.perf_counter() - began
        # What a client has started itself, it alone knows.
        server_cpu = cpu_seconds(server) - cpu if server else sum(sample.server_cpu for sample in samples)
        return together(samples, wall, server_cpu)

    def disk_bytes_per_frame(self) -> float:
        """Disk that the peer's folder takes, by the frames that it was given."""
        os.sync()
        return disk_bytes(self._folder) / self._frames

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


@contextmanager
def stands(
    kinds: Mapping[str, Kind], folder: Path, videos: Sequence[Video], ballast: Ballast
) -> Iterator[tuple[dict[str, Stand], dict[str, str]]]:
    """A stand for each peer, with one client that has loaded its history; and why the others have none."""
    ballast.top_up()
    there: dict[str, Stand] = {}
    notes: dict[str, str] = {}
    folder.mkdir(exist_ok=True)
    with ExitStack() as stack:
        for name, kind in kinds.items():
            if missing := kind.missing():
                notes[name] = f"not installed: {missing}"
                continue
            own = folder / f"{len(there) + len(notes):02}"
            own.mkdir()
            try:
                served = stack.enter_context(kind.serve(own))
                stand = Stand(kind, served, own, videos)
                stack.callback(stand.close)
                stand.open(1)
                there[name] = stand
            except Exception as exc:
                notes[name] = failure(exc)
            print(f"  {name}: {notes.get(name, 'ready')}", flush=True)
        yield there, notes


def interleaved(
    there: dict[str, Stand],
    notes: dict[str, str],
    ballast: Ballast,
    *,
    rounds: int,
    max_steps: int,
    fused: bool = True,
) -> dict[str, Sample]:
    """Rounds of one client of every stand, in an order that is drawn anew each time.

    How many steps a peer does in a round follows from how long its warm-up took. A peer that fails is noted
    and left out.
    """
    samples: dict[str, Sample] = {}
    steps: dict[str, int] = {}
    order = random.Random(0)
    for number in range(rounds + 1):
        ballast.top_up()
        for name in order.sample(sorted(there), len(there)):
            if name in notes:
                continue
            try:
                sample = there[name].run(steps.get(name, min(WARM_UP_STEPS, max_steps)), fused=fused)
            except Exception as exc:
                notes[name] = failure(exc)
                samples.pop(name, None)
                continue
            if number == 0:
                steps[name] = max(4, min(max_steps, int(ROUND_S / sample.p(50))))
                samples[name] = Sample()
            else:
                samples[name].add(sample)
        print(f"  round {number}/{rounds}", flush=True)
    return samples


def rows(
    kinds: Mapping[str, Kind],
    there: Mapping[str, Stand],
    notes: Mapping[str, str],
    samples: Mapping[str, Sample],
    *,
    history: int,
) -> list[Row]:
    """One row for each kind, measured or not."""
    table = []
    for name, kind in kinds.items():
        row = Row.of(kind, history=history, note=notes.get(name, ""))
        if name in samples and name not in notes:
            row.sample, row.loaded = samples[name], there[name].loaded
            row.disk_bytes_per_frame = there[name].disk_bytes_per_frame()
        table.append(row)
    return table


def failure(exc: Exception) -> str:
    """One line for a table."""
    lines = [line for line in str(exc).splitlines() if line.strip()]
    return f"{FAILED} {lines[-1] if lines else type(exc).__name__}"[:160]
