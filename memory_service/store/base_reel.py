"""The reels that a fork continues, opened: verified once however many forks share them, and mapped."""

import mmap
import os
from collections.abc import Sequence
from pathlib import Path
from weakref import WeakValueDictionary

from memory_service.crc32c import crc32c
from memory_service.errors import DataLoss
from memory_service.records import Base, unpack_block, unpack_fork
from memory_service.reel import Kind, Record
from memory_service.store.bases import link_path
from memory_service.store.failures import storage_error
from memory_service.store.scan import FileSource, Scan, open_regular, scan


class _Pages:
    """The beginning of a file, verified, and its map, which keeps the file while any fork has it open."""

    def __init__(self, records: Sequence[Record], mapped: mmap.mmap) -> None:
        self.records = records
        self.mapped = mapped
        self.view = memoryview(mapped)


_OPEN: WeakValueDictionary[tuple[int, int, Base], _Pages] = WeakValueDictionary()
"""By device, inode and what is used: forks of one branch, and all forks of these, share records and map."""


class BaseReel:
    """The beginning of a reel that a fork shares, under the fork's own link; never written."""

    def __init__(self, path: Path, inode: int, base: Base, pages: _Pages) -> None:
        self.path = path
        self.inode = inode
        self.base = base
        self._pages = pages

    @property
    def records(self) -> Sequence[Record]:
        """All records up to `base.end`."""
        return self._pages.records

    def check_size(self) -> None:
        """Raises DataLoss where somebody has cut the file: to touch what is gone would end the process.

        Asks the map's own descriptor, so that it makes no difference whether the link is there. Raises
        Unavailable where that cannot be told.
        """
        try:
            size = self._pages.mapped.size()
        except OSError as exc:
            raise storage_error(f"base {self.path} of a fork cannot be used", exc) from exc
        if size < self.base.end:
            raise _loss(self.path, f"was cut to {size} bytes while it was in use")

    def view(self, offset: int, length: int) -> memoryview:
        """Read-only bytes; valid while referenced, whatever happens to the reel."""
        return self._pages.view[offset : offset + length]


def open_bases(reel: Path, found: Scan) -> tuple[BaseReel, ...]:
    """The bases of the reel of which `found` has the records, oldest first; none unless it is a fork's.

    Raises DataLoss, naming a base that is missing or damaged, Unavailable, OSError.
    """
    if len(found.records) < 2 or found.records[1].prefix.kind != Kind.FORK:
        return ()
    epoch = found.records[0].prefix.epoch
    bases = unpack_fork(found.records[1]).bases
    return tuple(_open_base(link_path(reel, epoch, number), base) for number, base in enumerate(bases))


def _open_base(path: Path, base: Base) -> BaseReel:
    try:
        fd = open_regular(path, os.O_RDONLY)
    except FileNotFoundError as exc:
        raise _loss(path, "is missing") from exc
    try:
        status = os.fstat(fd)
        place = status.st_dev, status.st_ino, base
        pages = _OPEN.get(place)
        if pages is None:
            pages = _OPEN[place] = _verified(path, fd, base)
        return BaseReel(path, status.st_ino, base, pages)
    finally:
        os.close(fd)


def _verified(path: Path, fd: int, base: Base) -> _Pages:
    """Verify records and embeddings; payloads are verified by whoever fetches them, as everywhere."""
    found = scan(path, FileSource(fd, base.end), verify_all=False)
    if found.end != base.end or found.recovery is not None:
        raise _loss(path, f"ends at byte {found.end} instead of {base.end}")
    if found.records[0].prefix.epoch != base.epoch:
        raise _loss(path, f"is of epoch {found.records[0].prefix.epoch}, not {base.epoch}")
    pages = _Pages(found.records, mmap.mmap(fd, base.end, access=mmap.ACCESS_READ))
    for block in (unpack_block(record) for record in found.records if record.prefix.kind == Kind.BLOCK):
        for frame in range(block.start, block.stop):
            for name in ("", *block.named):
                offset, length, crc = block.embedding(frame, name)
                if crc32c(pages.view[offset : offset + length]) != crc:
                    raise _loss(path, f"is damaged at byte {offset}: an embedding fails its checksum")
    return pages


def _loss(path: Path, reason: str) -> DataLoss:
    return DataLoss(
        f"base {path} of a fork {reason}",
        expected="the bytes that were shared; restore the file from a backup, or drop the fork",
        details={"path": str(path)},
    )
