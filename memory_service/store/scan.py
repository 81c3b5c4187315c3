"""Walking a reel: which records it holds, and whether its end is an end, a torn tail or damage.

A torn tail is what a crash leaves of appends that nobody had been told are durable; it is cut and reported.
Damage is anything wrong before the durable mark, which the records themselves carry: it is raised, never cut.
"""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from memory_service.errors import DataLoss, Unavailable
from memory_service.histories.outline import Outline
from memory_service.reel import (
    Damaged,
    Kind,
    Record,
    Source,
    Unsupported,
    check_body,
    decode_prefix,
    decode_record,
    find_prefix,
)

_CHUNK_BYTES = 1 << 20
_PAGE_BYTES = 4096
_NO_FILE = {errno.ELOOP, errno.EISDIR, errno.ENXIO}
"""What open says of a symbolic link, a directory and a socket."""


class FileSource:
    """A file as a source. It is read, not mapped: a writer that gives space back meanwhile does no harm.

    With `upto` it ends there at the latest.
    """

    def __init__(self, fd: int, upto: int | None = None) -> None:
        self._fd = fd
        size = os.fstat(fd).st_size
        self._size = size if upto is None else min(size, upto)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, piece: slice) -> bytes:
        start, stop, _ = piece.indices(self._size)
        return os.pread(self._fd, max(0, stop - start), start)


@dataclass(frozen=True, slots=True)
class Recovery:
    """A torn tail that was cut: `frames_kept` frames before byte `offset` stay, `bytes_cut` bytes go."""

    path: Path
    offset: int
    frames_kept: int
    bytes_cut: int
    reason: str


@dataclass(frozen=True, slots=True)
class Scan:
    """The valid records of a reel, at least one. `durable` bytes of it are proven to be on stable storage."""

    records: tuple[Record, ...]
    durable: int
    recovery: Recovery | None

    @property
    def end(self) -> int:
        """Byte offset after the last valid record."""
        return self.records[-1].end


def scan(path: Path, data: Source, *, verify_all: bool = True) -> Scan:
    """Walk the reel in `data`; O(number of records) and, with `verify_all`, one pass over all bytes.

    Without `verify_all` bodies are read only where nothing proves that they were durable. Raises DataLoss on
    damage and Unavailable on records of a newer format.
    """
    try:
        records, reason = _walk(data)
        durable = max((record.prefix.durable for record in records), default=0)
        records, reason = _verified(data, records, reason, after=0 if verify_all else durable)
        if not records or records[0].prefix.kind != Kind.VIDEO:
            raise _loss(path, 0, 0, reason or "there is no video record")
        end = records[-1].end
        durable = max(durable, _durable_beyond(data, records[-1]))
    except Unsupported as exc:
        raise Unavailable(
            f"reel {path} needs a newer reader: {exc}", expected="a version of the service that knows it"
        ) from exc
    if end < durable:
        raise _loss(path, end, len(records), reason or "the record is missing")
    torn = _bytes_after(data, end)
    if not torn:
        return Scan(tuple(records), durable, None)
    frames = Outline.of(records).length
    return Scan(tuple(records), durable, Recovery(path, end, frames, torn, reason or "bytes of no record"))


def open_regular(path: Path, flags: int) -> int:
    """A descriptor of a regular file; never follows a link in its place, never waits for a FIFO's other end.

    Raises DataLoss where something else stands, OSError.
    """
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno in _NO_FILE:
            raise _no_file(path) from exc
        raise
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _no_file(path)
    return fd


def rescan_from_disk(path: Path, fd: int, found: Scan) -> Scan:
    """`found` again, after whatever nothing proves durable was read back from the disk itself.

    When fdatasync fails, the kernel may keep the pages that it could not write as if it had written them, and
    a later fdatasync succeeds: only a read that bypasses them tells what is really there. Pages that another
    process has mapped cannot be let go of. Raises DataLoss, Unavailable, OSError.
    """
    if found.durable >= found.end and found.recovery is None:
        return found
    os.fdatasync(fd)
    os.posix_fadvise(fd, found.durable // _PAGE_BYTES * _PAGE_BYTES, 0, os.POSIX_FADV_DONTNEED)
    return scan(path, FileSource(fd), verify_all=False)


def _walk(data: Source) -> tuple[list[Record], str]:
    """The records up to the end or the first bad one, bodies unread, and what is bad about it."""
    records: list[Record] = []
    offset = 0
    try:
        while (prefix := decode_prefix(data, offset)) is not None:
            if prefix.sequence != len(records):
                raise Damaged(f"sequence number {prefix.sequence} where {len(records)} is due")
            records.append(decode_record(data, offset, prefix))
            offset = records[-1].end
    except Damaged as exc:
        return records, str(exc)
    return records, ""


def _verified(data: Source, records: list[Record], reason: str, *, after: int) -> tuple[list[Record], str]:
    """The records before the first whose body is bad, reading those that end after byte `after`."""
    for number, record in enumerate(records):
        if record.end > after:
            try:
                check_body(data, record)
            except Damaged as exc:
                return records[:number], str(exc)
    return records, reason


def _durable_beyond(data: Source, last: Record) -> int:
    """The durable mark in the records that follow bad bytes after `last`; 0 when none follow."""
    durable, offset = 0, last.end
    while True:
        later = find_prefix(data, offset, epoch=last.prefix.epoch, sequence=last.prefix.sequence)
        if later is None:
            return durable
        durable = max(durable, later[1].durable)
        offset = later[0] + 1


def _bytes_after(data: Source, end: int) -> int:
    """Number of bytes from `end` to the last one that is not zero."""
    used = 0
    for start in range(end, len(data), _CHUNK_BYTES):
        piece = bytes(data[start : start + _CHUNK_BYTES]).rstrip(b"\0")
        used = start - end + len(piece) if piece else used
    return used


def _no_file(path: Path) -> DataLoss:
    return DataLoss(f"{path} is no file", expected="a regular file", details={"path": str(path)})


def _loss(path: Path, offset: int, number: int, reason: str) -> DataLoss:
    return DataLoss(
        f"reel {path} is damaged at byte {offset}, record {number}: {reason}",
        expected="the bytes that were written; restore the video from a backup, or drop it",
        details={"path": str(path), "offset": str(offset), "record": str(number)},
    )
