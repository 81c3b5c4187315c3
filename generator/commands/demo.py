"""reverie-generate demo: the whole system at work."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

if TYPE_CHECKING:
    from generator.options.groups import Commands


def add(commands: Commands) -> None:
    words = "Two generators, one memory service, three methods, and the report."
    showing = commands.add_parser("demo", help="the whole system at work, in out/demo", description=words)
    showing.add_argument(
        "--out", type=Path, default=Path("out/demo"), metavar="DIR", help="default: %(default)s"
    )
    showing.add_argument(
        "--frames", type=int, default=240, help="latent frames a video; default: %(default)s"
    )
    showing.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    showing.add_argument("--weights", type=Path, metavar="DIR", help="default: the bundled toy")
    showing.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    from generator.demo import DemoConfig, run_demo

    config = DemoConfig(
        out=options.out, num_frames=options.frames, seed=options.seed, weights=options.weights
    )
    return run_demo(config, Console())
