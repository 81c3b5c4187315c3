"""A list of prompts in a file, and the name of each.

Text: a prompt a line; empty lines and lines that start with "#" are left out. A file that ends in .jsonl has
an object a line instead, {"prompt": ..., "name": ...}, whose name may be left out.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from generator.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", re.ASCII)
"""What a name may be: it names files and videos, with a seed and a method behind it."""

DIGEST_DIGITS = 6


@dataclass(frozen=True)
class NamedPrompt:
    """One prompt and what its videos are named after."""

    name: str
    text: str


def read(path: Path) -> list[NamedPrompt]:
    """The prompts of a file in its order; one that is there twice counts once.

    Raises OSError, and ConfigError with the line that is wrong.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected text in UTF-8: {error}") from error
    named: dict[str, NamedPrompt] = {}
    for number, line in enumerate(lines, start=1):
        for prompt in _of_line(f"{path}:{number}", line.strip(), jsonl=path.suffix == ".jsonl"):
            if named.setdefault(prompt.name, prompt) != prompt:
                raise ConfigError(f"{path}:{number}: another prompt is already named {prompt.name!r}")
    if not named:
        raise ConfigError(f"{path} has no prompts; expected one a line")
    return list(named.values())


def default_name(text: str) -> str:
    """The first words of a prompt and the beginning of its digest: whatever else is in the list, the same."""
    words = re.findall(r"[a-z0-9]+", text.partition(";")[0].lower())
    digest = hashlib.sha256(text.encode()).hexdigest()[:DIGEST_DIGITS]
    return "-".join(["-".join(words[:6])[:48].rstrip("-") or "video", digest])


def _of_line(where: str, line: str, *, jsonl: bool) -> Iterator[NamedPrompt]:
    if not line or line.startswith("#"):
        return
    if not jsonl:
        yield NamedPrompt(default_name(line), line)
        return
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise ConfigError(f"{where}: expected a JSON object: {error}") from error
    match fields:
        case {"prompt": str(text), **rest} if text.strip() and rest.keys() <= {"name"}:
            name = rest.get("name", default_name(text))
        case _:
            raise ConfigError(f'{where}: expected {{"prompt": text, "name": text}}, the name optional')
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ConfigError(f"{where}: {name!r} cannot be a name; expected up to 80 of A-Z a-z 0-9 . _ -")
    yield NamedPrompt(name, text)
