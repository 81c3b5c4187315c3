"""`python -m benchmarks.kv`: what the tiers of keys and values move, and what re-creation changes."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

import torch

from benchmarks.kv import recreation, traces, traffic
from benchmarks.machine import machine

RESULTS = Path(__file__).parents[1] / "results"
GOLDEN = Path(__file__).parents[2] / "tests" / "golden" / "data"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kv", description=__doc__)
    parser.add_argument("part", choices=("traffic", "recreation"))
    parser.add_argument("--threads", type=int, default=1, help="of torch; default: %(default)s")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results/kv-PART.md")
    group = parser.add_argument_group("traffic")
    group.add_argument("--traces", type=Path, metavar="FILE", help="of another run, instead of rolling out")
    group.add_argument("--keep-traces", type=Path, metavar="FILE", help="write the traces as well")
    group = parser.add_argument_group("recreation")
    group.add_argument("--golden-dir", type=Path, default=GOLDEN, help="folder of the golden model")
    group.add_argument("--blocks", type=int, default=traces.BLOCKS, help="of the toy; default: %(default)s")
    return parser.parse_args()


def main() -> int:
    args = arguments()
    torch.set_num_threads(args.threads)
    where = f"{machine(Path.cwd())}; {time.strftime('%Y-%m-%d')}"
    command = f"python -m benchmarks.kv {shlex.join(sys.argv[1:])}"
    if args.part == "traffic":
        found = (
            traces.read(args.traces)
            if args.traces
            else {name: traces.trace(prompt) for name, prompt in traces.PROMPTS.items()}
        )
        if args.keep_traces:
            traces.write(args.keep_traces, found)
        text = traffic.report(found, command, where)
    else:
        text = recreation.report(args.golden_dir, args.blocks, command, where)
    print(text, end="")
    if args.save:
        (RESULTS / f"kv-{args.part}.md").write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
