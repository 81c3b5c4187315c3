"""A run as a picture. Needs matplotlib."""

from __future__ import annotations

from pathlib import Path

from benchmarks.generator.findings import PARTS, Findings

_COLOURS = {
    "fetch": "#d9480f",
    "denoise": "#3b7dd8",
    "encode": "#2f9e44",
    "recache": "#74a9e6",
    "wait": "#c2255c",
    "other": "#9aa5b1",
}


def save(findings: Findings, path: Path, machine: str) -> None:
    """Write a PNG: a block of each arm, part by part, and the floor."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = findings.rows[::-1]
    figure, axis = plt.subplots(figsize=(10, 0.6 * len(rows) + 2))
    left = [0.0] * len(rows)
    parts = [findings.part_ms(row) for row in rows]
    for part in PARTS:
        widths = [max(0.0, one[part]) for one in parts]
        axis.barh(range(len(rows)), widths, left=left, color=_COLOURS[part], label=part)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    for position, end in enumerate(left):
        axis.text(end, position, f" {end:.1f}", va="center", fontsize=8)
    axis.axvline(findings.floor_ms(), color="black", linestyle="--", linewidth=1, label="floor")
    axis.set_yticks(range(len(rows)), [row.arm.name for row in rows], fontsize=9)
    axis.set_xlim(right=1.12 * max(left))
    axis.set_xlabel("ms per block with a full context")
    axis.set_title(f"{findings.subject}, {findings.device}, {findings.dtype}", loc="left", fontsize=10)
    axis.legend(ncols=len(PARTS) + 1, fontsize=8, loc="upper left", bbox_to_anchor=(0, -0.22), frameon=False)
    figure.text(0.005, 0.005, machine, fontsize=6, color="#555555")
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(path, dpi=130)
    plt.close(figure)
