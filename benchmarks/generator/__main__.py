"""`python -m benchmarks.generator`: what a block costs to generate, and what of it retrieval costs."""

from __future__ import annotations

import argparse
import shlex
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.generator import plot
from benchmarks.generator.report import markdown
from benchmarks.generator.runs import Bench, Size, memories
from benchmarks.generator.subjects import Subject, toy, wan_random
from benchmarks.machine import machine
from generator.wan.compiling import compile_blocks

RESULTS = Path(__file__).parents[1] / "results"
SIZES = {"toy": Size(rounds=6, blocks=40), "wan-random": Size(rounds=3, blocks=16)}
SMOKE = Size(rounds=1, blocks=10)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generator", description=__doc__)
    parser.add_argument(
        "--backbone",
        choices=tuple(SIZES),
        default="toy",
        help="wan-random: Wan 1.3B at 480p in bfloat16 with random weights, for a GPU; default: toy",
    )
    parser.add_argument("--device", help="of wan-random (cuda)")
    parser.add_argument("--layers", type=int, metavar="N", help="of wan-random (30)")
    parser.add_argument("--rounds", type=int, help="interleaved rounds of every arm")
    parser.add_argument("--blocks", type=int, help="of each rollout; contexts are full from the ninth on")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU; default: %(default)s")
    parser.add_argument("--compile", action="store_true", help="compile the transformer's blocks")
    parser.add_argument("--data", type=Path, help="folder of the memories (default: a temporary one)")
    parser.add_argument("--save", metavar="NAME", help="write benchmarks/results/NAME.md and .png")
    parser.add_argument("--smoke", action="store_true", help="a small run that shows that everything works")
    return parser.parse_args()


def subject_of(args: argparse.Namespace) -> Subject:
    if args.backbone == "toy":
        return toy()
    changes = {} if args.layers is None else {"num_layers": args.layers}
    return wan_random(args.device or "cuda", torch.bfloat16, changes)


def main() -> int:
    args = arguments()
    torch.set_num_threads(args.threads)
    size = SMOKE if args.smoke else SIZES[args.backbone]
    size = Size(rounds=args.rounds or size.rounds, blocks=args.blocks or size.blocks)
    with tempfile.TemporaryDirectory(prefix="reverie-bench-", dir=args.data) as name:
        where = machine(Path(name))
        subject = subject_of(args)
        if args.compile:
            compile_blocks(subject.model)
        with memories(Path(name)) as opened:
            findings = Bench(subject, opened, size).run()
    command = f"python -m benchmarks.generator {shlex.join(sys.argv[1:])}".strip()
    packages = ", ".join(f"{package} {version(package)}" for package in ("torch", "diffusers", "numpy"))
    text = markdown(findings, where, packages, command, time.strftime("%Y-%m-%d"))
    print(text, flush=True)
    if args.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{args.save}.md").write_text(text)
        plot.save(findings, RESULTS / f"{args.save}.png", where)
    return 0


if __name__ == "__main__":
    sys.exit(main())
