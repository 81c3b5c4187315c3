"""What weights are, by content: SHA-256 of files and folders, each file read once for as long as it stays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

WEIGHTS = frozenset([".bin", ".json", ".model", ".pt", ".pth", ".safetensors", ".txt"])
"""Endings of what models and tokenizers are loaded from; notes and pictures beside them do not count."""


@dataclass(frozen=True)
class Fingerprint:
    """A file as it was when it was read."""

    bytes: int
    mtime_ns: int
    sha256: str


class Fingerprints:
    """SHA-256 of paths.

    `known` are fingerprints of earlier runs, by path: one whose size and time of change are still its file's
    is believed.
    """

    def __init__(self, known: Mapping[str, Fingerprint] | None = None) -> None:
        self._known = dict(known or {})
        self.used: dict[str, Fingerprint] = {}
        """Path -> fingerprint of every file that was asked for."""

    def of(self, path: Path) -> str:
        """Of a file, or of the names and contents of the weights in a folder. Raises OSError."""
        if not path.is_dir():
            return self._of_file(path)
        files = sorted(file for file in path.rglob("*") if file.suffix in WEIGHTS and file.is_file())
        return digest_of([(str(file.relative_to(path)), self._of_file(file)) for file in files])

    def _of_file(self, path: Path) -> str:
        status = path.stat()
        name = str(path.resolve())
        found = self._known.get(name)
        if found is None or (found.bytes, found.mtime_ns) != (status.st_size, status.st_mtime_ns):
            found = Fingerprint(status.st_size, status.st_mtime_ns, file_sha256(path))
        self._known[name] = self.used[name] = found
        return found.sha256

    def to_json(self) -> dict[str, dict[str, object]]:
        return {name: asdict(fingerprint) for name, fingerprint in sorted(self.used.items())}


def file_sha256(path: Path) -> str:
    """Hexadecimal digest of a file's bytes. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: object) -> str:
    """Hexadecimal digest of a value of JSON, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()
