"""The floor: `floor.c`, compiled here and now, in a process of its own that times its own steps."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.base import Durability, Kind, Peer
from benchmarks.workload import Block, Step, Vectors, Video

SOURCE = Path(__file__).with_name("floor.c")
_CLASSES = {Durability.MEM: "mem", Durability.FILE: "file", Durability.SYNC: "sync"}


@dataclass(frozen=True)
class Floor(Kind):
    commands = ("cc",)
    install = "apt-get install gcc libc6-dev"

    def connect(self, place: str, video: Video) -> Peer:
        return _Program(Path(place) / video.name, video, _CLASSES[self.durability])


class _Program:
    """Implements `Native`: its verbs exist only as one step."""

    def __init__(self, stem: Path, video: Video, kind: str) -> None:
        program, store, self._inputs = (stem.with_suffix(s) for s in (".exe", ".bin", ".in"))
        command = ["cc", "-O3", "-march=native", "-ffast-math", "-o", str(program), str(SOURCE), "-lm"]
        subprocess.run(command, check=True)
        self._inputs.touch()
        self._process = subprocess.Popen(
            [program, kind, store, self._inputs, str(video.max_frames)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def append(self, block: Block) -> None:
        self._inputs.write_bytes(_input(block, np.zeros_like(block.embeddings[0]), 0, 0))
        self._tell("load", 1)

    def run(self, steps: Sequence[Step]) -> tuple[list[float], list[float], list[Sequence[int]]]:
        """Seconds, CPU seconds, hits of each step; the program has compared payloads with their frames."""
        with self._inputs.open("r+b") as file:
            for step in steps:
                file.write(_input(step.block, step.query, step.start, step.stop))
        lines = [list(map(int, line.split())) for line in self._tell("run", len(steps))]
        seconds, cpu = ([line[i] * 1e-9 for line in lines] for i in (0, 1))
        return seconds, cpu, [line[2:] for line in lines]

    def search(self, query: Vectors, k: int, start: int, stop: int) -> Sequence[int]:
        raise NotImplementedError("the floor runs whole steps")

    def fetch(self, frames: Sequence[int], staging: NDArray) -> None:
        raise NotImplementedError("the floor runs whole steps")

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)

    def _tell(self, command: str, count: int) -> list[str]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command} {count}\n")
        self._process.stdin.flush()
        lines = []
        while (line := self._process.stdout.readline().strip()) != "done":
            if not line:
                raise RuntimeError(f"the floor program ended: {self._process.wait()}")
            lines.append(line)
        return lines


def _input(block: Block, query: Vectors, start: int, stop: int) -> bytes:
    head = np.array([block.start, start, stop], np.int64)
    return b"".join([head.tobytes(), query.tobytes(), block.embeddings.tobytes(), *block.payloads])
