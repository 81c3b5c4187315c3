"""What is known of each job of a result folder: a JSON file per job, replaced whole at every change."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from generator.errors import ConfigError

FOLDER = "jobs"


@dataclass(frozen=True, kw_only=True)
class FileDigest:
    """A file of a result, as it was written."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The last attempt at one job."""

    name: str
    state: Literal["running", "done", "failed"]
    """Running also where an interrupt or a crash ended it half done."""

    digest: str
    """Of the description: the same job has the same."""

    description: Mapping[str, object]
    memory: str
    """Address of the memory, or the batch's own."""

    pool: str
    started: str
    """ISO 8601, UTC."""

    attempts: int = 1
    reason: str = ""
    """Why it failed."""

    seconds: float = 0.0
    files: Mapping[str, FileDigest] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    """Those of the rollout's record: what options that were left out turned out to be."""

    timings: Mapping[str, object] = field(default_factory=dict)
    retrievals: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        return asdict(self)

    @staticmethod
    def from_json(fields: Mapping[str, Any]) -> Entry:
        """Raises TypeError, AttributeError where it is no entry."""
        files = {name: FileDigest(**digest) for name, digest in fields["files"].items()}
        return Entry(**{**fields, "files": files})


class Ledger:
    """The entries of a result folder."""

    def __init__(self, out: Path) -> None:
        self.folder = out / FOLDER

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder and have it alone. Raises ConfigError where another batch has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConfigError(f"another batch is at work in {self.folder.parent}") from error
            yield
        finally:
            os.close(descriptor)

    def read(self, name: str) -> Entry | None:
        """The entry of a job; None where there is none or nobody can read it. Raises OSError."""
        try:
            return Entry.from_json(json.loads(self._path(name).read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def write(self, entry: Entry) -> None:
        write_whole(self._path(entry.name), entry.to_json())

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def write_whole(path: Path, value: object) -> None:
    """Write JSON so that a reader finds all of it or what was there before."""
    aside = path.with_name(f"{path.name}.new")
    aside.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    aside.replace(path)
