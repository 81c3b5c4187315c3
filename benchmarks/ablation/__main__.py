"""`python -m benchmarks.ablation`: corpus, encoders, rollouts of every arm, one table and one figure.

What was made before is taken as it is: interrupted, the same command goes on. Without `--save` nothing
outside the out folder changes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from benchmarks.ablation import plot
from benchmarks.ablation.arms import ARMS, FROM_NOTHING, RELATIVE, Arm
from benchmarks.ablation.encoders import PreparationError, trained
from benchmarks.ablation.measures import Worth
from benchmarks.ablation.report import Worths, document
from benchmarks.ablation.runs import Job, run_all
from benchmarks.ablation.stories import NUM_FRAMES, Story, from_nothing, stories
from benchmarks.machine import machine
from generator.backbones import TOY_WEIGHTS

RESULTS = Path(__file__).parents[1] / "results"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/ablation"), help="default: %(default)s")
    parser.add_argument("--weights", type=Path, default=TOY_WEIGHTS, help="of the toy; default: the bundled")
    parser.add_argument("--seeds", type=int, default=2, help="draws of the noise; default: %(default)s")
    parser.add_argument("--scenes", type=int, default=8, help="of the eight; default: %(default)s")
    parser.add_argument("--frames", type=int, default=NUM_FRAMES, help="of a video; default: %(default)s")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes; default: %(default)s")
    parser.add_argument(
        "--arms", nargs="+", choices=[arm.name for arm in ARMS], help="beside relative; default: all"
    )
    parser.add_argument("--save", metavar="NAME", help="write benchmarks/results/NAME.md and .png")
    return parser.parse_args()


def main() -> int:
    args, console = arguments(), Console(stderr=True)
    try:
        encoders = trained(args.weights, args.out, args.workers, console)
    except PreparationError as error:
        console.print(error, style="red", markup=False)
        return 1

    def made(arms: Sequence[Arm], told: Sequence[Story], title: str) -> Worths:
        jobs = [
            Job(
                arm=arm,
                story=story,
                num_frames=args.frames,
                weights=args.weights,
                encoders=encoders,
                out=args.out / "rollouts",
            )
            for story in told
            for arm in arms
        ]
        found: dict[tuple[str, Story], Worth] = {}
        for job, worth in track(run_all(jobs, args.workers), title, total=len(jobs), console=console):
            found[job.arm.name, job.story] = worth
        return {arm.name: [found[arm.name, story] for story in told] for arm in arms}

    arms = [arm for arm in ARMS if not args.arms or arm.name in {*args.arms, RELATIVE.name}]
    worths = made(arms, stories(args.seeds, args.scenes), "rollouts")
    unaided = {} if args.arms else made(FROM_NOTHING, from_nothing(1, args.scenes), "from nothing")
    where = machine(Path(tempfile.gettempdir()))
    text = document(worths, unaided, where, sys.argv[1:])
    args.out.mkdir(parents=True, exist_ok=True)
    folder, name = (RESULTS, args.save) if args.save else (args.out, "ablation")
    (folder / f"{name}.md").write_text(text)
    plot.save(worths, folder / f"{name}.png", where)
    console.print(text, markup=False, highlight=False, soft_wrap=True)
    console.print(f"{folder / name}.md and .png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
