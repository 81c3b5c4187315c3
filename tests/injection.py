"""Faults in a process that runs unchanged: the controls of `faults/inject.c`, and the disk it keeps aside."""

import errno as errnos
import mmap
import os
import random
import shutil
import struct
from collections.abc import Mapping
from enum import IntFlag
from pathlib import Path

_HEAD = struct.Struct("<8sq256s256s")
_RULE = struct.Struct("<IIIIqqqqq256s")
_MAX_RULES = 32
_FAIL, _SHORT, _DELAY, _KILL = 1, 2, 3, 4
_COUNT = 0
_PAGE = 4096

EVER = -1


class Call(IntFlag):
    """Families of calls, as in inject.c: each stands for all its variants."""

    OPEN = 1
    READ = 2
    PREAD = 4
    WRITE = 8
    PWRITE = 16
    FDATASYNC = 32
    FSYNC = 64
    FTRUNCATE = 128
    FALLOCATE = 256
    RENAME = 512
    LINK = 1024
    UNLINK = 2048
    MMAP = 4096
    MKDIR = 8192
    FADVISE = 16384


WRITES = Call.WRITE | Call.PWRITE | Call.FALLOCATE
SYNCS = Call.FDATASYNC | Call.FSYNC
CHANGES = WRITES | SYNCS | Call.FTRUNCATE | Call.RENAME | Call.LINK | Call.UNLINK | Call.MKDIR
"""Every call that moves a directory from one state to the next."""


class Rule:
    """One rule that is in force; `matched` and `fired` count the calls that it saw and those that it hit."""

    def __init__(self, memory: mmap.mmap, slot: int) -> None:
        self._memory, self._at = memory, _HEAD.size + slot * _RULE.size

    @property
    def matched(self) -> int:
        return int(_RULE.unpack_from(self._memory, self._at)[7])

    @property
    def fired(self) -> int:
        return int(_RULE.unpack_from(self._memory, self._at)[8])

    def lift(self) -> None:
        """End the rule; its counts stay."""
        self._memory[self._at : self._at + 4] = bytes(4)


class Injector:
    """Steers every process that was started with its `environment`, from the moment of each call on.

    `pattern` is an fnmatch pattern of whole paths, in which "*" matches "/" too. A rule lets `after` calls
    pass and then holds for `count` of them, for ever by default.
    """

    def __init__(self, library: Path, folder: Path) -> None:
        control = folder / "inject.control"
        control.write_bytes(bytes(_HEAD.size + _MAX_RULES * _RULE.size))
        self.environment: Mapping[str, str] = {
            **os.environ,
            "LD_PRELOAD": str(library),
            "REVERIE_INJECT": str(control),
        }
        with control.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._memory[:8] = b"INJECT1\0"
        self._num_rules = 0

    def count(self, calls: Call, pattern: str = "*") -> Rule:
        """Only count."""
        return self._rule(calls, pattern, _COUNT)

    def fail(self, calls: Call, error: int, pattern: str = "*", *, after: int = 0, count: int = EVER) -> Rule:
        """Fail with errno `error` instead of running."""
        assert error in errnos.errorcode
        return self._rule(calls, pattern, _FAIL, error=error, after=after, count=count)

    def shorten(self, pattern: str = "*", *, to: int, after: int = 0, count: int = EVER) -> Rule:
        """Write at most `to` bytes a call."""
        return self._rule(Call.WRITE | Call.PWRITE, pattern, _SHORT, amount=to, after=after, count=count)

    def delay(self, calls: Call, seconds: float, pattern: str = "*", *, count: int = EVER) -> Rule:
        """Wait first."""
        return self._rule(calls, pattern, _DELAY, amount=round(1e6 * seconds), count=count)

    def kill(self, calls: Call, pattern: str = "*", *, after: int = 0) -> Rule:
        """kill -9 of the process by itself, in place of the call."""
        return self._rule(calls, pattern, _KILL, after=after)

    def reveal_disk(self, pattern: str = "*") -> Rule:
        """Let POSIX_FADV_DONTNEED show what the watched disk holds, in place of what was written since."""
        return self._rule(Call.FADVISE, pattern, _FAIL, error=errnos.EIO)

    def shift_clock(self, seconds: float) -> None:
        """Let the wall clock differ from the true one by so much, and no other clock."""
        struct.pack_into("<q", self._memory, 8, round(1e9 * seconds))

    def clear(self) -> None:
        """No rule, true time."""
        self._memory[8:16] = bytes(8)
        self._memory[_HEAD.size :] = bytes(_MAX_RULES * _RULE.size)
        self._num_rules = 0

    def watch(self, tracked: Path, shadow: Path) -> None:
        """Keep in `shadow` what a loss of power would leave of the files below `tracked`."""
        shift = struct.unpack_from("<q", self._memory, 8)[0]
        shadow.mkdir()
        _HEAD.pack_into(self._memory, 0, b"INJECT1\0", shift, f"{tracked}*".encode(), str(shadow).encode())

    def freeze_disk(self) -> None:
        """From now on no sync brings anything to the watched disk: as with pages that only look clean."""
        self._memory[16 : 16 + 256] = bytes(256)

    def _rule(
        self,
        calls: Call,
        pattern: str,
        action: int,
        *,
        error: int = 0,
        amount: int = 0,
        after: int = 0,
        count: int = EVER,
    ) -> Rule:
        slot = self._num_rules
        assert slot < _MAX_RULES
        assert len(pattern.encode()) < 256
        self._num_rules += 1
        at = _HEAD.size + slot * _RULE.size
        _RULE.pack_into(
            self._memory, at, 0, calls, action, error, after, count, amount, 0, 0, pattern.encode()
        )
        self._memory[at : at + 4] = (1).to_bytes(4, "little")  # last, so that no half rule is obeyed
        return Rule(self._memory, slot)


def lose_power(tracked: Path, shadow: Path, rng: random.Random | None = None) -> None:
    """Leave of `tracked` what was synced; its processes must be gone.

    With `rng` pages that were written later have reached the disk or not, each by itself: a disk may write
    them in any order. A name needs a sync of its directory, contents one of their file.
    """
    rebuilt = tracked.with_name(f"{tracked.name}.rebuilt")
    newest = {path.stat().st_ino: path for path in tracked.rglob("*") if path.is_file()}
    _rebuild(tracked.stat().st_ino, rebuilt, shadow, newest, rng)
    for gone in (tracked, shadow):
        shutil.rmtree(gone)
    rebuilt.rename(tracked)
    shadow.mkdir()
    _note_as_synced(tracked, shadow)


def _rebuild(
    folder: int, into: Path, shadow: Path, newest: Mapping[int, Path], rng: random.Random | None
) -> None:
    into.mkdir()
    for line in _contents(shadow / f"d{folder}").decode().splitlines():
        inode, kind, name = line.split(" ", 2)
        if name in {".", ".."}:
            continue
        if kind == "d":
            _rebuild(int(inode), into / name, shadow, newest, rng)
        else:
            synced = _contents(shadow / f"f{inode}")
            written = newest[int(inode)].read_bytes() if int(inode) in newest else synced
            (into / name).write_bytes(synced if rng is None else _mixed(synced, written, rng))


def _note_as_synced(tracked: Path, shadow: Path) -> None:
    """What was left is on the disk: the next loss of power starts from it."""
    for folder in (tracked, *(path for path in tracked.rglob("*") if path.is_dir())):
        lines = []
        for path in folder.iterdir():
            inode = path.stat().st_ino
            lines.append(f"{inode} {'d' if path.is_dir() else 'f'} {path.name}\n")
            if path.is_file():
                shutil.copyfile(path, shadow / f"f{inode}")
        (shadow / f"d{folder.stat().st_ino}").write_text("".join(lines))


def _contents(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _mixed(synced: bytes, written: bytes, rng: random.Random) -> bytes:
    """Each page as it was synced or as it was written last; the size is one of the two."""
    size = len(rng.choice((synced, written)))
    pages = []
    for at in range(0, size, _PAGE):
        choices = [data[at : at + _PAGE].ljust(_PAGE, b"\0") for data in (synced, written) if at < len(data)]
        pages.append(rng.choice(choices))
    return b"".join(pages)[:size]
