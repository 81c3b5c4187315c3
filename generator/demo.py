"""The whole system at work: one memory service, two generators at once, three methods each, and a report.

Every part is a process of its own and meets the others as users do: by command lines and the service.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from generator.processes.process import Process, ProcessError, wait_for_all
from generator.processes.progress import Meter, meter_for, replay
from generator.processes.service import start_service
from generator.records.record import SIDE_BY_SIDE, SUFFIXES, VIDEO, rollout_name
from generator.report import summary

POOL = "demo"
PROMPTS: Mapping[str, str] = {
    "village": "a snowy village at dusk with mountains; pan right 20s, pan left 20s, pan right 20s",
    "forest": "an autumn forest at noon by the sea with a balloon; pan left 15s, pan right 15s, pan left 30s",
}
MANIFEST = ".made-by-demo.json"
THREADS_PER_GENERATOR = 1
"""Two generators then use two cores, and neither slows the other."""


@dataclass(frozen=True, kw_only=True)
class DemoConfig:
    """What the demo generates and where."""

    out: Path = Path("out/demo")
    num_frames: int = 240
    """Latent frames of each video: 60 s of the toy."""

    seed: int = 0
    prompts: Mapping[str, str] = field(default_factory=lambda: PROMPTS)
    """Video -> prompt; each has a generator process of its own."""

    methods: tuple[str, ...] = ("longlive_rag", "relative", "native")
    weights: Path | None = None
    """A folder in place of the bundled toy."""

    @property
    def data(self) -> Path:
        """Where the memory service keeps its reels."""
        return self.out / "memory"

    def pictures(self) -> list[str]:
        """Names of the pictures of single videos."""
        endings = (summary.RECALLED, *INSPECTED)
        return [f"{video}{ending}" for video in self.prompts for ending in endings]

    def comparisons(self) -> list[str]:
        """Names of the videos that play all methods of a prompt."""
        return [f"{video}{SIDE_BY_SIDE}" for video in self.prompts]

    def planned(self) -> list[str]:
        """Names under `out` of everything that the demo writes."""
        rollouts = [rollout_name(video, method) for video in self.prompts for method in self.methods]
        names = [f"{name}{suffix}" for name in rollouts for suffix in SUFFIXES]
        return [*summary.FILES, *names, *self.comparisons(), *self.pictures(), self.data.name]


INSPECTED = {".map.png": "map", ".similarity.png": "similarity"}
"""Ending of a picture -> the command of reverie-inspect that draws it from the service's log."""


def run_demo(config: DemoConfig, console: Console) -> int:
    """Generate, report, and say where everything is; the exit code."""
    started = time.monotonic()
    try:
        clean(config)
        with ExitStack() as stack:
            service, address = start_service(config.data, stack)
            console.print(f"memory service on {address}, data in {config.data}", highlight=False)
            try:
                with meter_for(console) as meter:
                    generate(config, address, meter)
                generated = time.monotonic()
                report = write_report(config, address)
            except ProcessError as error:
                raise ProcessError(service.last_words(f"{error}\nthe memory service wrote last")) from error
    except (ProcessError, OSError) as error:
        errors = Console(stderr=True, style="red", highlight=False, markup=False, soft_wrap=True)
        errors.print(f"demo: {error}")
        return 1
    for table in report.tables:
        console.print()
        console.print(table.rich())
    console.print()
    seconds = f"{time.monotonic() - started:.0f} s in all, {generated - started:.0f} s of them generating"
    console.print(closing_words(config, seconds), highlight=False, soft_wrap=True)
    return 0


def clean(config: DemoConfig) -> None:
    """Remove what an earlier demo made here, and nothing else.

    Raises FileExistsError where files of another origin bear names that this one will write.
    """
    config.out.mkdir(parents=True, exist_ok=True)
    manifest = config.out / MANIFEST
    if manifest.is_file():
        for name in json.loads(manifest.read_text(encoding="utf-8")):
            _remove(config.out / Path(name).name)
    names = config.planned()
    foreign = [name for name in names if (config.out / name).exists()]
    if foreign:
        raise FileExistsError(f"{config.out} has files that no demo made: {', '.join(foreign)}")
    manifest.write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")


def generate(config: DemoConfig, address: str, meter: Meter) -> None:
    """Run one generator per prompt, all at once, until all are done. Raises ProcessError."""
    for video in config.prompts:
        for method in config.methods:
            meter.plan(rollout_name(video, method), config.num_frames)
    with ExitStack() as stack:
        generators = [
            stack.enter_context(
                Process(f"the generator of {video}", command, lambda line: replay(line, meter))
            )
            for video, command in generator_commands(config, address).items()
        ]
        wait_for_all(generators)


def generator_commands(config: DemoConfig, address: str) -> dict[str, list[str]]:
    """Video -> command. One process rolls out all methods of its prompt, so that it loads its model once."""
    fixed = {
        "--seed": config.seed,
        "--frames": config.num_frames,
        "--out": config.out,
        "--memory": address,
        "--pool": POOL,
        "--threads": THREADS_PER_GENERATOR,
        "--progress": "json",
    }
    if config.weights is not None:
        fixed["--weights"] = config.weights
    shared = [str(word) for pair in fixed.items() for word in pair]
    run = [sys.executable, "-m", "generator", "run", "--method", *config.methods, *shared]
    return {video: [*run, "--prompt", prompt, "--video", video] for video, prompt in config.prompts.items()}


def write_report(config: DemoConfig, address: str) -> summary.Summary:
    """Write tables and pictures; reverie-inspect draws what the service's own log says, meanwhile."""
    inspect = [sys.executable, "-m", "inspector", "--memory", address]
    with ExitStack() as stack:
        drawing = []
        for video in config.prompts:
            for ending, command in INSPECTED.items():
                words = [command, f"{POOL}/{video}", "--out", str(config.out / f"{video}{ending}")]
                name = f"reverie-inspect {command} of {video}"
                drawing.append(stack.enter_context(Process(name, [*inspect, *words], lambda _: None)))
        report = summary.write(config.out, list(config.prompts), config.pictures())
        wait_for_all(drawing)
    return report


def closing_words(config: DemoConfig, seconds: str) -> str:
    """Where everything is, and how to look further."""
    first = next(iter(config.prompts))
    rollouts = [rollout_name(video, method) for video in config.prompts for method in config.methods]
    names = [summary.REPORT, summary.SHEET, *config.comparisons(), *config.pictures()]
    names += [f"{name}{VIDEO}  (and {', '.join(SUFFIXES[1:])})" for name in rollouts]
    return "\n".join(
        [
            *(str(config.out / name) for name in names),
            "",
            f"look into the memory: reverie-inspect --data {config.data} show {POOL}/{first}",
            seconds,
        ]
    )


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
