"""What a corpus is rolled out from: a list in a file, or one that is drawn for the toy; all or a share."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from generator.batch import prompts
from generator.batch.prompts import NamedPrompt
from generator.errors import ConfigError
from generator.toy.prompts import Scene

DRAWN = re.compile(r"toy:(\d+)(?::(\d+))?", re.ASCII)
"""Number of prompts, and the seed that they are drawn with."""

MAX_DRAWN = 10_000
SCRIPT_S = 60
"""A script is at least so long, so that a minute of video does not repeat it."""

PAN_S, HOLD_S = (4, 20), (2, 6)
"""Shortest and longest camera move, in whole seconds."""

HOLDS, TURNS = 0.35, 0.8
"""How likely a pan is followed by a hold, and how likely the next pan turns back."""


def read(text: str) -> list[NamedPrompt]:
    """The prompts of a file (see `generator.batch.prompts`), or of "toy:COUNT" and "toy:COUNT:SEED".

    Raises OSError, and ConfigError where there is no such list.
    """
    if not text.startswith("toy:"):
        return prompts.read(Path(text))
    found = DRAWN.fullmatch(text)
    count, seed = (int(found[1]), int(found[2] or 0)) if found else (0, 0)
    if not 1 <= count <= MAX_DRAWN:
        raise ConfigError(f"prompts are {text!r}; expected toy:COUNT[:SEED] with 1 to {MAX_DRAWN}, or a file")
    return drawn(count, seed)


def drawn(count: int, seed: int) -> list[NamedPrompt]:
    """Toy prompts over scenes and camera scripts; a longer list begins with the shorter one."""
    texts = islice(_texts(np.random.default_rng(seed)), count)
    return [NamedPrompt(prompts.default_name(text), text) for text in texts]


def shared(listed: Sequence[NamedPrompt], share: float, seed: int) -> list[NamedPrompt]:
    """A share of a list, at least one, in its order: whatever else is in it, the same prompts come first.

    Raises ConfigError unless 0 < share <= 1.
    """
    if not 0 < share <= 1:
        raise ConfigError(f"share must be in (0, 1], got {share:g}")
    count = max(1, round(share * len(listed)))
    chosen = set(sorted(listed, key=lambda prompt: _rank(prompt, seed))[:count])
    return [prompt for prompt in listed if prompt in chosen]


def _rank(prompt: NamedPrompt, seed: int) -> str:
    return hashlib.sha256(f"{seed}\n{prompt.name}\n{prompt.text}".encode()).hexdigest()


def _texts(rng: np.random.Generator) -> Iterator[str]:
    while True:
        yield f"{_told(Scene.sample(rng))}; {', '.join(_script(rng))}"


def _told(scene: Scene) -> str:
    companion = "" if scene.companion == "alone" else f" and a {scene.companion}"
    article = "an" if scene.season == "autumn" else "a"
    return f"{article} {scene.season} {scene.settlement} at {scene.time} with {scene.skyline}{companion}"


def _script(rng: np.random.Generator) -> Iterator[str]:
    """Pans with turns, so that places come into view again, and holds between them."""
    total_s, direction = 0, str(rng.choice(("left", "right")))
    while total_s < SCRIPT_S:
        pan_s = _drawn_s(rng, PAN_S)
        yield f"pan {direction} {pan_s}s"
        total_s += pan_s
        if rng.random() < HOLDS:
            hold_s = _drawn_s(rng, HOLD_S)
            yield f"hold {hold_s}s"
            total_s += hold_s
        if rng.random() < TURNS:
            direction = "left" if direction == "right" else "right"


def _drawn_s(rng: np.random.Generator, bounds: tuple[int, int]) -> int:
    return int(rng.integers(bounds[0], bounds[1], endpoint=True))
