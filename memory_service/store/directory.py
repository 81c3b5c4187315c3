"""The data directory as the file system has it: its lock, its names made durable, what a crash left in it."""

import fcntl
import logging
import os
import shutil
from pathlib import Path

from memory_service.errors import Busy, Unavailable
from memory_service.store.bases import remove_orphans

_log = logging.getLogger(__name__)

NEW = ".new"
"""Ends the names of files that are being written aside; they begin with a dot, as no id does."""


def locked(path: Path) -> int:
    """A descriptor that holds the lock on `path` until it is closed or the process ends. Raises Busy."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        owner = os.pread(fd, 32, 0).decode(errors="replace").strip()
        os.close(fd)
        raise Busy(
            f"data directory {path.parent} is in use by process {owner or 'unknown'}",
            expected="a directory that no other process writes to",
        ) from exc
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def tidy(root: Path) -> None:
    """Remove what a crash left: what was being written aside, and links of forks that never were."""
    for entry in _entries(root):
        if _is_leftover(entry):
            _remove(entry)
        elif entry.is_dir(follow_symlinks=False):
            entries = _entries(root / entry.name)
            for leftover in filter(_is_leftover, entries):
                _remove(leftover)
            remove_orphans(root / entry.name, [one.name for one in entries])


def _is_leftover(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(".") and entry.name.endswith(NEW)


def _remove(leftover: os.DirEntry[str]) -> None:
    """Remove a file, or the directory of a pool that was never there; one that resists is logged."""
    try:
        if leftover.is_dir(follow_symlinks=False):
            shutil.rmtree(leftover.path)
        else:
            os.unlink(leftover.path)
    except OSError as exc:
        _log.warning("leftover not removed path=%s reason=%s", leftover.path, exc.strerror)


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return list(entries)


def write_durably(path: Path, data: bytes) -> None:
    """A new file with `data`. Raises OSError, Unavailable."""
    with path.open("xb", buffering=0) as file:
        if file.write(data) != len(data):
            raise Unavailable(f"{path} was written in part", expected="storage that takes all of a write")
        os.fdatasync(file.fileno())


def make_durably(folder: Path) -> None:
    """Make a directory and those above it, so that a loss of power does not take a memory with its name."""
    if not folder.is_dir():
        make_durably(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_directory(folder.parent)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
