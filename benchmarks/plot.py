"""A run as a picture. Needs matplotlib."""

from pathlib import Path

from benchmarks.rows import Results, Row

_COLOURS = {"nothing": "#9aa5b1", "kill -9": "#3b7dd8", "power loss": "#7a4fb5"}
_OURS = "#d9480f"


def save(results: Results, path: Path, machine: str) -> None:
    """Write a PNG: steps of all peers, and verbs over growing histories where they were measured."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    peers = sorted(_once(results.peers, results.databases), key=lambda row: -row.p50)
    panels = [panel for panel in (peers, results.growth) if panel]
    if not panels:
        return
    figure, axes = plt.subplots(
        1, len(panels), figsize=(9.5 * len(panels), max(4.0, 0.32 * len(peers) + 1.8)), squeeze=False
    )
    for axis, panel in zip(axes[0], panels, strict=True):
        _bars(axis, peers) if panel is peers else _lines(axis, results.growth)
    figure.text(0.005, 0.005, machine, fontsize=7, color="#555555")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _once(peers: list[Row], databases: list[Row]) -> list[Row]:
    """All measured rows, without those that stand beside the databases a second time."""
    return [row for row in [*peers, *(r for r in databases if r.is_database)] if row.measured]


def _bars(axis, peers: list[Row]) -> None:
    values = [1e3 * row.p50 for row in peers]
    colours = [_OURS if row.name.startswith("ours") else _COLOURS[row.durability] for row in peers]
    axis.barh(range(len(peers)), values, color=colours)
    axis.set_yticks(range(len(peers)), [f"{row.name} ({row.durability})" for row in peers], fontsize=8)
    for position, value in enumerate(values):
        axis.text(value * 1.06, position, f"{value:.2f}", va="center", fontsize=7)
    axis.set_xscale("log")
    axis.set_xlim(right=max(values) * 3)
    axis.set_xlabel("p50 of one block step, ms (log); in brackets what an acknowledged block survives")
    axis.set_title("One client, 480 frames", loc="left", fontsize=10)
    axis.grid(axis="x", which="major", color="#dddddd")
    axis.set_axisbelow(True)
    axis.margins(y=0.01)


def _lines(axis, rows: list[Row]) -> None:
    styles = {"append": ":", "search": "-", "fetch": "--"}
    names = list(dict.fromkeys(row.name for row in rows if row.measured))
    for number, name in enumerate(names):
        own = [row for row in rows if row.name == name and row.measured]
        for verb, style in styles.items():
            axis.plot(
                [row.history for row in own],
                [1e3 * row.sample.p(50, verb) for row in own],
                style,
                marker="o",
                markersize=3,
                color=f"C{number}",
                label=name if verb == "search" else None,
            )
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("frames in the history")
    axis.set_ylabel("p50, ms")
    axis.set_title("Growth: search solid, fetch dashed, append dotted", loc="left", fontsize=10)
    axis.grid(which="major", color="#dddddd")
    axis.legend(fontsize=8)
