"""Rollouts of all arms, block by block in turn, in an order that is drawn anew each time."""

from __future__ import annotations

import random
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import torch

from benchmarks.generator import ceilings
from benchmarks.generator.findings import Arm, BlockCost, Findings, Row
from benchmarks.generator.peak import Peak
from benchmarks.generator.subjects import Subject
from benchmarks.peers.ours import server
from generator.connect import EMBEDDED, connect
from generator.history.history import History, video_spec
from generator.methods import policy_named
from generator.noise import SeededNoise
from generator.rollout import RolledBlock, rollout
from generator.rollout_config import RolloutConfig
from memory_service.memory import Memory
from memory_service.types import VideoKey

CONTROL = Arm("relative")
"""Attends as many frames as `longlive_rag` once the window is full, at the same positions, none retrieved."""

ARMS = (
    Arm("native"),
    CONTROL,
    Arm("relative", again=True),
    Arm("longlive_rag"),
    Arm("longlive_rag", "service"),
)
POOL = "bench"


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    rounds: int
    blocks: int
    """Per rollout."""


class Bench:
    """One subject, and the memories that its rollouts fill."""

    def __init__(self, subject: Subject, memories: Mapping[str, Memory], size: Size) -> None:
        self._subject, self._memories, self._size = subject, memories, size
        self._numbers = count()

    def run(self) -> Findings:
        """Each arm alone, to warm up and to see its memory; then the rounds."""
        subject, rows = self._subject, [Row(arm) for arm in ARMS]
        findings = Findings(
            subject=subject.name,
            device=_device_name(subject.model.device),
            dtype=str(subject.model.dtype).removeprefix("torch."),
            threads=torch.get_num_threads(),
            model=subject.sizes,
            passes=len(subject.sampling.steps) + 1,
            full=subject.window.window_frames - subject.window.block_frames,
            rows=rows,
        )
        list(self._blocks(CONTROL))
        for row in rows:
            with Peak(subject.model.device) as peak:
                row.kept_bytes = list(self._blocks(row.arm))[-1].kept_bytes
            row.peak_bytes = peak.bytes
            print(f"  {row.arm.name}: ready", flush=True)
        for number in range(self._size.rounds):
            self._look_at_ceilings(findings)
            self._round(rows, random.Random(number))
            print(f"  round {number + 1} of {self._size.rounds}", flush=True)
        self._look_at_ceilings(findings)
        return findings

    def _round(self, rows: Sequence[Row], order: random.Random) -> None:
        """One rollout of every arm, block by block: whatever else the machine does, all arms suffer alike."""
        with ExitStack() as stack:
            rolling = [(row, stack.enter_context(closing(self._blocks(row.arm)))) for row in rows]
            for row in rows:
                row.rollouts.append([])
            for _ in range(self._size.blocks):
                for row, blocks in order.sample(rolling, len(rolling)):
                    row.rollouts[-1].append(next(blocks))

    def _look_at_ceilings(self, findings: Findings) -> None:
        model = self._subject.model
        now = ceilings.measure(model.device, model.dtype, findings.model.weight_bytes)
        findings.ceilings = findings.ceilings.best(now)

    def _blocks(self, arm: Arm) -> Generator[BlockCost, None, None]:
        """Roll out a video and drop it: what each block cost."""
        memory, key = self._memories[arm.memory], VideoKey(POOL, f"{next(self._numbers)}")
        subject = self._subject
        spec = video_spec(subject.encoder, subject.geometry.latent_shape, subject.model.dtype)
        with History(memory, key, spec) as history:
            cpu = time.process_time()
            for block in self._rollout(arm, history):
                cpu = time.process_time() - cpu
                parts = asdict(block.timings)
                yield BlockCost(
                    context_frames=len(block.context.frames),
                    parts=parts,
                    total=parts["total"],
                    cpu=1e3 * cpu,
                    host_bytes=block.traffic.to_device_bytes,
                    kept_bytes=block.host_bytes,
                )
                cpu = time.process_time()
        memory.drop_video(key)

    def _rollout(self, arm: Arm, history: History) -> Iterator[RolledBlock]:
        subject, policy = self._subject, policy_named(arm.method)
        config = RolloutConfig(
            policy=policy,
            geometry=subject.geometry,
            window=policy.window(subject.window),
            sampling=subject.sampling,
        )
        noise = SeededNoise(
            "a prompt",
            0,
            blocks=self._size.blocks,
            block_frames=subject.window.block_frames,
            passes=len(subject.sampling.steps),
            latent_shape=subject.geometry.latent_shape,
        )
        track = subject.track(self._size.blocks)
        return rollout(subject.model, config, track, noise, subject.encoder, history)


@contextmanager
def memories(folder: Path) -> Iterator[dict[str, Memory]]:
    """An embedded memory, and a client of a service in another process by TCP, its slowest way."""
    with ExitStack() as stack:
        opened = {"embedded": connect(f"{EMBEDDED}{folder / 'embedded'}")}
        stack.callback(opened["embedded"].close)
        served = stack.enter_context(server(folder / "served", "127.0.0.1:0"))
        opened["service"] = connect(served.place)
        stack.callback(opened["service"].close)
        yield opened


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
