"""The measurements: all peers, several clients, growing histories."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.ballast import Ballast
from benchmarks.measures import Sample
from benchmarks.peers import CACHED, PEERS
from benchmarks.peers.base import Kind
from benchmarks.rows import Row
from benchmarks.stage import WARM_UP_STEPS, failure, interleaved, rows, stands
from benchmarks.workload import BLOCK_FRAMES, Video

Answer = TypeVar("Answer")

REVISIT = 0.97
"""Share of retrieved frames that the step before had retrieved too, as measured with the reference (97 %)."""


CLIENTS = ("ours, local", "ours, unix inline", "Redis", "gRPC of three RPCs, unix")
GROWTH = (
    "ours, embedded",
    "ours, local",
    "ours, unix inline",
    "numpy in process",
    "list, stack, bmm, topk",
    "LMDB, no sync",
)


@dataclass(frozen=True)
class Size:
    """How much is measured. `peers` are the beginnings of names; the others are names."""

    peers: tuple[str, ...] = ("",)
    client_peers: tuple[str, ...] = CLIENTS
    growth_peers: tuple[str, ...] = GROWTH
    history: int = 480
    rounds: int = 6
    max_steps: int = 48
    clients: tuple[int, ...] = (1, 4, 16)
    client_rounds: int = 4
    client_steps: int = 24
    histories: tuple[int, ...] = (480, 4800, 48_000)
    growth_rounds: int = 3
    growth_steps: int = 16
    cold_short: int = 100_000
    cold_long: int = 1_000


SMOKE = Size(
    peers=("floor, f", "empty RPC, unix", "ours", "numpy", "gRPC of three RPCs, unix", "plain file"),
    client_peers=("ours, local",),
    growth_peers=("ours, local", "numpy in process"),
    history=60,
    rounds=1,
    max_steps=4,
    clients=(1, 2),
    client_rounds=1,
    client_steps=4,
    histories=(60, 240),
    growth_rounds=1,
    growth_steps=4,
    cold_short=200,
    cold_long=5,
)
"""What needs nothing but the development environment, and little time."""

ANCHORS = (
    "floor, memory",
    "floor, file",
    "floor, fdatasync",
    "ours, local",
    "ours, local, sync",
    "ours, unix inline",
    "ours, unix inline, sync",
)
"""What databases are measured beside."""

CACHED_BESIDE = "ours, unix inline"

FULL_HISTORY = 4800
"""Longest history that is written in full."""


def one_client(size: Size, folder: Path, kinds: Mapping[str, Kind], ballast: Ballast) -> list[Row]:
    """Every peer but the databases; then the client's cache with queries that come back."""
    chosen = {n: k for n, k in kinds.items() if not k.is_database}
    table = _peers(size, folder, chosen, ballast, part="peers")
    if CACHED_BESIDE in kinds:
        both = {"off": PEERS[CACHED_BESIDE], "on": CACHED}
        beside = _peers(size, folder, both, ballast, part="cache", revisit=REVISIT)
        for row in beside:
            row.name += f", {REVISIT:.0%} of hits come back"
        table += beside
    return table


def databases(size: Size, folder: Path, kinds: Mapping[str, Kind], ballast: Ballast) -> list[Row]:
    """The databases, with the floors and ours once more beside them.

    Apart, because all peers at once take more memory than a small machine has at hand, and then it is the
    page cache that is measured.
    """
    if not any(kind.is_database for kind in kinds.values()):
        return []
    chosen = {n: k for n, k in kinds.items() if k.is_database or n in ANCHORS}
    return _peers(size, folder, chosen, ballast, part="databases")


def _peers(
    size: Size,
    folder: Path,
    kinds: Mapping[str, Kind],
    ballast: Ballast,
    *,
    part: str,
    revisit: float | None = None,
) -> list[Row]:
    most = size.history + BLOCK_FRAMES * (WARM_UP_STEPS + size.rounds * size.max_steps)
    folder /= "peers"
    video = Video("video-0", size.history, most, revisit=revisit)
    with stands(kinds, folder, [video], ballast) as (there, notes):
        ballast.ready(part)
        samples = interleaved(there, notes, ballast, rounds=size.rounds, max_steps=size.max_steps)
        table = rows(kinds, there, notes, samples, history=size.history)
    shutil.rmtree(folder)
    return table


def several_clients(size: Size, folder: Path, kinds: Mapping[str, Kind], ballast: Ballast) -> list[Row]:
    """1, 4 and 16 clients of one server, each a process with a video of its own."""
    most = size.history + BLOCK_FRAMES * (
        WARM_UP_STEPS + len(size.clients) * size.client_rounds * size.client_steps
    )
    videos = [Video(f"video-{i}", size.history, most, seed=i) for i in range(max(size.clients))]
    samples: dict[tuple[str, int], Sample] = {}
    folder /= "clients"
    with stands(kinds, folder, videos, ballast) as (there, notes):
        hot = {}
        for name, stand in there.items():
            hot[name] = _attempt(notes, name, lambda s=stand: s.hot_bytes_per_frame(max(size.clients)))
            print(f"  {name}: {max(size.clients)} clients ready", flush=True)
        ballast.ready("clients")
        for number in range(size.client_rounds):
            ballast.top_up()
            for clients in size.clients:
                for name, stand in there.items():
                    sample = _attempt(notes, name, lambda s=stand, c=clients: s.run(size.client_steps, c))
                    if sample is not None:
                        samples.setdefault((name, clients), Sample()).add(sample)
            print(f"  round {number + 1}/{size.client_rounds}", flush=True)
        table = []
        for name, kind in kinds.items():
            for clients in size.clients:
                row = Row.of(kind, clients=clients, history=size.history, note=notes.get(name, ""))
                row.sample = samples.get((name, clients), row.sample) if name not in notes else row.sample
                if name in there and name not in notes:
                    row.loaded, row.hot_bytes_per_frame = there[name].loaded, hot[name]
                table.append(row)
    shutil.rmtree(folder)
    return table


def growing(size: Size, folder: Path, kinds: Mapping[str, Kind], ballast: Ballast) -> list[Row]:
    """Append, search and fetch one by one, then whole steps, over histories of several lengths."""
    table = []
    for history in size.histories:
        print(f"  {history} frames", flush=True)
        own = folder / f"growth-{history}"
        video = Video(
            "video-0",
            history,
            history + 2 * BLOCK_FRAMES * (WARM_UP_STEPS + size.growth_rounds * size.growth_steps),
            small_history=history > FULL_HISTORY,
            revisit=0.0,
        )
        with stands(kinds, own, [video], ballast) as (there, notes):
            ballast.ready(f"growth to {history:,}")
            limits = {"rounds": size.growth_rounds, "max_steps": size.growth_steps}
            samples = interleaved(there, notes, ballast, **limits, fused=False)
            for name, whole in interleaved(there, notes, ballast, **limits).items():
                samples[name].seconds["step"] = whole.seconds["step"]
            table += rows(kinds, there, notes, samples, history=history)
        shutil.rmtree(own)
    return table


def _attempt(notes: dict[str, str], name: str, call: Callable[[], Answer]) -> Answer | None:
    """What `call` returns; None once the peer has failed, which is noted."""
    if name in notes:
        return None
    try:
        return call()
    except Exception as exc:
        notes[name] = failure(exc)
        return None
