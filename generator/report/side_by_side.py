"""One video that plays several, each under its title; below, how the place looked at its first visit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from generator.records.revisit import VIEW_CELLS, first_visits, returns
from generator.records.video import VideoWriter, frame_size, read_frames
from generator.report.contact_sheet import fit
from generator.report.style import INK, MUTED, PAPER, font

PANEL, GAP = 256, 12
"""Height of a panel and the space around it, in pixels."""

PROMPT, TITLE, CAPTION, PATH = 36, 34, 28, 30
"""Heights of the prompt, the titles, a row's caption and the camera's path, in pixels."""

NOTHING, TRACK, VISITED, HERE = (240, 241, 243), (215, 219, 224), (120, 160, 210), (202, 92, 10)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The videos of one prompt: title -> video file, all of the same length and size, `fps` frames a second.

    `cells` says where the camera stands in each frame, where that is known; else it is empty. `turns` are
    prompts that come later, by the second from which they hold, in order.
    """

    prompt: str
    fps: float
    panels: Mapping[str, Path]
    cells: Sequence[int] = ()
    turns: Mapping[float, str] = field(default_factory=dict)

    def prompt_at(self, frame: int) -> str:
        """The prompt that a frame was made by."""
        begun = [prompt for second, prompt in self.turns.items() if second * self.fps <= frame]
        return begun[-1] if begun else self.prompt


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame of every video, in the order of the panels; `first` shows the same place's first visit."""

    number: int
    frames: Sequence[Image.Image]
    first_number: int | None = None
    first: Sequence[Image.Image] = ()


def write(comparison: Comparison, path: Path) -> None:
    """Write the comparison as an mp4, in step and at the videos' own speed.

    Raises ValueError where the videos, or `cells`, are not equally long.
    """
    size = frame_size(next(iter(comparison.panels.values())))
    canvas = Canvas(comparison, round(PANEL * size[0] / size[1]))
    earlier = {found.frame: found.first for found in returns(comparison.cells, VIEW_CELLS)}
    keep = set(first_visits(comparison.cells))
    kept: dict[int, list[Image.Image]] = {}
    number = -1
    with VideoWriter(path, fps=comparison.fps, magnification=1) as video:
        playing = zip(*map(read_frames, comparison.panels.values()), strict=True)
        for number, frames in enumerate(playing):
            pictures = [canvas.panel(frame) for frame in frames]
            if number in keep:
                kept[number] = pictures
            first = earlier.get(number)
            moment = Moment(number, pictures, first, () if first is None else kept[first])
            video.append(np.asarray(canvas.draw(moment))[None])
    if comparison.cells and len(comparison.cells) != number + 1:
        raise ValueError(f"cells must say where all {number + 1} frames are, got {len(comparison.cells)}")


class Canvas:
    """The picture of a comparison: what stays the same is drawn once, each moment over a copy of it."""

    def __init__(self, comparison: Comparison, panel_width: int) -> None:
        self._comparison = comparison
        self._panel_width = panel_width
        self._second_row = PROMPT + TITLE + PANEL + GAP
        self._background = self._draw_background()

    def panel(self, frame: np.ndarray) -> Image.Image:
        """A video's frame [H, W, 3] at the size of a panel."""
        return fit(Image.fromarray(frame), self._panel_width, PANEL)

    def draw(self, moment: Moment) -> Image.Image:
        picture = self._background.copy()
        draw = ImageDraw.Draw(picture)
        prompt = self._comparison.prompt_at(moment.number)
        draw.text((GAP, PROMPT / 2), prompt, font=font(14), fill=MUTED, anchor="lm")
        corner = picture.width - GAP, PROMPT / 2
        draw.text(corner, self._seconds(moment.number), font=font(17, bold=True), fill=INK, anchor="rm")
        self._paste(picture, moment.frames, PROMPT + TITLE)
        if self._comparison.cells:
            caption, color = "this place is new", MUTED
            if moment.first_number is not None:
                caption, color = (
                    f"the same place at its first visit, {self._seconds(moment.first_number)}",
                    INK,
                )
                self._paste(picture, moment.first, self._second_row + CAPTION)
            draw.text((GAP, self._second_row + CAPTION / 2), caption, font=font(15), fill=color, anchor="lm")
            line = GAP, picture.height - PATH // 2 - 2, picture.width - GAP
            _draw_path(draw, self._comparison.cells, moment.number, line)
        return picture

    def _draw_background(self) -> Image.Image:
        known = bool(self._comparison.cells)
        height = self._second_row + (CAPTION + PANEL + GAP + PATH if known else 0)
        canvas = Image.new("RGB", (self._left(len(self._comparison.panels)), height), PAPER)
        draw = ImageDraw.Draw(canvas)
        for column, title in enumerate(self._comparison.panels):
            x, y = self._left(column), self._second_row + CAPTION
            draw.text((x, PROMPT + TITLE / 2), title, font=font(19, bold=True), fill=INK, anchor="lm")
            if known:
                draw.rectangle((x, y, x + self._panel_width - 1, y + PANEL - 1), fill=NOTHING)
        return canvas

    def _paste(self, canvas: Image.Image, pictures: Sequence[Image.Image], top: int) -> None:
        for column, picture in enumerate(pictures):
            canvas.paste(picture, (self._left(column), top))

    def _left(self, column: int) -> int:
        return GAP + column * (self._panel_width + GAP)

    def _seconds(self, frame: int) -> str:
        return f"{frame / self._comparison.fps:.1f} s"


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
    here = x(seen[-1]), y - 8, x(seen[-1] + VIEW_CELLS), y + 8
    draw.rounded_rectangle(here, 4, outline=HERE, width=3)
