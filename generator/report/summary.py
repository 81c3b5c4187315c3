"""The report of a folder of rollouts: contact sheet, tables, and a Markdown page that shows them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from generator.records.record import RECORD, VIDEO, RolloutRecord
from generator.records.video import read_frames
from generator.report import contact_sheet, kv_table, recall_sheet, revisit_table, time_table
from generator.report.style import METHOD_TITLES, method_title
from generator.report.table import Table

SHEET, REPORT = FILES = ("contact_sheet.png", "report.md")
RECALLED = ".recalled.png"
"""Ending of the picture of what a video recalled."""

NUM_COLUMNS = 13


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The tables of a report and the files that were written."""

    tables: Sequence[Table]
    files: Sequence[Path]


def write(out: Path, videos: Sequence[str], pictures: Sequence[str]) -> Summary:
    """Summarise the rollouts that `videos` left in `out`; the page also shows `pictures`, files of `out`."""
    groups = {video: records(out, video) for video in videos}
    everything = [record for found in groups.values() for record in found]
    draw_sheet(out, groups)
    for video, found in groups.items():
        draw_recalled(out, video, found)
    tables = [time_table.table(everything)]
    if (found_in := kv_table.table(everything)) is not None:
        tables.append(found_in)
    scores = {
        (video, record.method): record.revisit
        for video, found in groups.items()
        for record in found
        if record.revisit is not None
    }
    if scores:
        tables.append(revisit_table.table(scores))
    page = out / REPORT
    page.write_text(markdown(groups, pictures, tables), encoding="utf-8")
    return Summary(tables=tables, files=(out / SHEET, page))


def records(out: Path, video: str) -> list[RolloutRecord]:
    """All rollouts of one video, in the order in which pictures show the methods."""
    paths = [out / f"{video}{RECORD}", *sorted(out.glob(f"{video}-*{RECORD}"))]
    found = [RolloutRecord.read(path) for path in paths if path.is_file()]
    order = list(METHOD_TITLES)
    return sorted(found, key=lambda r: order.index(r.method) if r.method in order else len(order))


def draw_sheet(out: Path, groups: dict[str, list[RolloutRecord]]) -> None:
    sheets = []
    for found in groups.values():
        first = found[0]
        rows = {method_title(r.method): small_frames(out / f"{r.video}{VIDEO}") for r in found}
        num_frames = min(map(len, rows.values()))
        columns = contact_sheet.choose_columns(num_frames, NUM_COLUMNS, first.camera_cells)
        sheets.append(contact_sheet.Group(prompt=first.prompt, fps=first.fps, columns=columns, rows=rows))
    contact_sheet.draw(sheets, out / SHEET)


def draw_recalled(out: Path, video: str, found: Sequence[RolloutRecord]) -> None:
    """What the first rollout that recalled anything did recall."""
    for record in found:
        if recall_sheet.choose_blocks(record.blocks):
            recall_sheet.draw(
                record, small_frames(out / f"{record.video}{VIDEO}"), out / f"{video}{RECALLED}"
            )
            return


def small_frames(path: Path) -> NDArray[np.uint8]:
    """Frames of a video at half their magnified size."""
    return np.stack([frame[::2, ::2] for frame in read_frames(path)])


def markdown(groups: dict[str, list[RolloutRecord]], pictures: Sequence[str], tables: Sequence[Table]) -> str:
    """The page: what was generated, pictures by file name, tables."""
    lines = ["# Demo", ""]
    for video, found in groups.items():
        first = found[0]
        length = f"{first.num_frames} latent frames, {first.num_frames / first.latent_fps:.0f} s"
        lines += [f"- `{video}`: {first.prompt} ({length}, seed {first.seed})"]
    lines += ["", "The same letter marks the same place; a column shows one moment of all methods.", ""]
    lines += [f"![contact sheet]({SHEET})", ""]
    for picture in pictures:
        lines += [f"![{picture}]({picture})", ""]
    return "\n".join(lines) + "\n" + "\n".join(table.markdown() for table in tables)
