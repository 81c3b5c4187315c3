"""What a user asks of a story: prompts, and when each begins. Three ways to write it down.

- `--prompt TEXT` and, repeated, `--prompt TIME:TEXT`: "12s:a storm", "16b:" in blocks, "12s#:" with a cut.
- YAML, a list of prompts: `- {at: 12s, prompt: a storm comes, cut: true}`; one without `at` begins at 0.
- Infinity-RoPE's "text[10s] | text[10s#]": each holds for its time, `#` cuts to the one after it.

A time becomes a block in `generator.story.schedule`, which knows how long a block is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from generator.errors import ConfigError

TIME = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,9})?)\s*(?P<unit>s|m|b)?(?P<cut>#?)")
SECONDS = {"s": 1, "m": 60, None: 1}


@dataclass(frozen=True, kw_only=True)
class Cue:
    """One prompt as it was asked for. At most one of the three times is given; none: at the beginning."""

    prompt: str
    cut: bool = False
    """Whether it begins another scene, not only another prompt."""

    at_s: float | None = None
    at_block: int | None = None
    after_s: float | None = None
    """So long after the cue before, in whole blocks, rounded down."""


def of_option(text: str) -> Cue:
    """`TEXT` or `TIME:TEXT`. Raises ConfigError."""
    time, colon, prompt = text.partition(":")
    match = TIME.fullmatch(time.strip())
    if not colon or match is None or match["unit"] is None:
        return _cue(text, {})
    return _cue(prompt, _time(match), cut=bool(match["cut"]))


def read(path: Path) -> tuple[Cue, ...]:
    """Cues of a YAML file. Raises ConfigError, which names the entry; OSError."""
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {error}") from error
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f"{path} must hold a list of prompts")
    return tuple(_entry(f"{path}, entry {number}", entry) for number, entry in enumerate(entries, 1))


def published(text: str) -> tuple[Cue, ...]:
    """Infinity-RoPE's grammar as its released code reads it. Raises ConfigError.

    `#` acts at the end of the scene that it stands in, the last scene takes all that remains of the video,
    and a `#` there does nothing.
    """
    cues: list[Cue] = []
    after_s, cut = None, False
    for number, scene in enumerate(text.split("|"), 1):
        match = re.fullmatch(r"\s*(?P<prompt>[^\[\]]+?)\s*\[\s*(?P<time>[^\]]*?)\s*\]\s*", scene)
        time = match and TIME.fullmatch(match["time"])
        if match is None or not time or time["unit"] not in ("s", "m"):
            raise ConfigError(
                f'scene {number} must be like "text[10s]" or "text[10s#]", got {scene.strip()!r}'
            )
        cues.append(_cue(match["prompt"], {} if after_s is None else {"after_s": after_s}, cut=cut))
        after_s, cut = float(time["number"]) * SECONDS[time["unit"]], bool(time["cut"])
    return tuple(cues)


def _entry(where: str, entry: object) -> Cue:
    if isinstance(entry, str):
        return _cue(entry, {})
    known = {"at", "prompt", "cut"}
    if not isinstance(entry, Mapping) or set(entry) - known or not isinstance(entry.get("prompt"), str):
        raise ConfigError(f"{where} must be a prompt or have `prompt`, `at` and `cut`, got {entry!r}")
    cut, at = entry.get("cut", False), entry.get("at", 0)
    match = TIME.fullmatch(str(at).strip())
    if match is None or match["cut"] or not isinstance(cut, bool):
        raise ConfigError(f"{where}: `at` must be like 12s, 2m or 16b and `cut` true or false, got {entry!r}")
    return _cue(entry["prompt"], _time(match), cut=cut)


def _time(match: re.Match[str]) -> dict[str, float]:
    number = match["number"]
    if match["unit"] != "b":
        return {"at_s": float(number) * SECONDS[match["unit"]]}
    if "." in number:
        raise ConfigError(f"blocks are counted in whole numbers, got {number}b")
    return {"at_block": int(number)}


def _cue(prompt: str, time: Mapping[str, float], *, cut: bool = False) -> Cue:
    if not prompt.strip():
        raise ConfigError("a prompt must not be empty")
    return Cue(prompt=prompt.strip(), cut=cut, **time)  # type: ignore[arg-type]
