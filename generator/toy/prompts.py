"""The toy's language: scene words, a camera script, and their fixed embeddings.

    a snowy village at dusk with mountains and a balloon; pan right 20s, pan left 20s, hold 5s

Before the semicolon: words of the scene, one per attribute, in any order. After it: camera moves
with durations at 4 latent frames per second; the script repeats when the video is longer.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, fields

import numpy as np
import torch

from generator.story.text import PromptTrack

BLOCK_FRAMES = 3
LATENT_FPS = 4
TEXT_LEN, TEXT_DIM = 16, 64

ATTRIBUTES = {
    "time": ("noon", "dawn", "dusk", "night"),
    "season": ("summer", "spring", "autumn", "winter"),
    "skyline": ("mountains", "hills", "sea"),
    "settlement": ("village", "forest", "castle"),
    "companion": ("alone", "bird", "balloon"),
}
"""Words of each attribute; the first is the default."""

SYNONYMS = {"snowy": "winter", "sunny": "noon", "day": "noon", "birds": "bird", "coast": "sea"}
FILLERS = frozenset(
    [
        "a",
        "an",
        "the",
        "at",
        "in",
        "on",
        "of",
        "with",
        "and",
        "by",
        "under",
        "over",
        "scene",
        "landscape",
        "view",
    ]
)
CAMERA = {"hold": 0, "right": 1, "left": -1}
"""Camera word -> latent cells moved per latent frame."""

WORDS = (*itertools.chain.from_iterable(ATTRIBUTES.values()), *CAMERA)


class UnknownWordError(ValueError):
    """A prompt holds a word outside the toy's vocabulary."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.vocabulary = tuple(sorted({*WORDS, *SYNONYMS} - set(CAMERA)))
        super().__init__(
            f"unknown word {word!r}; scene words: {', '.join(self.vocabulary)}; camera moves: "
            f"'pan right 10s', 'pan left 10s', 'hold 5s'"
        )


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One value per attribute; defaults are a summer noon over a village with mountains."""

    time: str = "noon"
    season: str = "summer"
    skyline: str = "mountains"
    settlement: str = "village"
    companion: str = "alone"

    def words(self) -> tuple[str, ...]:
        return tuple(getattr(self, field.name) for field in fields(self))

    @staticmethod
    def sample(rng: np.random.Generator) -> Scene:
        return Scene(**{name: str(rng.choice(words)) for name, words in ATTRIBUTES.items()})


@dataclass(frozen=True)
class Prompt:
    """A parsed prompt: the scene, and camera moves as (word, seconds)."""

    scene: Scene
    moves: tuple[tuple[str, float], ...]

    def camera_words(self, num_blocks: int) -> tuple[str, ...]:
        """Camera word of each block: the move that holds at the middle of the block."""
        ends = np.cumsum([seconds for _, seconds in self.moves])
        middles = (np.arange(num_blocks) + 0.5) * BLOCK_FRAMES / LATENT_FPS
        return tuple(
            self.moves[int(np.searchsorted(ends, middle % ends[-1], side="right"))][0] for middle in middles
        )

    def moves_from(self, elapsed: float) -> tuple[tuple[str, float], ...]:
        """The script as it goes on after `elapsed` seconds: as long, and repeated as ever."""
        into = elapsed % sum(seconds for _, seconds in self.moves)
        for index, (word, seconds) in enumerate(self.moves):
            if into < seconds:
                begun = [(word, into)] if into else []
                return ((word, seconds - into), *self.moves[index + 1 :], *self.moves[:index], *begun)
            into -= seconds
        return self.moves

    def camera_cells(self, num_blocks: int) -> np.ndarray:
        """True camera cell of each latent frame, relative to the first frame's."""
        return camera_cells(self.camera_words(num_blocks))


def camera_cells(words: tuple[str, ...]) -> np.ndarray:
    """Camera cell [frames] for one camera word per block; the first frame stands at 0."""
    steps = np.repeat([CAMERA[word] for word in words], BLOCK_FRAMES)
    steps[:1] = 0
    return np.cumsum(steps)


def parse(text: str) -> Prompt:
    """Parse a prompt; raise UnknownWordError for a word outside the vocabulary."""
    scene_text, _, script = text.partition(";")
    attribute_of = {word: name for name, words in ATTRIBUTES.items() for word in words}
    chosen: dict[str, str] = {}
    for word in re.findall(r"[^\s,.]+", scene_text.lower()):
        if word in FILLERS:
            continue
        canonical = SYNONYMS.get(word, word)
        if canonical not in attribute_of:
            raise UnknownWordError(word)
        name = attribute_of[canonical]
        if chosen.setdefault(name, canonical) != canonical:
            raise ValueError(f"{chosen[name]!r} and {word!r} both set the {name} of the scene")
    moves = tuple(_parse_move(move) for move in script.split(",") if move.strip())
    return Prompt(Scene(**chosen), moves or (("right", 10.0), ("left", 10.0)))


def follow(text: str, before: str, num_blocks: int) -> str:
    """A prompt that comes after num_blocks blocks of `before`: one without a script goes on with its."""
    scene, semicolon, _ = text.partition(";")
    if semicolon:
        return text
    elapsed = num_blocks * BLOCK_FRAMES / LATENT_FPS
    return f"{scene.rstrip()}; {', '.join(_written(move) for move in parse(before).moves_from(elapsed))}"


def encode(text: str, num_blocks: int) -> PromptTrack:
    """Embed a prompt: one caption per distinct camera word, one caption row per block."""
    prompt = parse(text)
    camera = prompt.camera_words(num_blocks)
    distinct = tuple(dict.fromkeys(camera))
    embeds = torch.stack([caption_embeds(prompt.scene, word) for word in distinct])
    return PromptTrack(embeds=embeds, rows=tuple(distinct.index(word) for word in camera))


def caption_embeds(scene: Scene, camera_word: str) -> torch.Tensor:
    """Embed one caption [TEXT_LEN, TEXT_DIM]: scene words, camera word, then exact zeros."""
    words = (*scene.words(), camera_word)
    embeds = torch.zeros(TEXT_LEN, TEXT_DIM)
    embeds[: len(words)] = _word_table()[[WORDS.index(word) for word in words]]
    return embeds


def _parse_move(move: str) -> tuple[str, float]:
    match = re.fullmatch(r"(?:pan )?(right|left)|hold", re.sub(r"\s+[\d.]+\s*s$", "", move.strip()))
    seconds = re.search(r"([\d.]+)\s*s$", move.strip())
    if match is None:
        raise UnknownWordError(move.strip())
    duration = float(seconds.group(1)) if seconds else 10.0
    if duration <= 0:
        raise ValueError(f"camera move {move.strip()!r} needs a positive duration")
    return match.group(1) or "hold", duration


def _written(move: tuple[str, float]) -> str:
    word, seconds = move
    return f"{'hold' if word == 'hold' else f'pan {word}'} {seconds:.6f}s"


def _word_table() -> torch.Tensor:
    """Orthogonal vectors of norm sqrt(TEXT_DIM), one per word: rows of a Hadamard matrix."""
    index = np.arange(TEXT_DIM)
    parity = np.vectorize(lambda bits: bin(bits).count("1") % 2)(index[:, None] & index)
    return torch.from_numpy(1.0 - 2.0 * parity).float()[1 : len(WORDS) + 1]
