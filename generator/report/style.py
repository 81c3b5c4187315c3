"""Colours, type and words that every picture of a report shares."""

from __future__ import annotations

import string
from functools import cache
from pathlib import Path

import matplotlib
from PIL import ImageDraw, ImageFont

PAPER, INK, MUTED = (255, 255, 255), (27, 31, 36), (107, 114, 128)
PLACE_COLORS = (
    (31, 98, 170),
    (202, 92, 10),
    (32, 128, 62),
    (178, 40, 48),
    (110, 72, 158),
    (120, 78, 64),
    (190, 72, 144),
    (84, 92, 104),
)
"""Dark enough for white letters; neighbours differ."""

METHOD_TITLES = {"longlive_rag": "LongLive-RAG", "relative": "relative", "native": "native"}
"""Method -> words beside its pictures, in the order in which pictures show them."""


def method_title(method: str) -> str:
    """Every method without a title of its own bears its name."""
    return METHOD_TITLES.get(method, method)


@cache
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib ships: the same letters on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def place_letter(index: int) -> str:
    return string.ascii_uppercase[index % len(string.ascii_uppercase)]


def draw_place(draw: ImageDraw.ImageDraw, center: tuple[float, float], letter: str, size: int) -> None:
    """A place's letter on a disc of its colour."""
    (x, y), radius = center, 0.72 * size
    color = PLACE_COLORS[string.ascii_uppercase.index(letter) % len(PLACE_COLORS)]
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)
    draw.text((x, y), letter, font=font(size, bold=True), fill=PAPER, anchor="mm")
