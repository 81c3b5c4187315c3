"""One client of one peer, in a process of its own, that runs rounds of steps when it is told to."""

import gc
import multiprocessing
import os
import time
import traceback
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks.measures import Sample
from benchmarks.meter import anonymous_bytes, cpu_seconds, family
from benchmarks.peers.base import Fused, Kind, Native, Peer, Served
from benchmarks.workload import LATENT_BYTES, SMALL_BYTES, K, Step, Video, Workload

COMPARE_EVERY = 10
"""Steps of which every byte of every payload is compared; of the others, the frame numbers."""

_LOADING_BYTES = 8 << 20
"""Most that one block of a long history carries."""


class Wrong(Exception):
    """A peer answered with other bytes than it was given, or with too few hits."""


@dataclass(frozen=True)
class Loaded:
    """What the history of a video takes: bytes of anonymous memory in the client and in the server."""

    client_bytes: int
    server_bytes: int
    seconds: float


class Worker:
    """Handle on the process. `ask` and `answer` are apart, so that several run at the same time.

    Raises RuntimeError with the other side's traceback.
    """

    def __init__(self, kind: Kind, served: Served, video: Video) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(kind, served, video, theirs), daemon=False)
        self._process.start()
        theirs.close()

    def ask(self, num_steps: int, *, fused: bool = True) -> None:
        """Have steps made; `answer` then says that they are ready."""
        self._pipe.send((num_steps, fused))

    def go(self) -> None:
        """Have the steps run."""
        self._pipe.send("go")

    def answer(self) -> Any:
        """What the process says next: Loaded at first, "ready" after `ask`, a Sample after `go`."""
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            raise RuntimeError(f"the client ended with exit code {self._process.exitcode}") from None
        if isinstance(answer, str) and answer != "ready":
            raise RuntimeError(answer)
        return answer

    def run(self, num_steps: int, *, fused: bool = True) -> Sample:
        """One round of one client."""
        self.ask(num_steps, fused=fused)
        self.answer()
        self.go()
        sample: Sample = self.answer()
        return sample

    def close(self) -> None:
        """End the process."""
        with suppress(OSError):  # a process that has failed reads no more
            self._pipe.send(None)
        self._process.join(60)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()


def _main(kind: Kind, served: Served, video: Video, pipe: Connection) -> None:
    try:
        _serve(kind, served, video, pipe)
    except Exception:
        pipe.send(traceback.format_exc())


def _serve(kind: Kind, served: Served, video: Video, pipe: Connection) -> None:
    workload = Workload(video)
    server = _servers(served)
    before = anonymous_bytes([os.getpid()]), anonymous_bytes(server)
    began = time.perf_counter()
    peer = kind.connect(served.place, video)
    _load(peer, workload)
    server = _servers(served)  # one may fork for each connection, or be started by its client
    pipe.send(
        Loaded(
            anonymous_bytes([os.getpid()]) - before[0],
            anonymous_bytes(server) - before[1],
            time.perf_counter() - began,
        )
    )
    staging = np.zeros((K, LATENT_BYTES), np.uint8)
    while (asked := pipe.recv()) is not None:
        num_steps, fused = asked
        steps = workload.steps(num_steps)
        gc.collect()
        pipe.send("ready")
        if pipe.recv() is None:
            break
        run = _Round(peer, workload, staging, server)
        pipe.send(run.native(steps) if isinstance(peer, Native) else run.verbs(steps, fused=fused))
    peer.close()


def _servers(served: Served) -> tuple[int, ...]:
    """The processes that serve a peer, wherever they were started."""
    return tuple(pid for pid in family([*served.pids, os.getpid()]) if pid != os.getpid())


def _load(peer: Peer, workload: Workload) -> None:
    video = workload.video
    if video.small_history:
        for frames in workload.history(_LOADING_BYTES // 64 // 1024):
            for part in _at(frames, video.first_full):
                peer.append(workload.block(part))
    else:
        for frames in workload.history():
            peer.append(workload.block(frames))


def _at(frames: range, border: int) -> list[range]:
    """`frames` cut at `border`, and behind it into blocks of three: no block mixes small and whole."""
    small = range(frames.start, min(max(border, frames.start), frames.stop))
    whole = range(small.stop, frames.stop)
    return [part for part in (small, *(whole[i : i + 3] for i in range(0, len(whole), 3))) if part]


class _Round:
    """Runs steps and checks them. What checking costs is in no figure but the wall's."""

    def __init__(self, peer: Peer, workload: Workload, staging: np.ndarray, server: tuple[int, ...]) -> None:
        self._peer, self._workload, self._staging, self._server = peer, workload, staging, server
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._found = self._expected = 0

    def verbs(self, steps: list[Step], *, fused: bool) -> Sample:
        peer = self._peer
        whole = peer.step if fused and isinstance(peer, Fused) else self._one_by_one
        server_cpu, client_cpu, checking_cpu = cpu_seconds(self._server), time.process_time(), 0.0
        began, checking = time.perf_counter(), 0.0
        for number, step in enumerate(steps):
            start = time.perf_counter()
            frames = whole(step, self._staging)
            stop = time.perf_counter()
            self._seconds["step"].append(stop - start)
            cpu = time.thread_time()
            if frames is not None:
                self._check(frames, step, every_byte=number % COMPARE_EVERY == 0)
            self._staging[:, : SMALL_BYTES + 8] = 0
            checking_cpu += time.thread_time() - cpu
            checking += time.perf_counter() - stop
        wall = time.perf_counter() - began - checking
        client_cpu = time.process_time() - client_cpu - checking_cpu
        server_cpu = cpu_seconds(self._server) - server_cpu
        return Sample(dict(self._seconds), client_cpu, server_cpu, wall, self._found, self._expected)

    def native(self, steps: list[Step]) -> Sample:
        assert isinstance(self._peer, Native)
        seconds, cpu, hits = self._peer.run(steps)
        for frames, step in zip(hits, steps, strict=True):
            self._count(frames, step)
        return Sample({"step": seconds}, sum(cpu), 0.0, sum(seconds), self._found, self._expected)

    def _one_by_one(self, step: Step, staging: np.ndarray) -> list[int]:
        times = [time.perf_counter()]
        self._peer.append(step.block)
        times.append(time.perf_counter())
        frames = list(self._peer.search(step.query, K, step.start, step.stop))
        times.append(time.perf_counter())
        self._peer.fetch(frames, staging)
        times.append(time.perf_counter())
        for verb, start, stop in zip(("append", "search", "fetch"), times, times[1:], strict=False):
            self._seconds[verb].append(stop - start)
        return frames

    def _check(self, frames: Any, step: Step, *, every_byte: bool) -> None:
        self._count(frames, step)
        for row, frame in zip(self._staging, frames, strict=True):
            if int.from_bytes(row[:8].tobytes(), "little") != frame:
                raise Wrong(f"the payload of frame {frame} is another one's")
            if every_byte and row.tobytes() != self._workload.payload(frame):
                raise Wrong(f"the payload of frame {frame} is damaged")

    def _count(self, frames: Any, step: Step) -> None:
        if len(frames) != K or not all(step.start <= frame < step.stop for frame in frames):
            raise Wrong(f"{list(frames)} are not {K} frames of [{step.start}, {step.stop})")
        self._found += len(set(frames) & set(step.expected))
        self._expected += K
