"""One video that plays several, each under its title; below, how the place looked at its first visit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from generator.report.contact_sheet import fit
from generator.report.revisit import VIEW_CELLS, Return, returns
from generator.report.style import INK, MUTED, PAPER, font
from generator.video import VideoWriter

PANEL, GAP = 256, 12
"""Size of a panel and the space around it, in pixels."""

PROMPT, TITLE, CAPTION, PATH = 36, 34, 28, 30
"""Heights of the prompt, the titles, a row's caption and the camera's path, in pixels."""

NOTHING, TRACK, VISITED, HERE = (240, 241, 243), (215, 219, 224), (120, 160, 210), (202, 92, 10)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The videos of one prompt: title -> pixel frames [n, H, W, 3], n the same for all.

    `cells` [n] says where the camera stands in each frame, where that is known; else it is empty.
    """

    prompt: str
    fps: float
    panels: Mapping[str, NDArray[np.uint8]]
    cells: Sequence[int] = ()

    def __post_init__(self) -> None:
        if len({len(frames) for frames in self.panels.values()}) != 1:
            raise ValueError("all videos of a comparison must have the same number of frames")
        if self.cells and len(self.cells) != self.num_frames:
            raise ValueError(f"cells must say where all {self.num_frames} frames are, got {len(self.cells)}")

    @property
    def num_frames(self) -> int:
        return len(next(iter(self.panels.values())))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its picture in pixels; both even."""
        width = len(self.panels) * (PANEL + GAP) + GAP
        height = PROMPT + TITLE + PANEL + GAP
        return width, height + (CAPTION + PANEL + GAP + PATH if self.cells else 0)


def write(comparison: Comparison, path: Path) -> None:
    """Write the comparison as an mp4, in step and at the videos' own speed."""
    background = _background(comparison)
    earlier = {found.frame: found for found in returns(comparison.cells, VIEW_CELLS)}
    with VideoWriter(path, fps=comparison.fps) as video:
        for frame in range(comparison.num_frames):
            picture = compose(comparison, background.copy(), frame, earlier.get(frame))
            video.append(np.asarray(picture)[None])


def compose(comparison: Comparison, canvas: Image.Image, frame: int, earlier: Return | None) -> Image.Image:
    """Draw one moment onto the background."""
    draw = ImageDraw.Draw(canvas)
    seconds = f"{frame / comparison.fps:.1f} s"
    draw.text((canvas.width - GAP, PROMPT / 2), seconds, font=font(17, bold=True), fill=INK, anchor="rm")
    _paste_row(canvas, comparison, frame, PROMPT + TITLE)
    if comparison.cells:
        top = PROMPT + TITLE + PANEL + GAP
        caption = "this place is new"
        if earlier is not None:
            caption = f"the same place at its first visit, {earlier.first / comparison.fps:.1f} s"
            _paste_row(canvas, comparison, earlier.first, top + CAPTION)
        draw.text(
            (GAP, top + CAPTION / 2), caption, font=font(15), fill=INK if earlier else MUTED, anchor="lm"
        )
        _draw_path(draw, comparison.cells, frame, (GAP, canvas.height - PATH // 2 - 2, canvas.width - GAP))
    return canvas


def _background(comparison: Comparison) -> Image.Image:
    """What stays the same in all pictures: words, and grey where a first visit will be shown."""
    canvas = Image.new("RGB", comparison.size, PAPER)
    draw = ImageDraw.Draw(canvas)
    draw.text((GAP, PROMPT / 2), comparison.prompt, font=font(14), fill=MUTED, anchor="lm")
    for column, title in enumerate(comparison.panels):
        x = _left(column)
        draw.text((x, PROMPT + TITLE / 2), title, font=font(19, bold=True), fill=INK, anchor="lm")
        if comparison.cells:
            y = PROMPT + TITLE + PANEL + GAP + CAPTION
            draw.rectangle((x, y, x + PANEL - 1, y + PANEL - 1), fill=NOTHING)
    return canvas


def _paste_row(canvas: Image.Image, comparison: Comparison, frame: int, top: int) -> None:
    for column, frames in enumerate(comparison.panels.values()):
        canvas.paste(fit(Image.fromarray(frames[frame]), PANEL, PANEL), (_left(column), top))


def _left(column: int) -> int:
    return GAP + column * (PANEL + GAP)


def _draw_path(
    draw: ImageDraw.ImageDraw, cells: Sequence[int], frame: int, line: tuple[int, int, int]
) -> None:
    """A line for the world, the part of it seen so far, and the view on it."""
    left, y, right = line
    low, high = min(cells), max(cells) + VIEW_CELLS

    def x(cell: int) -> float:
        return left + (right - left) * (cell - low) / (high - low)

    seen = cells[: frame + 1]
    draw.line((left, y, right, y), fill=TRACK, width=6)
    draw.line((x(min(seen)), y, x(max(seen) + VIEW_CELLS), y), fill=VISITED, width=6)
    here = x(cells[frame]), y - 8, x(cells[frame] + VIEW_CELLS), y + 8
    draw.rounded_rectangle(here, 4, outline=HERE, width=3)
