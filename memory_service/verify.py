"""Verifying a data directory: every byte of every reel, beside a running service or without one.

Nothing is changed and no lock is taken. A service that writes meanwhile changes what is read: what looks
wrong is looked at again, and of a file that changes only what is wrong twice in the same way is reported.
"""

import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from memory_service.boundary.validate import is_id
from memory_service.errors import DataLoss, NotFound, ServiceError
from memory_service.records import Base
from memory_service.reel import Damaged, Unsupported, decode_prefix
from memory_service.store.audit import Audit, audit
from memory_service.store.bases import LINK, link_path, links_of
from memory_service.store.failures import storage_error
from memory_service.store.findings import Class, Finding, Part
from memory_service.store.pool_files import PoolFiles
from memory_service.store.scan import FileSource, open_regular
from memory_service.types import Span, VideoKey

_SUFFIX = ".reel"
_LOCK = ".lock"
_SPEC = ".pool"
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
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise NotFound(f"there is no data directory {data_dir}", field="data_dir") from exc
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
                path = Path(entry.path)
                if entry.is_dir(follow_symlinks=False) and is_id(entry.name):
                    self._pool(path)
                elif _ASIDE.fullmatch(entry.name):
                    self._orphan(path, "never finished")
                elif entry.name != _LOCK or not entry.is_file(follow_symlinks=False):
                    self._foreign(path, "no pool")
        if self._aside:
            time.sleep(_PAUSE_S)  # what is being written is finished by then
            self._findings += [found for found in self._aside if os.path.lexists(found.path)]

    def report(self) -> Report:
        ordered = sorted(self._findings, key=lambda f: (f.path, -1 if f.offset is None else f.offset))
        return Report(self._videos, self._frames, self._bytes, tuple(ordered))

    def _pool(self, pool: Path) -> None:
        with os.scandir(pool) as entries:
            for entry in entries:
                path, video = Path(entry.path), entry.name.removesuffix(_SUFFIX)
                link = LINK.fullmatch(entry.name)
                if entry.name.endswith(_SUFFIX) and is_id(video):
                    self._video(path, VideoKey(pool.name, video))
                elif entry.name == _SPEC:
                    self._spec(path)
                elif _ASIDE.fullmatch(entry.name):
                    self._orphan(path, "never finished", pool.name)
                elif link is None:
                    self._foreign(path, "no video", pool.name)
                elif not _is_used(path, pool / f"{link['video']}{_SUFFIX}", int(link["epoch"], 16)):
                    self._orphan(path, "no fork uses it", pool.name)

    def _spec(self, path: Path) -> None:
        try:
            PoolFiles(self._root).spec(path.parent.name)
        except ServiceError as exc:
            kind = Class.DAMAGE if isinstance(exc, DataLoss) else Class.UNREADABLE
            self._findings.append(Finding(path, kind, Part.POOL_SPEC, exc.message, path.parent.name))

    def _video(self, path: Path, key: VideoKey) -> None:
        """Verify one reel, and again as long as it changes and something looks wrong."""
        self._videos += 1
        before, found = _stamp(path), self._look(path, key)
        for _ in range(_LOOKS):
            if found is None or not found.findings or before == _stamp(path):
                break
            time.sleep(_PAUSE_S)
            seen = {_what(finding) for finding in found.findings}
            before, found = _stamp(path), self._look(path, key)
            if found is not None:
                again = tuple(finding for finding in found.findings if _what(finding) in seen)
                found = replace(found, findings=again)
        if found is not None:
            self._frames += found.frames
            self._bytes += found.bytes
            self._findings += _with_intact(found.frames, found.findings)

    def _look(self, path: Path, key: VideoKey) -> Audit | None:
        """One look at a reel and at all bases that it continues; None when it is gone."""
        found = self._audit(path, key)
        if found is None:
            return None
        wrong, shared = list(found.findings), 0
        for number, base in enumerate(found.bases):
            link = link_path(path, found.epoch, number)
            part = self._audit(link, key, base)
            if part is None and not path.exists():
                return None
            missing = Finding(link, Class.DAMAGE, Part.BASE, "missing", key.pool, key.video, open_end=True)
            for finding in (missing,) if part is None else part.findings:
                spans = [Span(shared, base.length)] if finding.open_end else finding.frames
                clipped = tuple(s for s in (_within(s, shared, base.length) for s in spans) if len(s))
                wrong.append(replace(finding, frames=clipped, open_end=False))
            shared = base.length
        return replace(found, findings=tuple(wrong))

    def _audit(self, path: Path, key: VideoKey, base: Base | None = None) -> Audit | None:
        try:
            fd = open_regular(path, os.O_RDONLY)
        except DataLoss:
            return _alone(path, key, Class.DAMAGE, "not a file: what it held is gone")
        except FileNotFoundError:
            return None
        except OSError as exc:
            return _alone(path, key, Class.UNREADABLE, str(exc.strerror))
        try:
            source = FileSource(fd, None if base is None else base.end)
            return audit(path, key, source, lambda read: self._say(path, read), base=base)
        except OSError as exc:
            return _alone(path, key, Class.UNREADABLE, str(exc.strerror))
        finally:
            os.close(fd)

    def _say(self, path: Path, read: int) -> None:
        self._progress(Position(path, self._videos, self._bytes + read))

    def _orphan(self, path: Path, message: str, pool: str = "") -> None:
        self._aside.append(Finding(path, Class.ORPHAN, Part.FILE, message, pool))

    def _foreign(self, path: Path, message: str, pool: str = "") -> None:
        self._findings.append(Finding(path, Class.FOREIGN, Part.FILE, message, pool))


def _with_intact(frames: int, findings: tuple[Finding, ...]) -> list[Finding]:
    affected = {f for found in findings for span in found.frames for f in range(span.start, span.stop)}
    return [replace(finding, intact=frames - len(affected)) for finding in findings]


def _within(span: Span, start: int, stop: int) -> Span:
    return Span(max(span.start, start), min(span.stop, stop))


def _is_used(link: Path, reel: Path, epoch: int) -> bool:
    """Whether the reel continues the base behind `link`; a reel that does not tell may do so."""
    try:
        fd = open_regular(reel, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except (OSError, DataLoss):
        return True
    try:
        first = decode_prefix(FileSource(fd), 0)
        return first is None or (first.epoch == epoch and link in (links_of(reel) or [link]))
    except (OSError, Damaged, Unsupported):
        return True
    finally:
        os.close(fd)


def _alone(path: Path, key: VideoKey, kind: Class, message: str) -> Audit:
    """The only finding about a file that could not be read."""
    return Audit(0, 0, 0, (), (Finding(path, kind, Part.FILE, message, key.pool, key.video, open_end=True),))


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
