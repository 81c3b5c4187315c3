"""The folder that a corpus is collected in: one process at a time adds to it, and each file appears whole."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from generator.errors import ConfigError

SUFFIX = ".safetensors"
WORK = ".work"
"""Folder below it for what goes when the work is done."""


@contextmanager
def collecting(out: Path) -> Iterator[Path]:
    """Create the folder and have it alone; the path of an empty folder for the time being.

    What an earlier process left half done is cleared away. Raises ConfigError where another is at work.
    """
    out.mkdir(parents=True, exist_ok=True)
    work, descriptor = out / WORK, os.open(out, os.O_RDONLY)
    try:
        _lock(out, descriptor)
        for half in out.glob(f"*{SUFFIX}.new"):
            half.unlink()
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
    finally:
        os.close(descriptor)


def _lock(out: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(f"another process collects a corpus in {out}") from error
