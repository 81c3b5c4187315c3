"""Pixel sprites of the toy world: RGBA arrays [height, width, 4] in 0..1, feet on the last row."""

from __future__ import annotations

from functools import cache

import numpy as np

from generator.toy.palette import (
    LIT,
    PINE,
    RED,
    SLATE,
    SNOW,
    STONE,
    STONE_DARK,
    UNLIT,
    WALL,
    WOOD,
)

CELL = 8


def blank(height: int, cells: int) -> np.ndarray:
    return np.zeros((height, cells * CELL, 4), np.float32)


def box(art: np.ndarray, y: int, x: int, height: int, width: int, color: tuple) -> None:
    art[y : y + height, x : x + width] = (*color, 1.0)


def gable(art: np.ndarray, y: int, x: int, height: int, width: int, color: tuple) -> None:
    """Fill an upright triangle whose base is `width` pixels at row y + height - 1."""
    for row in range(height):
        half = (row + 1) / height * width / 2
        left, right = round(x + width / 2 - half), round(x + width / 2 + half)
        art[y + row, left:right] = (*color, 1.0)


def disc(art: np.ndarray, y: float, x: float, radius: float, color: tuple) -> None:
    rows, columns = np.mgrid[: art.shape[0], : art.shape[1]]
    art[(rows + 0.5 - y) ** 2 + (columns + 0.5 - x) ** 2 <= radius**2] = (*color, 1.0)


@cache
def ground_object(kind: str, snowy: bool, lit: bool) -> np.ndarray:
    """Sprite of a church, pine, tower or wall, which look the same wherever they stand."""
    match kind:
        case "church":
            return _church(snowy, lit)
        case "pine":
            return _pine(snowy)
        case "tower":
            return _tower(snowy, lit)
        case _:
            return _wall(snowy)


@cache
def house(roof: tuple, snowy: bool, lit: bool) -> np.ndarray:
    art = blank(24, 3)
    box(art, 12, 2, 12, 20, WALL)
    gable(art, 2, 0, 10, 24, roof)
    if snowy:
        gable(art, 2, 6, 5, 12, SNOW)
    box(art, 17, 10, 7, 4, WOOD)
    for x in (4, 16):
        box(art, 15, x, 4, 4, LIT if lit else UNLIT)
    return art


def _church(snowy: bool, lit: bool) -> np.ndarray:
    art = blank(38, 4)
    box(art, 24, 2, 14, 28, WALL)
    gable(art, 16, 8, 8, 24, SNOW if snowy else SLATE)
    box(art, 14, 2, 24, 10, WALL)
    gable(art, 0, 0, 14, 14, SLATE)
    box(art, 19, 5, 5, 4, LIT if lit else UNLIT)
    box(art, 29, 5, 9, 4, WOOD)
    for x in (16, 24):
        box(art, 28, x, 6, 3, LIT if lit else UNLIT)
    return art


@cache
def tree(foliage: tuple) -> np.ndarray:
    art = blank(24, 2)
    box(art, 13, 6, 11, 4, WOOD)
    disc(art, 8, 8, 7.6, foliage)
    disc(art, 9.5, 9.5, 4.5, tuple(0.82 * c for c in foliage))
    return art


def _pine(snowy: bool) -> np.ndarray:
    art = blank(30, 2)
    box(art, 25, 6, 5, 4, WOOD)
    for y, width in ((16, 16), (8, 12), (0, 8)):
        gable(art, y, 8 - width // 2, 10, width, PINE)
        if snowy:
            gable(art, y, 8 - width // 4, 4, width // 2, SNOW)
    return art


def _tower(snowy: bool, lit: bool) -> np.ndarray:
    art = blank(42, 2)
    box(art, 0, 7, 9, 1, STONE_DARK)
    box(art, 1, 8, 4, 7, RED)
    for x in (1, 7, 12):
        box(art, 8, x, 4, 3, SNOW if snowy else STONE)
    box(art, 12, 1, 30, 14, STONE)
    box(art, 12, 11, 30, 4, STONE_DARK)
    box(art, 18, 6, 6, 3, LIT if lit else STONE_DARK)
    box(art, 32, 5, 10, 5, WOOD)
    return art


def _wall(snowy: bool) -> np.ndarray:
    art = blank(18, 2)
    for x in (0, 8):
        box(art, 0, x, 4, 4, SNOW if snowy else STONE)
    box(art, 4, 0, 14, 16, STONE)
    box(art, 8, 0, 1, 16, STONE_DARK)
    box(art, 13, 0, 1, 16, STONE_DARK)
    return art


@cache
def sky_object(color: tuple, starry: bool) -> np.ndarray:
    """A cloud, or by night three stars."""
    if starry:
        art = blank(9, 2)
        for y, x in ((1, 3), (6, 8), (3, 13)):
            box(art, y, x, 2, 2, color)
        return art
    art = blank(9, 3)
    for x, y, radius in ((6, 5.5, 3.6), (12, 4.5, 4.5), (18, 5.5, 3.6)):
        disc(art, y, x, radius, color)
    return art


@cache
def mountain(cells: int, height: int, light: tuple, shade: tuple) -> np.ndarray:
    art = blank(height, cells)
    width = cells * CELL
    gable(art, 0, 0, height, width, light)
    shaded = art[:, width // 2 :, 3] > 0
    art[:, width // 2 :][shaded] = (*shade, 1.0)
    gable(art, 0, width // 3, height // 3, width // 3, SNOW)
    return art


@cache
def hill(cells: int, height: int, color: tuple) -> np.ndarray:
    art = blank(height, cells)
    half = cells * CELL / 2
    rows, columns = np.mgrid[:height, : cells * CELL]
    rise = height * np.sqrt(np.clip(1 - ((columns + 0.5 - half) / half) ** 2, 0, 1))
    art[rows >= height - rise] = (*color, 1.0)
    return art


@cache
def sailboat() -> np.ndarray:
    art = blank(16, 2)
    box(art, 0, 7, 13, 1, WOOD)
    for row in range(11):
        box(art, 1 + row, 8, 1, 1 + row // 2, SNOW)
        box(art, 1 + row, 7 - row // 3, 1, row // 3, RED)
    box(art, 13, 2, 1, 12, WOOD)
    box(art, 14, 3, 2, 10, WOOD)
    return art


@cache
def tuft(color: tuple) -> np.ndarray:
    art = blank(6, 1)
    box(art, 0, 2, 3, 4, color)
    box(art, 3, 3, 3, 2, tuple(0.5 * c for c in color))
    return art


@cache
def companion(kind: str, phase: int, ink: tuple) -> np.ndarray:
    """A bird (two wing strokes) or a balloon (two heights), 2 cells wide, 24 pixels high."""
    art = blank(24, 2)
    if kind == "bird":
        box(art, 11, 6, 3, 5, ink)
        for step in range(6):
            y = 11 - step if phase == 0 else 11 + step // 2
            box(art, y, 6 - step, 2, 1, ink)
            box(art, y, 10 + step, 2, 1, ink)
    elif kind == "balloon":
        y = 2 * phase
        disc(art, 7 + y, 8, 6.6, RED)
        for x in (5, 9):
            striped = art[:, x : x + 2, 3] > 0
            art[:, x : x + 2][striped] = (*LIT, 1.0)
        for x in (6, 9):
            box(art, 14 + y, x, 3, 1, WOOD)
        box(art, 17 + y, 5, 4, 6, WOOD)
    return art
