"""`python -m benchmarks`: the memory beside its peers and the machine's floor, interleaved in one run."""

import argparse
import dataclasses
import os
import shlex
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

# Before numpy is loaded, and for every process that is started from here: two BLAS threads on two shared
# cores make a search 60 times slower whenever the neighbour is busy.
os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})

from benchmarks import cold, moves, pages, plot, runs
from benchmarks.ballast import Ballast, reported_bytes
from benchmarks.machine import machine, versions
from benchmarks.peers import PEERS
from benchmarks.report import markdown
from benchmarks.rows import FAILED, Results
from benchmarks.stage import failure
from benchmarks.workload import FRAME_BYTES

RESULTS = Path(__file__).parent / "results"
PARTS = ("peers", "clients", "growth", "cold")
ALONE = {"pages": pages.measure, "moves": moves.measure}
"""What measures no peer: what makes fresh memory dear; what the local path cannot do without."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "part", nargs="?", default="all", choices=(*PARTS, "all", *ALONE), help="default: all"
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only peers whose names begin so")
    parser.add_argument(
        "--without", nargs="+", default=[], metavar="NAME", help="no peers whose names begin so"
    )
    parser.add_argument("--rounds", type=int, help="interleaved rounds of every peer (default 6)")
    parser.add_argument("--data", type=Path, help="folder for all files (default: a temporary one)")
    parser.add_argument("--save", metavar="NAME", help="write benchmarks/results/NAME.md and .png")
    parser.add_argument(
        "--no-fill", action="store_true", help="leave free memory as it is, even where pages of it are dear"
    )
    parser.add_argument("--smoke", action="store_true", help="a small run that shows that everything works")
    return parser.parse_args()


def measured(args: argparse.Namespace, size: runs.Size, folder: Path, ballast: Ballast) -> Results:
    """Run the parts that were asked for."""
    results = Results()
    only = tuple(args.only or size.peers)
    chosen = {
        name: kind
        for name, kind in PEERS.items()
        if name.startswith(only) and not name.startswith(tuple(args.without) or ("\0",))
    }
    for part in PARTS if args.part == "all" else (args.part,):
        began = time.perf_counter()
        print(f"{part}:", flush=True)
        if part == "peers":
            results.peers = runs.one_client(size, folder, chosen, ballast)
            results.databases = runs.databases(size, folder, chosen, ballast)
        elif part == "clients":
            among = _among(chosen, size.client_peers)
            results.clients = runs.several_clients(size, folder, among, ballast)
        elif part == "growth":
            results.growth = runs.growing(size, folder, _among(chosen, size.growth_peers), ballast)
        else:
            ballast.top_up()
            try:
                results.cold = cold.measure(folder, size.cold_short, size.cold_long)
            except Exception as exc:  # what was measured before is worth showing
                results.cold_failure = failure(exc)
        print(f"  {time.perf_counter() - began:.0f} s", flush=True)
    results.memory = ballast.words()
    return results


def show(results: Results, where: str, name: str | None) -> None:
    """Print the tables; with a name, write them and the plot as well."""
    command = f"python -m benchmarks {shlex.join(sys.argv[1:])}".strip()
    text = markdown(results, where, versions(), command, time.strftime("%Y-%m-%d"))
    print(text, flush=True)
    if name:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.md").write_text(text)
        plot.save(results, RESULTS / f"{name}.png", where)


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends what was started
    args = arguments()
    size = runs.SMOKE if args.smoke else runs.Size()
    if args.rounds:
        size = dataclasses.replace(size, rounds=args.rounds)
    with tempfile.TemporaryDirectory(prefix="reverie-bench-", dir=args.data) as name:
        folder = Path(name)
        os.environ.setdefault("XDG_RUNTIME_DIR", name)  # pgserver warns without it
        need = 60 * 2 * size.history * FRAME_BYTES
        free = shutil.disk_usage(folder).free
        if free < need:
            print(
                f"needs {need / 1e9:.0f} GB in {folder}, {free / 1e9:.0f} GB are free; give --data",
                file=sys.stderr,
            )
            return 2
        ballast = Ballast(None if args.no_fill or args.smoke else reported_bytes(), folder)
        if args.part in ALONE:
            print(ALONE[args.part](folder, ballast))
            return 0
        where = machine(folder)
        results = measured(args, size, folder, ballast)
        show(results, where, args.save)  # before the files go, which takes minutes on some disks
    failed = {row.name: row.note for row in results.all_rows() if row.note.startswith(FAILED)}
    if results.cold_failure:
        failed["ours, cold videos"] = results.cold_failure
    for peer, note in failed.items():
        print(f"{peer}: {note}", file=sys.stderr)
    return int(any(args.smoke or peer.startswith("ours") for peer in failed))


def _among(chosen: dict, names: tuple[str, ...]) -> dict:
    return {name: kind for name, kind in chosen.items() if name in names}


if __name__ == "__main__":
    sys.exit(main())
