"""A run as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.generator.findings import PARTS, RETRIEVAL_LIMIT, Findings, verdict
from benchmarks.generator.runs import CONTROL

_WORDS = """\
In each round all arms roll out the same video, block by block in turn, in an order drawn anew for each block.
A block counts when its context is full; of each the fastest of all rounds is taken, and the mean over blocks
is given. *floor* is the larger of operations by the rate of a large matrix product and bytes by the rate of a
copy, both measured on this machine between the rounds, best kept. Operations are those of matrix products and
attention, two per multiply-add; bytes are the weights and the attended keys and values, read once per pass.
`relative` attends as many frames as `longlive_rag`, at the same positions, and retrieves none: what
`longlive_rag` takes beyond it is the cost of retrieval. It too appends to a memory, an embedded one. The
service is another process, reached by TCP. `relative, embedded, again` is the same arm once more: what it
differs by is noise. Memory is that of one rollout alone."""


def markdown(findings: Findings, machine: str, versions: str, command: str, date: str) -> str:
    parts = [
        f"# Generator: {findings.subject}",
        f"Machine: {machine}. {findings.device}, {findings.dtype}, {findings.threads} threads. {versions}. "
        f"{date}, `{command}`.",
        _WORDS,
        "## What a block must cost\n\n" + work_table(findings),
        "## What it costs\n\n" + arms_table(findings),
        "## Where its time goes, ms\n\n" + parts_table(findings),
        "## Retrieval\n\n" + retrieval_table(findings),
    ]
    return "\n\n".join(parts) + "\n"


def work_table(findings: Findings) -> str:
    """The arithmetic of a block with a full context, and the ceilings."""
    work, model = findings.work(), findings.model
    num_bytes = findings.passes * model.forward_bytes(findings.full)
    lines = [
        ("passes, the clean one too", f"{findings.passes}"),
        (
            "tokens of a block + of its context",
            f"{model.block_tokens} + {findings.full * model.tokens_per_frame}",
        ),
        ("operations, GFLOP", _giga(work.total)),
        ("of them linear layers", _giga(work.linear)),
        ("of them self-attention", _giga(work.self_attention)),
        ("of them cross-attention", _giga(work.cross_attention)),
        ("of them patches, timestep, head", _giga(work.rest)),
        ("once per prompt: text, its keys and values, GFLOP", _giga(model.prompt().total)),
        ("bytes, GB", _giga(num_bytes)),
        ("matrix product, GFLOP/s", _giga(findings.ceilings.flops)),
        ("copy, GB/s", _giga(findings.ceilings.bytes)),
        ("operations / rate, ms", f"{1e3 * work.total / findings.ceilings.flops:.2f}"),
        ("bytes / rate, ms", f"{1e3 * num_bytes / findings.ceilings.bytes:.2f}"),
        ("floor, ms", f"{findings.floor_ms():.2f}"),
    ]
    return _table(("per block", "counted or measured"), lines)


def arms_table(findings: Findings) -> str:
    head = (
        "arm",
        "block ms",
        "latent frames/s",
        "x floor",
        "GFLOP/s of the passes",
        "of the matrix product",
        "CPU ms of this process",
        "MB from the host per block",
        "MB on the host at the end",
        "peak MB",
    )
    frames = findings.model.block_frames
    lines = []
    for row in findings.rows:
        block_ms, rate = findings.block_ms(row), findings.rate(row)
        lines.append(
            (
                row.arm.name,
                f"{block_ms:.2f}",
                f"{1e3 * frames / block_ms:.1f}",
                f"{block_ms / findings.floor_ms():.2f}",
                _giga(rate),
                f"{100 * rate / findings.ceilings.flops:.0f} %",
                f"{findings.cpu_ms(row):.2f}",
                f"{findings.host_bytes(row) / 1e6:.2f}",
                f"{row.kept_bytes / 1e6:.1f}",
                f"{row.peak_bytes / 1e6:.0f}",
            )
        )
    return _table(head, lines)


def parts_table(findings: Findings) -> str:
    columns = [findings.part_ms(row) for row in findings.rows]
    lines = [(part, *(f"{column[part]:.2f}" for column in columns)) for part in PARTS]
    return _table(("part", *(row.arm.name for row in findings.rows)), lines)


def retrieval_table(findings: Findings) -> str:
    """What each arm takes beyond the control; the target is for those that retrieve."""
    lines = []
    for arm in (row.arm for row in findings.rows):
        if arm == CONTROL or arm.method == "native":
            continue
        cost = findings.cost(arm, CONTROL)
        others = findings.paired_cost(arm, CONTROL), findings.cpu_cost(arm, CONTROL)
        judged = verdict(cost) if arm.method != CONTROL.method else "noise"
        lines.append((arm.name, *(f"{100 * share:+.1f} %" for share in (cost, *others)), judged))
    limit = f"{100 * RETRIEVAL_LIMIT:.0f} %"
    head = (
        f"beyond `{CONTROL.name}`",
        "fastest blocks",
        "median of pairs",
        "CPU time",
        f"to be at most {limit}",
    )
    return _table(head, lines)


def _giga(value: float) -> str:
    digits = 2 if value < 1e11 else 0
    return f"{value / 1e9:,.{digits}f}"


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    rules = ["---"] + ["--:"] * (len(head) - 1)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rules, *lines))
