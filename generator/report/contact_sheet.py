"""One picture of several videos: a row per video, a column per time, the same letter over the same place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from generator.report.style import INK, MUTED, PAPER, draw_place, font, place_letter

CELL, GAP = 128, 6
"""Height of a picture and the space between two, in pixels."""

LEFT, TITLE, TIMES, FOOT = 150, 44, 34, 22
"""Widths and heights of the labels, in pixels."""

LEEWAY_FRAMES = 8
"""A column may move this far from its time to stand exactly where another column stands."""


@dataclass(frozen=True, slots=True)
class Column:
    """One moment of the sheet. `place` is a letter, or empty where the camera's path is unknown."""

    frame: int
    place: str = ""


@dataclass(frozen=True, kw_only=True)
class Group:
    """The videos of one prompt: title of a row -> pixel frames [n, H, W, 3], `fps` per second."""

    prompt: str
    fps: float
    columns: Sequence[Column]
    rows: Mapping[str, NDArray[np.uint8]]

    @property
    def cell_width(self) -> int:
        """Width of its pictures on the sheet, in pixels; their height is `CELL`."""
        height, width = next(iter(self.rows.values())).shape[1:3]
        return round(CELL * width / height)

    @property
    def width(self) -> int:
        return LEFT + len(self.columns) * (self.cell_width + GAP) + GAP

    @property
    def height(self) -> int:
        return TITLE + TIMES + len(self.rows) * (CELL + GAP) + FOOT


def choose_columns(num_frames: int, num_columns: int, cells: Sequence[int] = ()) -> list[Column]:
    """Spread columns over the video and letter their places; a place met again keeps its letter.

    `cells` [num_frames] says where the camera stands, and is empty where nobody knows. Each column
    moves to the cell near it that most columns can show, so that returns are seen.
    """
    spread = np.linspace(0, num_frames - 1, min(num_columns, num_frames)).round().astype(int).tolist()
    if not cells:
        return [Column(frame) for frame in spread]
    windows = [
        range(max(0, frame - LEEWAY_FRAMES), min(num_frames, frame + LEEWAY_FRAMES + 1)) for frame in spread
    ]
    shown_by = Counter(cell for window in windows for cell in {cells[frame] for frame in window})
    letters: dict[int, str] = {}
    columns = []
    for middle, window in zip(spread, windows, strict=True):
        frame = max(window, key=lambda f: (cells[f] in letters, shown_by[cells[f]], -abs(f - middle)))
        columns.append(Column(frame, letters.setdefault(cells[frame], place_letter(len(letters)))))
    return columns


def draw(groups: Sequence[Group], path: Path) -> None:
    """Write the sheet as a PNG."""
    size = max(group.width for group in groups), sum(group.height for group in groups)
    sheet = Image.new("RGB", size, PAPER)
    top = 0
    for group in groups:
        _draw_group(sheet, group, top)
        top += group.height
    sheet.save(path)


def _draw_group(sheet: Image.Image, group: Group, top: int) -> None:
    draw = ImageDraw.Draw(sheet)
    draw.text((GAP + 6, top + TITLE / 2), group.prompt, font=font(19, bold=True), fill=INK, anchor="lm")
    for index, column in enumerate(group.columns):
        center = LEFT + index * (group.cell_width + GAP) + group.cell_width / 2, top + TITLE + TIMES / 2
        _draw_heading(draw, center, column, group.fps)
    for row, (title, frames) in enumerate(group.rows.items()):
        y = top + TITLE + TIMES + row * (CELL + GAP)
        draw.text((LEFT - 14, y + CELL / 2), title, font=font(17), fill=INK, anchor="rm")
        for index, column in enumerate(group.columns):
            picture = Image.fromarray(frames[column.frame])
            sheet.paste(fit(picture, group.cell_width, CELL), (LEFT + index * (group.cell_width + GAP), y))


def _draw_heading(draw: ImageDraw.ImageDraw, center: tuple[float, float], column: Column, fps: float) -> None:
    x, y = center
    label = f"{column.frame / fps:.1f} s"
    if not column.place:
        draw.text((x, y), label, font=font(16), fill=MUTED, anchor="mm")
        return
    draw.text((x - 14, y), label, font=font(16), fill=MUTED, anchor="mm")
    draw_place(draw, (x + 28, y), column.place, 14)


def fit(picture: Image.Image, width: int, height: int) -> Image.Image:
    """Scale a picture to fill a box exactly; whole enlargements stay sharp."""
    enlarged = width >= picture.width and width % picture.width == 0
    return picture.resize((width, height), Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)
