"""`python -m benchmarks`: p50 and p99 of every verb for 1, 4 and 16 generators, beside in-process numpy."""

import argparse
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

# One BLAS thread per process, the baseline's too: two threads on two shared cores make search 60 times slower
# whenever the neighbour is busy, and must be set before numpy is loaded.
os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"})

from benchmarks.generators import Generators, Seconds, Target
from benchmarks.report import markdown
from benchmarks.workload import BLOCK_FRAMES, LATENT_BYTES, SPEC
from memory_service.engine import MemoryEngine

RESULTS = Path(__file__).parent / "results"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--generators", type=int, nargs="+", default=[1, 4, 16], metavar="N")
    parser.add_argument("--history", type=int, nargs="+", default=[480, 4800], metavar="FRAMES")
    parser.add_argument(
        "--rounds", type=int, default=4, help="interleaved rounds of every target (default 4)"
    )
    parser.add_argument("--steps", type=int, default=24, help="block steps of a round (default 24)")
    parser.add_argument(
        "--transports", nargs="+", default=["tcp"], choices=["tcp", "unix"], help="default tcp"
    )
    parser.add_argument(
        "--data", type=Path, help="where the histories are written (default: a temporary folder)"
    )
    parser.add_argument("--save", metavar="NAME", help="also write benchmarks/results/NAME.md")
    parser.add_argument("--smoke", action="store_true", help="a small run that shows that everything works")
    args = parser.parse_args()
    if args.smoke:
        args.generators, args.history, args.rounds, args.steps = [1, 2], [60], 1, 4
    return args


def targets(
    args: argparse.Namespace, place: dict[str, str], history: int, num_generators: int
) -> dict[str, list[Target]]:
    """Target name -> one target per generator. An engine serves one process only, so it runs alone."""
    kinds = {"numpy": "numpy", **dict.fromkeys(args.transports, "client")}
    if num_generators == 1:
        kinds["engine"] = "engine"
    num_steps = args.rounds * args.steps
    return {
        name: [
            Target(name, kind, place.get(name, ""), num_steps, history, seed)
            for seed in range(num_generators)
        ]
        for name, kind in kinds.items()
    }


def preload(data: Path, wanted: list[Target]) -> None:
    """Write the histories of `wanted` through an engine on `data`, as 3-frame blocks."""
    with closing(MemoryEngine(data)) as engine:
        for target in wanted:
            engine.create_video(target.key, SPEC)
            workload = target.workload()
            for start in range(0, target.history, BLOCK_FRAMES):
                engine.append(target.key, workload.block(start))


@contextmanager
def server(data: Path, address: str) -> Iterator[str]:
    """A memory service in its own process; yields the address that it listens on."""
    serve = [sys.executable, "-m", "memory_service", "--log-level", "WARNING", "serve"]
    command = [*serve, "--data", str(data), "--address", address]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        yield dict(field.split("=", 1) for field in shlex.split(line) if "=" in field)["address"]
    finally:
        process.terminate()
        process.wait(timeout=60)


def measure(args: argparse.Namespace, data: Path, history: int, num_generators: int) -> dict[str, Seconds]:
    """Timings in seconds by target name and verb, over interleaved rounds."""
    folders = {name: data / name for name in ("engine", *args.transports)}
    for name, wanted in targets(args, {}, history, num_generators).items():
        if name in folders:
            preload(folders[name], wanted)
    os.sync()
    with ExitStack() as stack:
        place = {"engine": str(folders["engine"])}
        for name in args.transports:
            address = "127.0.0.1:0" if name == "tcp" else f"unix:{data}/memory.sock"
            place[name] = stack.enter_context(server(folders[name], address))
        running = {
            name: Generators(wanted) for name, wanted in targets(args, place, history, num_generators).items()
        }
        timings: dict[str, Seconds] = {name: defaultdict(list) for name in running}
        for i in range(args.rounds):
            for name, generators in running.items():
                part = slice(i * args.steps, (i + 1) * args.steps)
                for verb, values in generators.run_round(part).items():
                    timings[name][verb] += values
            print(f"  {history} frames, {num_generators} generators: round {i + 1}/{args.rounds}", flush=True)
        for generators in running.values():
            generators.close()
    return timings


def main() -> int:
    args = arguments()
    with tempfile.TemporaryDirectory(prefix="reverie-bench-", dir=args.data) as folder:
        need = 1.3 * (1 + len(args.transports)) / 2 * max(args.history) * max(args.generators) * LATENT_BYTES
        free = shutil.disk_usage(folder).free
        if free < need:
            print(
                f"needs {need / 1e9:.0f} GB in {folder}, {free / 1e9:.0f} GB are free; "
                "give --data, or smaller --generators or --history",
                file=sys.stderr,
            )
            return 2
        rows = {}
        for history in args.history:
            for num_generators in args.generators:
                data = Path(folder) / f"{history}-{num_generators}"
                rows[(history, num_generators)] = measure(args, data, history, num_generators)
                shutil.rmtree(data)
    text = markdown(rows)
    print(text)
    if args.save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{args.save}.md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
