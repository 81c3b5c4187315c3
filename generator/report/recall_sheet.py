"""What a video recalled: a row per moment, with the view that asked and the frames that answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from generator.records.record import BlockRecord, RolloutRecord
from generator.records.revisit import VIEW_CELLS
from generator.report.contact_sheet import fit
from generator.report.style import INK, MUTED, PAPER, font

CELL, GAP, CAPTION, HEAD = 128, 10, 24, 76
"""Sizes of a picture, of the space between two, of the line under it and of the heading, in pixels."""

ARROW = 90
"""Space between the view that asked and the first answer, in pixels."""

SAME_PLACE = (32, 148, 74)
NUM_ROWS = 8


def draw(record: RolloutRecord, frames: NDArray[np.uint8], path: Path) -> None:
    """Write the sheet as a PNG; `frames` are one per latent frame. Raises ValueError if none was recalled."""
    blocks = choose_blocks(record.blocks)
    if not blocks:
        raise ValueError(f"{record.video} recalled nothing")
    most = max(len(block.retrieved) for block in blocks)
    size = GAP + CELL + ARROW + most * (CELL + GAP), HEAD + len(blocks) * (CELL + CAPTION + GAP)
    sheet = Image.new("RGB", size, PAPER)
    _draw_heading(ImageDraw.Draw(sheet), record)
    for row, block in enumerate(blocks):
        _draw_row(sheet, record, block, frames, HEAD + row * (CELL + CAPTION + GAP))
    sheet.save(path)


def choose_blocks(blocks: Sequence[BlockRecord], num_rows: int = NUM_ROWS) -> list[BlockRecord]:
    """Blocks that recalled as many frames as any did, spread over the video."""
    most = max((len(block.retrieved) for block in blocks), default=0)
    full = [block for block in blocks if len(block.retrieved) == most > 0]
    if len(full) <= num_rows:
        return full
    return [full[index] for index in np.linspace(0, len(full) - 1, num_rows).round().astype(int)]


def overlap(cells: Sequence[int], frame: int, other: int) -> float:
    """Share of a view that another one shows too, from 0 to 1."""
    return max(0.0, 1 - abs(cells[frame] - cells[other]) / VIEW_CELLS)


def _draw_heading(draw: ImageDraw.ImageDraw, record: RolloutRecord) -> None:
    draw.text((GAP, 20), record.prompt, font=font(17, bold=True), fill=INK, anchor="lm")
    words = "left: the last view before a block; right: the frames that it retrieved, best first, with score"
    if record.camera_cells:
        words += "; framed: at least half of the same place"
    draw.text((GAP, 48), words, font=font(14), fill=MUTED, anchor="lm")


def _draw_row(
    sheet: Image.Image, record: RolloutRecord, block: BlockRecord, frames: NDArray[np.uint8], top: int
) -> None:
    draw, asked = ImageDraw.Draw(sheet), block.start - 1
    _paste(sheet, frames[asked], (GAP, top), f"{asked / record.latent_fps:.1f} s")
    middle = top + CELL / 2
    left, right = GAP + CELL + 22, GAP + CELL + ARROW - 22
    draw.line((left, middle, right, middle), fill=MUTED, width=3)
    draw.polygon((right + 8, middle, right - 4, middle - 7, right - 4, middle + 7), fill=MUTED)
    for column, hit in enumerate(block.retrieved):
        corner = GAP + CELL + ARROW + column * (CELL + GAP), top
        caption = f"{hit.frame / record.latent_fps:.1f} s   {hit.score:.3f}"
        _paste(sheet, frames[hit.frame], corner, caption)
        if record.camera_cells and overlap(record.camera_cells, asked, hit.frame) >= 0.5:
            x, y = corner
            draw.rectangle((x - 4, y - 4, x + CELL + 3, y + CELL + 3), outline=SAME_PLACE, width=4)


def _paste(sheet: Image.Image, frame: NDArray[np.uint8], corner: tuple[int, int], caption: str) -> None:
    x, y = corner
    sheet.paste(fit(Image.fromarray(frame), CELL, CELL), corner)
    where = x + CELL / 2, y + CELL + CAPTION / 2 + 2
    ImageDraw.Draw(sheet).text(where, caption, font=font(14), fill=MUTED, anchor="mm")
