"""`make soak`: a server that is killed, stopped and ended at random, its generators held against an oracle.

Every answer is checked when it comes, everything once more at the end, after another start and in another
process; then `verify` reads every byte. The report says what was done; the seed does it again.
"""

import argparse
import json
import platform
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from actor import Actor
from history import History, check_all
from serving import ServerProcess

from memory_service.client import MemoryClient
from memory_service.engine import MemoryEngine
from memory_service.store.findings import Class
from memory_service.verify import Report, verify

LEFT_BY_A_CRASH = {Class.TORN_TAIL, Class.ORPHAN}


class Victim:
    """The server, and what is done to it."""

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self.data_dir, self.address = folder / "data", f"unix:{folder}/socket"
        self.counts: Counter[str] = Counter()
        self.largest_rss = 0
        self._rng = rng
        self._running = ExitStack()
        self.log = folder / "server.log"
        self.start()

    def start(self) -> None:
        """With another level of durability, index and number of open videos each time."""
        options = {
            "--durability": self._rng.choice(["sync", "group", "group", "none"]),
            "--commit-interval": self._rng.choice(["0.02", "0.1", "0.5"]),
            "--index": self._rng.choice(["flat", "faiss-flat"]),
            "--max-hot-videos": self._rng.choice(["2", "8", "256"]),
        }
        arguments = [word for option in options.items() for word in option]
        self._server = self._running.enter_context(
            ServerProcess(self.data_dir, self.address, *arguments, log=self.log)
        )

    def harm(self) -> None:
        """One of the things that happen to servers."""
        harm = self._rng.choices([self._kill, self._end, self._pause], [5, 2, 3])[0]
        self.largest_rss = max(self.largest_rss, self._server.rss_bytes)
        harm()
        self.counts[harm.__name__.strip("_")] += 1

    def end(self) -> None:
        """SIGTERM: an orderly end."""
        self._server.send(signal.SIGTERM)
        code = self._server.wait(60)
        assert code == 0, f"the server ended with exit code {code}"

    def close(self) -> None:
        self._running.close()

    def _kill(self) -> None:
        self._server.kill()
        self.start()

    def _end(self) -> None:
        self.end()
        self.start()

    def _pause(self) -> None:
        self._server.send(signal.SIGSTOP)
        time.sleep(self._rng.uniform(0.05, 1.5))
        self._server.send(signal.SIGCONT)


def main() -> int:
    args = arguments()
    folder = Path(tempfile.mkdtemp(prefix="reverie-soak-", dir=args.data))
    seed = random.randrange(1 << 32) if args.seed is None else args.seed
    print(f"seed={seed} minutes={args.minutes} generators={args.generators} data={folder}", flush=True)
    began, stop, rng = time.monotonic(), threading.Event(), random.Random(seed)
    victim = Victim(folder, rng)
    generators = [
        Actor(f"g{number}", victim.address, rng.getrandbits(32), stop) for number in range(args.generators)
    ]
    try:
        soak(victim, generators, stop, rng, until=began + 60 * args.minutes)
        report = compare(victim, generators, rng)
    finally:
        victim.close()
    write_report(args.report, seed, time.monotonic() - began, victim, generators, report)
    shutil.rmtree(folder)
    return 0


def soak(
    victim: Victim, generators: list[Actor], stop: threading.Event, rng: random.Random, *, until: float
) -> None:
    """Let the generators run and the server suffer. Raises what a generator met."""
    threads = [threading.Thread(target=generator.run, name=generator.name) for generator in generators]
    for thread in threads:
        thread.start()
    shown = time.monotonic()
    while time.monotonic() < until and not stop.wait(rng.uniform(0.3, 3.0)):
        victim.harm()
        if rng.random() < 0.1:
            findings = verify(victim.data_dir).findings
            assert {finding.kind for finding in findings} <= LEFT_BY_A_CRASH, findings
        if time.monotonic() > shown + 5:
            shown = time.monotonic()
            print(progress(victim, generators, until - shown), flush=True)
    stop.set()
    for thread in threads:
        thread.join(300)
        assert not thread.is_alive(), f"{thread.name} does not end"
    for generator in generators:
        if generator.failure is not None:
            raise generator.failure


def progress(victim: Victim, generators: list[Actor], left_s: float) -> str:
    calls = sum(total(generators).values())
    videos = sum(len(generator.histories) for generator in generators)
    harms = " ".join(f"{name}={number}" for name, number in sorted(victim.counts.items()))
    return f"left={max(left_s, 0):.0f}s calls={calls} videos={videos} {harms}"


def total(generators: list[Actor]) -> Counter[str]:
    return sum((generator.counts for generator in generators), Counter())


def compare(victim: Victim, generators: list[Actor], rng: random.Random) -> Report:
    """Everything again: beside the server after kill -9 and another start, and in process after its end."""
    histories = {key: h for generator in generators for key, h in generator.histories.items()}
    victim._kill()
    with MemoryClient(victim.address, timeout_s=60) as memory:
        check_every(memory, histories, rng)
    victim.end()
    engine = MemoryEngine(victim.data_dir)
    check_every(engine, histories, rng)
    engine.close()
    report = verify(victim.data_dir)
    assert not report.findings, report.findings
    assert report.videos == len(histories)
    assert "Traceback" not in victim.log.read_text(), victim.log
    return report


def check_every(memory: MemoryClient | MemoryEngine, histories: dict, rng: random.Random) -> None:
    pools = {key.pool for key in histories} | {"shared"}
    assert {info.key for pool in pools for info in memory.list_videos(pool)} == set(histories)
    history: History
    for history in histories.values():
        check_all(memory, history, rng)


def write_report(
    path: Path, seed: int, seconds: float, victim: Victim, generators: list[Actor], report: Report
) -> None:
    answer = {
        "seed": seed,
        "seconds": round(seconds, 1),
        "machine": f"{platform.machine()} {platform.system()} {platform.release()}",
        "generators": len(generators),
        "calls": dict(sorted(total(generators).items())),
        "harms": dict(sorted(victim.counts.items())),
        "videos": report.videos,
        "frames": report.frames,
        "bytes_verified": report.bytes,
        "findings": len(report.findings),
        "largest_rss_mib": victim.largest_rss >> 20,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(answer, indent=2) + "\n")
    print(json.dumps(answer, indent=2))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="(default: %(default)s)")
    parser.add_argument("--generators", type=int, default=4, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, help="does the same again, as far as threads and kills allow")
    parser.add_argument("--data", type=Path, help="where (default: a temporary folder)")
    parser.add_argument(
        "--report", type=Path, default=Path("out/soak/report.json"), help="(default: %(default)s)"
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
