"""Verifying a data directory: every byte of every reel, beside a running service or without one.

Nothing is changed and no lock is taken. A service that writes meanwhile changes what is read: what
looks wrong is looked at again, and of a file that changes only what is wrong twice in the same way is reported.
"""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from memory_service.errors import DataLoss, InvalidArgument
from memory_service.findings import Class, Finding, Part
from memory_service.store.audit import Audit, audit
from memory_service.store.failures import storage_error
from memory_service.store.scan import FileSource, open_regular
from memory_service.types import VideoKey
from memory_service.validate import check_key

_SUFFIX = ".reel"
_LOCK = ".lock"
_ASIDE = re.compile(r"\.[0-9a-f]{32}\.new")
_LOOKS = 5
_PAUSE_S = 0.1
"""Longer than a record takes to be written."""

_GRAVE = frozenset({Class.DAMAGE, Class.NEWER, Class.UNREADABLE})


@dataclass(frozen=True, slots=True)
class Position:
    """How far a verification has come: the file that it looks at, and what it has seen of all."""

    path: Path
    videos: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Report:
    """What was verified, and all that is wrong, by path and offset."""

    videos: int
    frames: int
    bytes: int
    findings: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        """Whether all that was durable is there and could be verified. A torn tail was not durable."""
        return not any(finding.kind in _GRAVE for finding in self.findings)


def verify(data_dir: str | os.PathLike[str], progress: Callable[[Position], None] = lambda _: None) -> Report:
    """Read all of a data directory and say what is wrong with it; changes nothing.

    `progress` is called after each record. Memory does not grow with what is stored, only with what is wrong.
    Raises NotFound, Unavailable when the directory itself cannot be read.
    """
    directory = _Directory(Path(data_dir), progress)
    try:
        directory.run()
    except OSError as exc:
        raise storage_error(f"data directory {data_dir} cannot be verified", exc) from exc
    return directory.report()


class _Directory:
    """One verification of a data directory."""

    def __init__(self, root: Path, progress: Callable[[Position], None]) -> None:
        self._root = root
        self._progress = progress
        self._findings: list[Finding] = []
        self._aside: list[Finding] = []
        self._videos = self._frames = self._bytes = 0

    def run(self) -> None:
        with os.scandir(self._root) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False) and _is_id(entry.name):
                    self._pool(Path(entry.path))
                elif entry.name != _LOCK or not entry.is_file(follow_symlinks=False):
                    self._foreign(Path(entry.path), "no pool")
        if self._aside:
            time.sleep(_PAUSE_S)  # one that is being written is gone by then
            self._findings += [finding for finding in self._aside if os.path.lexists(finding.path)]

    def report(self) -> Report:
        ordered = sorted(self._findings, key=lambda f: (f.path, -1 if f.offset is None else f.offset))
        return Report(self._videos, self._frames, self._bytes, tuple(ordered))

    def _pool(self, pool: Path) -> None:
        with os.scandir(pool) as entries:
            for entry in entries:
                path, video = Path(entry.path), entry.name.removesuffix(_SUFFIX)
                if entry.name.endswith(_SUFFIX) and _is_id(video):
                    self._video(path, VideoKey(pool.name, video))
                elif _ASIDE.fullmatch(entry.name):
                    self._aside.append(
                        Finding(path, Class.ORPHAN, Part.FILE, "a video that was never created", pool.name)
                    )
                else:
                    self._foreign(path, "no video", pool.name)

    def _video(self, path: Path, key: VideoKey) -> None:
        """Verify one reel, again while it changes and something looks wrong."""
        self._videos += 1
        seen: Audit | None = None
        for look in range(_LOOKS):
            before = _stamp(path)
            found = self._look(path, key)
            if found is None:
                return  # dropped meanwhile
            wrong = found.findings
            if seen is not None and before != _stamp(path):
                same = {_what(finding) for finding in seen.findings}
                wrong = tuple(finding for finding in wrong if _what(finding) in same)
            if not wrong or before == _stamp(path) or look == _LOOKS - 1:
                break
            seen = found
            time.sleep(_PAUSE_S)
        self._frames += found.frames
        self._bytes += found.bytes
        self._findings += wrong

    def _look(self, path: Path, key: VideoKey) -> Audit | None:
        try:
            fd = open_regular(path, os.O_RDONLY)
        except DataLoss:
            return _alone(path, key, Class.DAMAGE, "not a file: its video is gone")
        except FileNotFoundError:
            return None
        except OSError as exc:
            return _alone(path, key, Class.UNREADABLE, str(exc.strerror))
        try:
            return audit(path, key, FileSource(fd), lambda read: self._say(path, read))
        except OSError as exc:
            return _alone(path, key, Class.UNREADABLE, str(exc.strerror))
        finally:
            os.close(fd)

    def _say(self, path: Path, read: int) -> None:
        self._progress(Position(path, self._videos, self._bytes + read))

    def _foreign(self, path: Path, message: str, pool: str = "") -> None:
        self._findings.append(Finding(path, Class.FOREIGN, Part.FILE, message, pool))


def _alone(path: Path, key: VideoKey, kind: Class, message: str) -> Audit:
    """The only finding about a file that could not be read."""
    return Audit(0, 0, (Finding(path, kind, Part.FILE, message, key.pool, key.video, open_end=True),))


def _what(finding: Finding) -> tuple[Class, Part, int | None, int | None]:
    """What a finding says, whatever has been appended since."""
    return finding.kind, finding.part, finding.offset, finding.record


def _stamp(path: Path) -> tuple[int, int, int]:
    """Changes whenever a file is written, cut or replaced; zeros for one that is gone."""
    try:
        about = path.lstat()
    except FileNotFoundError:
        return 0, 0, 0
    return about.st_ino, about.st_size, about.st_mtime_ns


def _is_id(name: str) -> bool:
    try:
        check_key(VideoKey(name, name))
    except InvalidArgument:
        return False
    return True
