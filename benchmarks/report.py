"""A run as Markdown."""

import math
from collections.abc import Iterable, Sequence

from benchmarks.rows import Cold, Results, Row, named
from benchmarks.targets import targets

_FLOORS = {"nothing": "floor, memory", "kill -9": "floor, file", "power loss": "floor, fdatasync"}

_WORDS = """\
One step appends 3 frames of 199,680 B with embeddings of 1,024 float32, searches 480 of them for 6 in the
span that is eligible, and copies 6 payloads into a staging buffer; hits and payloads are checked after each
step. All peers run in one go, their rounds interleaved in random order; one BLAS thread, the allocator as
glibc has it. *kept* is what an acknowledged block survives, *floor* the same work in C in the same run, of
equal durability, which overwrites pages that it has had from the beginning. CPU is of client and server.
Memory is anonymous and shared memory per frame of the history, of the client + of the server; the libraries
that come with a client are in it. 1 KB is 1,000 B."""

_FILLED = """\
This machine gives free memory back to its host and pays for the next touch, so that a page costs 8 us or
0.25 us by chance. Free memory was therefore touched once and kept in small pieces, as on a server that has
been up for a while: new pages cost every peer the same (`benchmarks/README.md`)."""


def markdown(results: Results, machine: str, versions: str, command: str, date: str) -> str:
    """All sections for which there is something to show."""
    parts = [f"Machine: {machine}. {versions}. {date}, `{command}`.", _WORDS]
    if results.memory:
        parts.append(f"{_FILLED}\n{results.memory}")
    if results.peers:
        parts.append("## One client\n\n" + peers_table(results.peers))
    if results.databases:
        parts.append("## One client, databases\n\n" + peers_table(results.databases))
    if results.clients:
        parts.append("## Several clients of one server\n\n" + clients_table(results.clients))
    if results.growth:
        parts.append("## Growing histories, the verbs one by one\n\n" + growth_table(results.growth))
    if results.cold is not None:
        parts.append("## Cold videos\n\n" + cold_table(results.cold))
    if results.cold_failure:
        parts.append(f"## Cold videos\n\n{results.cold_failure}")
    parts.append("## Targets\n\n" + targets_table(results))
    return "\n\n".join(parts) + "\n"


def peers_table(rows: Sequence[Row]) -> str:
    """Fastest first within each durability; what was not measured comes last and says why."""
    head = (
        "peer",
        "kept",
        "step p50 / p99 ms",
        "append / search / fetch ms",
        "CPU ms",
        "steps/s",
        "x floor",
        "recall",
        "KB/frame on disk",
        "KB/frame in memory",
    )
    order = list(_FLOORS)
    measured = sorted((r for r in rows if r.measured), key=lambda r: (order.index(r.durability), r.p50))
    lines = []
    for row in measured:
        floor = named(rows, _FLOORS[row.durability])
        sample = row.sample
        verbs = [sample.p(50, verb) for verb in ("append", "search", "fetch")]
        lines.append(
            (
                row.name,
                row.durability,
                f"{_ms(row.p50)} / {_ms(sample.p(99))}",
                " / ".join(map(_ms, verbs)) if not math.isnan(verbs[0]) else "one call",
                _ms(sample.cpu_per_step),
                f"{sample.num_steps / sum(sample.seconds['step']):.0f}",
                f"{row.p50 / floor.p50:.1f}" if floor else "-",
                _number(sample.recall, ".2f"),
                _number(row.disk_bytes_per_frame / 1e3, ".1f"),
                _memory(row),
            )
        )
    rest = [(r.name, r.durability, r.note, *[""] * (len(head) - 3)) for r in rows if not r.measured]
    return _table(head, [*lines, *rest], left=2)


def _memory(row: Row) -> str:
    if row.loaded is None:
        return "-"
    client, server = row.loaded.client_bytes, row.loaded.server_bytes
    return f"{client / row.history / 1e3:.1f} + {server / row.history / 1e3:.1f}"


def clients_table(rows: Iterable[Row]) -> str:
    """Steps of all clients together."""
    head = ("peer", "clients", "step p50 / p99 ms", "steps/s", "CPU ms", "recall")
    lines: list[Sequence[str]] = []
    for row in rows:
        if row.measured:
            sample = row.sample
            step = f"{_ms(row.p50)} / {_ms(sample.p(99))}"
            figures = (
                f"{sample.steps_per_second:.0f}",
                _ms(sample.cpu_per_step),
                _number(sample.recall, ".2f"),
            )
            lines.append((row.name, str(row.clients), step, *figures))
        else:
            lines.append((row.name, str(row.clients), row.note, "", "", ""))
    return _table(head, lines, left=1)


def growth_table(rows: Iterable[Row]) -> str:
    """p50 of each verb by length."""
    head = ("peer", "frames", "append ms", "search ms", "fetch ms", "step ms", "recall")
    lines: list[Sequence[str]] = []
    for row in sorted(rows, key=lambda row: (row.name, row.history)):
        if row.measured:
            verbs = [_ms(row.sample.p(50, verb)) for verb in ("append", "search", "fetch", "step")]
            lines.append((row.name, f"{row.history:,}", *verbs, _number(row.sample.recall, ".2f")))
        else:
            lines.append((row.name, f"{row.history:,}", row.note, "", "", "", ""))
    return _table(head, lines, left=1)


def cold_table(cold: Cold) -> str:
    """A server that has much and is asked for little."""
    head = ("what", "measured")
    lines: list[Sequence[str]] = [
        ("videos on disk", f"{cold.videos:,}"),
        ("written in, s", f"{cold.written_s:.1f}"),
        ("from start to serving, s", f"{cold.start_s:.2f}"),
        ("resident memory before use, MB", f"{cold.resident_bytes / 1e6:.0f}"),
        ("of it anonymous, MB", f"{cold.anonymous_bytes / 1e6:.0f}"),
        ("resident memory after use, MB", f"{cold.resident_after / 1e6:.0f}"),
    ]
    for frames, seconds in cold.first_use_s.items():
        values = sorted(seconds)
        figures = f"{_ms(values[len(values) // 2])} / {_ms(values[-1])} over {len(values)} videos"
        lines.append((f"first search of a video of {frames} frames, p50 / longest ms", figures))
    return _table(head, lines, left=1)


def targets_table(results: Results) -> str:
    """Each target with what was measured."""
    lines = [
        (target.text, target.bound, _number(target.measured, ".2f"), target.verdict, target.detail)
        for target in targets(results)
    ]
    return _table(("target", "to reach", "measured", "", "of"), lines, left=1)


def _table(head: Sequence[str], lines: Iterable[Sequence[str]], *, left: int) -> str:
    rules = ["---"] * left + ["--:"] * (len(head) - left)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rules, *lines))


def _ms(seconds: float) -> str:
    return _number(1e3 * seconds, ".2f" if seconds < 0.1 else ".0f")


def _number(value: float, form: str) -> str:
    return "-" if math.isnan(value) else format(value, form)
