"""Where a reel can be harmed, and what must be said of each place."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from memory_service.reel import PREFIX_BYTES, Kind, Record
from memory_service.store.findings import Part
from memory_service.store.scan import FileSource, scan
from memory_service.types import Span

PREFIX_FIELDS = {
    "magic": 0,
    "version": 4,
    "type": 6,
    "flags": 8,
    "header_bytes": 12,
    "body_bytes": 16,
    "sequence": 24,
    "epoch": 32,
    "durable": 40,
    "header_crc": 48,
    "body_crc": 52,
    "reserved": 56,
    "prefix_crc": 60,
}


def records_of(path: Path) -> list[Record]:
    """The records of a reel that is whole."""
    with path.open("rb") as file:
        return list(scan(path, FileSource(file.fileno())).records)


def flip(path: Path, offset: int, bit: int = 3) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0] ^ 1 << bit
        file.seek(offset)
        file.write(bytes([byte]))


@dataclass(frozen=True)
class Place:
    """One byte to harm, and what must be said of it."""

    record: Record
    offset: int
    part: Part
    frames: tuple[Span, ...]

    @property
    def name(self) -> str:
        return f"{self.record.prefix.sequence}@{self.offset - self.record.offset}"


def places(record: Record) -> Iterator[Place]:
    """At least one byte of each class of offsets in a record."""
    header, span = record.header, ()
    if record.prefix.kind == Kind.BLOCK:
        span = (Span(header["start"], header["start"] + header["n"]),)
    for at in PREFIX_FIELDS.values():
        yield Place(record, record.offset + at, Part.PREFIX, span)
        yield Place(record, record.offset + at + 1, Part.PREFIX, span)
    start = record.offset + PREFIX_BYTES
    for at in (0, 1, record.prefix.header_bytes // 2, record.prefix.header_bytes - 1):
        if at < record.prefix.header_bytes:
            yield Place(record, start + at, Part.HEADER, span)
    if start + record.prefix.header_bytes < record.body:
        for offset in (start + record.prefix.header_bytes, record.body - 1):
            yield Place(record, offset, Part.HEADER_PADDING, ())
    if record.prefix.kind == Kind.BLOCK:
        yield from body_places(record)


def body_places(record: Record) -> Iterator[Place]:
    """The first and last byte of each embedding and payload, and the padding behind each part."""
    header = record.header
    size = 4 * header["dim"]
    for row in range(header["n"]):
        frames = (Span(header["start"] + row, header["start"] + row + 1),)
        yield Place(record, record.body + row * size, Part.BODY, frames)
        yield Place(record, record.body + (row + 1) * size - 1, Part.BODY, frames)
        for extents in header["parts"].values():
            offset, length, _ = extents[row]
            if length:
                yield Place(record, record.body + offset, Part.BODY, frames)
                yield Place(record, record.body + offset + length - 1, Part.BODY, frames)
            if length % 64:
                yield Place(record, record.body + offset + length, Part.BODY_PADDING, ())
                yield Place(record, record.body + offset + 63, Part.BODY_PADDING, ())
