"""The verdict of a run on the memory, from rows that are made up."""

import math

import pytest

from benchmarks.measures import Sample
from benchmarks.peers import PEERS
from benchmarks.peers.base import Durability, Kind
from benchmarks.report import markdown, targets_table
from benchmarks.rows import Results, Row
from benchmarks.targets import Target, targets
from benchmarks.worker import Loaded
from benchmarks.workload import FRAME_BYTES


def row(name: str, ms: float, *, clients: int = 1, history: int = 480, **verbs: float) -> Row:
    seconds = {"step": [ms / 1e3] * 20, **{verb: [value / 1e3] * 20 for verb, value in verbs.items()}}
    sample = Sample(seconds, client_cpu=0.01, server_cpu=0.01, wall=20 * ms / 1e3, found=120, expected=120)
    made = Row.of(PEERS[name], clients=clients, history=history)
    made.sample, made.disk_bytes_per_frame = sample, 1.02 * FRAME_BYTES
    made.loaded, made.hot_bytes_per_frame = Loaded(1000, 2000, 1.0), 4200.0
    return made


def results() -> Results:
    return Results(
        peers=[
            row("ours, local", 0.8),
            row("ours, local, sync", 1.6),
            row("ours, tcp inline", 2.0),
            row("floor, file", 0.2),
            row("floor, fdatasync", 0.6),
            row("empty RPC, unix", 0.4),
            row("gRPC of three RPCs, unix", 4.0),
            row("gRPC of three RPCs, tcp", 3.0),
            row("Redis", 2.0),
            row("LMDB, no sync", 0.1),
        ],
        databases=[
            row("ours, local", 1.6),
            row("ours, local, sync", 3.2),
            row("sqlite-vec, WAL normal", 4.8),
            row("sqlite-vec, WAL full", 32.0),
        ],
        clients=[
            row("ours, local", 0.9, clients=1),
            row("ours, local", 9.0, clients=16),
        ],
        growth=[
            *(
                row("ours, local", ms, history=n, append=0.4, search=ms - 0.5, fetch=0.1)
                for n, ms in ((480, 0.8), (4800, 1.5), (48_000, 12.0))
            ),
            *(row("list, stack, bmm, topk", 300 * n / 48_000, history=n) for n in (480, 4800, 48_000)),
        ],
    )


def by_text(found: Results, part: str) -> Target:
    (target,) = [target for target in targets(found) if part in target.text]
    return target


def test_ratios_and_verdicts():
    found = results()
    local = by_text(found, "empty RPC + file floor")
    assert local.measured == pytest.approx(0.8 / 0.6)
    assert local.verdict == "**not met**"
    inline = by_text(found, "gRPC of three RPCs, unix / local")
    assert inline.measured == pytest.approx(5.0)
    assert inline.verdict == "met"
    assert by_text(found, "Redis").measured == pytest.approx(2.5)
    assert by_text(found, "floor with fdatasync").measured == pytest.approx(1.6 / 0.6)
    assert by_text(found, "tcp / ours, tcp").verdict == "**not met**"
    assert by_text(found, "CPU").measured == pytest.approx(1.0)
    assert by_text(found, "p99 / p50").measured == pytest.approx(1.0)
    assert by_text(found, "disk").measured == pytest.approx(1.02)
    assert by_text(found, "anonymous").measured == pytest.approx(4.2)


def test_databases_are_compared_at_equal_durability_and_the_nearest_counts():
    nearest = by_text(results(), "nearest")
    assert nearest.measured == pytest.approx(3.0)
    assert nearest.detail.startswith("sqlite-vec, WAL normal")
    durable = results()
    durable.databases = [r for r in durable.databases if r.name != "sqlite-vec, WAL normal"]
    assert by_text(durable, "nearest").measured == pytest.approx(10.0)


def test_several_clients():
    found = results()
    assert by_text(found, "16 clients").measured == pytest.approx(9.0)
    assert by_text(found, "16 local clients").verdict == "**not met**"
    found.clients[1].sample.wall /= 100
    assert by_text(found, "16 local clients").verdict == "met"


def test_growth_and_recall():
    found = results()
    assert by_text(found, "at 48000 frames").measured == pytest.approx(25.0)
    assert by_text(found, "at 480 frames").measured == pytest.approx(3.0 / 0.8)
    assert by_text(found, "of append").measured == pytest.approx(0.0, abs=1e-9)
    assert by_text(found, "of search").measured == pytest.approx(math.log10(11.5 / 0.3) / 2, rel=0.01)
    assert by_text(found, "recall").verdict == "met"
    found.growth[1].sample.found -= 1
    assert by_text(found, "recall").verdict == "**not met**"


def test_nothing_measured_is_open_and_never_met():
    assert {target.verdict for target in targets(Results())} == {"open"}


def test_a_limit_itself_is_met():
    assert Target("at most", 1.3, 1.3, False).verdict == "met"
    assert Target("at least", 5.0, 5.0, True).verdict == "met"
    assert Target("at least", 4.99, 5.0, True).verdict == "**not met**"


def test_tables_show_what_is_not_installed():
    found = results()
    missing = Row.of(PEERS["Chroma"], history=480, note="not installed: make bench-peers")
    found.databases.append(missing)
    text = markdown(found, "a machine", "versions", "command", "2026-01-01")
    assert "| Chroma | power loss | not installed: make bench-peers |" in text
    assert "| ours, local | kill -9 | 0.80 / 0.80 | one call | 1.00 | 1250 | 4.0 | 1.00 |" in text
    assert "sqlite-vec" in targets_table(found)


def test_every_peer_has_a_name_of_its_own_and_says_how_to_get_it():
    class Absent(Kind):
        modules = ("no_such_module_anywhere",)
        install = "make bench-peers"

    assert Absent("absent", Durability.MEM).missing() == "make bench-peers"
    assert all(kind.name == name for name, kind in PEERS.items())
    assert all(kind.install for kind in PEERS.values() if kind.modules or kind.commands)
