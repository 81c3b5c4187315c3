"""The toy world: a painted panorama of 8-pixel cells, seen through a 64 x 64 camera.

Everything that is fixed in the world stands on whole cells, so a camera step of one cell shifts
the view by exactly one latent column. Sun, moon and companion are fixed in the view instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from generator.toy import palette, sprites
from generator.toy.prompts import Scene
from generator.toy.sprites import CELL

VIEW_CELLS = 8
HEIGHT = VIEW_CELLS * CELL
HORIZON, FEET = 42, 54
"""Pixel rows: where the ground begins, and where objects stand."""

SUN_COLUMNS, COMPANION_COLUMNS = (5, 6), (1, 2)
PLAIN, SUN, COMPANION = 0, 1, 3
NUM_VARIANTS = 7
"""Variants of a panorama: plain; 1-2 halves of the sun; 3-6 companion (2 phases x 2 halves)."""

SUN_SPOT = {"noon": (9, 6.5), "dawn": (20, 7.0), "dusk": (21, 7.5), "night": (10, 6.0)}
"""Row of the centre, and radius."""

KINDS = {
    "village": (("house", 0.6), ("church", 0.12), ("tree", 0.28)),
    "forest": (("tree", 0.42), ("pine", 0.46), ("house", 0.12)),
    "castle": (("tower", 0.36), ("wall", 0.36), ("tree", 0.28)),
}

STRETCH = (6, 12)
"""Cells, shortest and longest, over which fields, rocks, roofs and leaves keep their colour, each for itself:
so a place can be told from another that has the same things."""

Choices = Sequence[tuple[Sequence[np.ndarray], float]]
"""Kinds of things, and the share of each: the sprite that it has at each cell."""


@dataclass(frozen=True)
class Panorama:
    """Painted variants [7, 64, cells * 8, 3] uint8; any view is a choice of their columns."""

    variants: np.ndarray

    @property
    def num_cells(self) -> int:
        return self.variants.shape[2] // CELL

    def view(self, cell: int, phase: int) -> np.ndarray:
        """Return the 64 x 64 view whose left edge is at `cell`; phase moves the companion."""
        columns = self.variants.reshape(NUM_VARIANTS, HEIGHT, -1, CELL, 3)
        chosen = columns[view_variants(phase), :, cell + np.arange(VIEW_CELLS)]
        return chosen.transpose(1, 0, 2, 3).reshape(HEIGHT, HEIGHT, 3)


def view_variants(phase: int) -> np.ndarray:
    """Panorama variant of each of the 8 view columns; phase = latent frame index mod 2."""
    variants = np.full(VIEW_CELLS, PLAIN)
    variants[list(SUN_COLUMNS)] = SUN, SUN + 1
    variants[list(COMPANION_COLUMNS)] = COMPANION + 2 * phase, COMPANION + 2 * phase + 1
    return variants


def paint(scene: Scene, num_cells: int, rng: np.random.Generator) -> Panorama:
    """Paint a panorama: the scene says what there is, chance where it stands and what colour it has there."""
    air, land = _layer(num_cells), _layer(num_cells)
    sky_object = sprites.sky_object(palette.CLOUD[scene.time], scene.time == "night")
    _scatter(air, [([sky_object] * num_cells, 1.0)], rng, gaps=(2, 5), feet=(16, 24))
    _paint_skyline(land, scene, rng)
    _paint_ground(land, scene, rng)
    _scatter(land, _objects(scene, num_cells, rng), rng, gaps=(0, 2), feet=(FEET,))
    lights = (land[..., :3] == np.float32(palette.LIT)).all(-1)
    land[..., :3] *= np.float32(palette.TINT[scene.time])
    land[lights, :3] = palette.LIT
    return Panorama(_variants(air, land, scene))


def _layer(num_cells: int) -> np.ndarray:
    return np.zeros((HEIGHT, num_cells * CELL, 4), np.float32)


def _stretches(colours: Sequence[tuple], num_cells: int, rng: np.random.Generator) -> list[tuple]:
    """The colour of each cell, for one kind of thing: neighbouring stretches differ."""
    chosen: list[int] = []
    while len(chosen) < num_cells:
        others = [number for number in range(len(colours)) if number not in chosen[-1:]]
        chosen += [int(rng.choice(others))] * int(rng.integers(STRETCH[0], STRETCH[1] + 1))
    return [colours[number] for number in chosen[:num_cells]]


def _paste(layer: np.ndarray, art: np.ndarray, feet: int, cell: int) -> None:
    target = layer[feet - len(art) : feet, cell * CELL : cell * CELL + art.shape[1]]
    art = art[:, : target.shape[1]]
    target[art[..., 3] > 0] = art[art[..., 3] > 0]


def _scatter(
    layer: np.ndarray,
    choices: Choices,
    rng: np.random.Generator,
    gaps: tuple[int, int],
    feet: tuple[int, ...],
) -> None:
    """Place sprites one after another, leaving `gaps` cells (inclusive range) between them."""
    shares = np.array([share for _, share in choices])
    cell = int(rng.integers(0, 4))
    while cell * CELL < layer.shape[1]:
        art = choices[rng.choice(len(choices), p=shares / shares.sum())][0][cell]
        _paste(layer, art, int(rng.choice(feet)), cell)
        cell += art.shape[1] // CELL + int(rng.integers(gaps[0], gaps[1] + 1))


def _objects(scene: Scene, num_cells: int, rng: np.random.Generator) -> Choices:
    """What stands on the ground; roofs and leaves have the colour of their stretch."""
    snowy, lit = scene.season == "winter", scene.time in ("dusk", "night")
    roofs = _stretches(palette.ROOFS, num_cells, rng)
    leaves = _stretches(palette.FOLIAGE[scene.season], num_cells, rng)
    looks = {
        "house": [sprites.house(roof, snowy, lit) for roof in roofs],
        "tree": [sprites.tree(foliage) for foliage in leaves],
    }
    for kind in ("church", "pine", "tower", "wall"):
        looks[kind] = [sprites.ground_object(kind, snowy, lit)] * num_cells
    return [(looks[kind], share) for kind, share in KINDS[scene.settlement]]


def _paint_skyline(land: np.ndarray, scene: Scene, rng: np.random.Generator) -> None:
    num_cells = land.shape[1] // CELL
    match scene.skyline:
        case "mountains":
            rocks = _stretches(palette.ROCKS, num_cells, rng)
            land[HORIZON - 5 : HORIZON] = _row([shade for _, shade in rocks])
            high, low = ([sprites.mountain(*size, *rock) for rock in rocks] for size in ((6, 27), (4, 17)))
            _scatter(land, [(high, 0.5), (low, 0.5)], rng, gaps=(0, 1), feet=(HORIZON,))
        case "hills":
            pale = [tuple(0.75 * c + 0.1 for c in colour) for colour in palette.FIELDS[scene.season]]
            slopes = _stretches(pale, num_cells, rng)
            land[HORIZON - 4 : HORIZON] = _row(slopes)
            high, low = ([sprites.hill(*size, slope) for slope in slopes] for size in ((6, 15), (4, 10)))
            _scatter(land, [(high, 0.5), (low, 0.5)], rng, gaps=(0, 1), feet=(HORIZON,))
        case _:
            land[HORIZON - 12 : HORIZON] = (*palette.WATER, 1.0)
            for row, start in ((HORIZON - 9, 1), (HORIZON - 5, 4), (HORIZON - 2, 2)):
                for x in range(start, start + 3):
                    land[row, x::CELL] = (*palette.WAVE, 1.0)
            rocks = _stretches(palette.ROCKS, num_cells, rng)
            islands = [sprites.mountain(4, 14, *rock) for rock in rocks]
            boats = [sprites.sailboat()] * num_cells
            _scatter(land, [(boats, 0.6), (islands, 0.4)], rng, gaps=(1, 4), feet=(HORIZON - 5,))


def _paint_ground(land: np.ndarray, scene: Scene, rng: np.random.Generator) -> None:
    """Fields behind the path and before it."""
    fields, num_cells = palette.FIELDS[scene.season], land.shape[1] // CELL
    far, near = (_stretches(fields, num_cells, rng) for _ in range(2))
    land[HORIZON:] = _row(far)
    land[FEET - 2 : FEET + 3] = (*palette.PATH, 1.0)
    land[FEET + 3 :] = _row([tuple(0.9 * c for c in colour) for colour in near])
    tuft = sprites.tuft(palette.FLOWER[scene.season])
    _scatter(land, [([tuft] * num_cells, 1.0)], rng, gaps=(0, 3), feet=(HEIGHT,))


def _row(colours: Sequence[tuple[float, ...]]) -> np.ndarray:
    """Opaque pixels [cells * 8, 4], one colour for each cell."""
    row = np.ones((len(colours) * CELL, 4), np.float32)
    row[:, :3] = np.repeat(np.float32(colours), CELL, axis=0)
    return row


def _variants(air: np.ndarray, land: np.ndarray, scene: Scene) -> np.ndarray:
    """Compose sky, sun, air, land and companion in that order, once per variant."""
    top, bottom = np.float32(palette.SKY[scene.time])
    fade = np.clip(np.arange(HEIGHT, dtype=np.float32) / HORIZON, 0, 1)[:, None, None]
    repeats = land.shape[1] // CELL
    ink = palette.INK_BY_NIGHT if scene.time == "night" else palette.INK
    companion = [sprites.companion(scene.companion, phase, ink) for phase in (0, 1)]
    sun = _sun(scene)
    painted = np.empty((NUM_VARIANTS, *land.shape[:2], 3), np.float32)
    for variant, canvas in enumerate(painted):
        canvas[:] = top + (bottom - top) * fade
        if SUN <= variant < COMPANION:
            _over(canvas, np.tile(_half(sun, variant - SUN), (1, repeats, 1)))
        _over(canvas, air)
        _over(canvas, land)
        if variant >= COMPANION:
            phase, half = divmod(variant - COMPANION, 2)
            _over(canvas[:24], np.tile(_half(companion[phase], half), (1, repeats, 1)))
    return (painted * 255).round().astype(np.uint8)


def _over(canvas: np.ndarray, layer: np.ndarray) -> None:
    covered = layer[..., 3] > 0
    canvas[covered] = layer[covered][:, :3]


def _half(art: np.ndarray, half: int) -> np.ndarray:
    return art[:, half * CELL : (half + 1) * CELL]


def _sun(scene: Scene) -> np.ndarray:
    """Sun, or a crescent moon by night, across two cells."""
    art = sprites.blank(HEIGHT, 2)
    row, radius = SUN_SPOT[scene.time]
    sprites.disc(art, row, CELL, radius, palette.SUN_COLOR[scene.time])
    if scene.time == "night":
        shadow = sprites.blank(HEIGHT, 2)
        sprites.disc(shadow, row - 1.5, CELL + 3, radius, (0, 0, 0))
        art[shadow[..., 3] > 0] = 0.0
    return art
