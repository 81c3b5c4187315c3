"""The framing of a reel: an ordered log of records, each proving its own bytes.

A record is a fixed prefix of 64 bytes, a msgpack header, and a body; all three start at multiples of `ALIGN`
from the record's start, and records at multiples of `ALIGN` from the reel's start. `docs/reel-format.md` has
the format byte by byte. This module turns values into buffers and back; it does no I/O.
"""

import struct
import threading
from enum import IntEnum
from typing import Any, NamedTuple, Protocol, TypeAlias

import google_crc32c
import msgpack
import numpy as np

from memory_service.crc32c import crc32c, joined
from memory_service.types import Buffer

MAGIC = b"REEL"
FORMAT_VERSION = 2
"""Of the records that are written. Records of all versions up to it are read, also mixed in one reel."""

ALIGN = 64
PREFIX_BYTES = 64
MAX_HEADER_BYTES = 64 << 20
MAX_BODY_BYTES = 1 << 40

_ZEROS = bytes(ALIGN)
# magic, version, the fields of Prefix, reserved
_PREFIX = struct.Struct("<4sHHIIQQQQIII")
_CHECKSUM = struct.Struct("<I")
_CHUNK_BYTES = 1 << 18


class _Packers(threading.local):
    """A packer for each thread: making one takes longer than packing most headers."""

    def __init__(self) -> None:
        self.packer = msgpack.Packer(use_single_float=True)


_packers = _Packers()


class Source(Protocol):
    """Bytes that are read piece by piece: a buffer or a file."""

    def __len__(self) -> int: ...

    def __getitem__(self, piece: slice, /) -> Buffer: ...


class Kind(IntEnum):
    """Record types. Numbers are never reused."""

    VIDEO = 1
    BLOCK = 2
    RETRIEVAL = 3
    COMMIT = 4
    FORK = 5
    TRUNCATE = 6
    SEAL = 7


_KINDS = frozenset(Kind)
_OPTIONAL_KINDS = frozenset([Kind.RETRIEVAL, Kind.COMMIT])


Extent: TypeAlias = tuple[int, int, int]
"""Byte offset, length and CRC-32C of one piece of a body."""

OPTIONAL = 1
"""Flag of a record that a reader may skip when it does not know its kind; any other is refused."""


class Damaged(Exception):
    """Bytes that are not a whole, valid record; the message says in what way."""


class Unsupported(Exception):
    """A valid record that this reader cannot understand: it is kept, never cut."""


class Prefix(NamedTuple):
    """The fixed part of a record, in the order in which it lies there.

    `durable` is a byte offset in the reel: everything before it was known to be on stable storage when this
    record was written. `epoch` is the video's first one, in all records of a reel: it keeps payloads that
    happen to hold a copy of a reel from passing for records.
    """

    kind: int
    flags: int
    header_bytes: int
    body_bytes: int
    sequence: int
    epoch: int
    durable: int
    header_crc: int
    body_crc: int

    @property
    def body_offset(self) -> int:
        """Where the body starts, from the record's start."""
        return PREFIX_BYTES + aligned(self.header_bytes)

    @property
    def record_bytes(self) -> int:
        """Size of the whole record with its padding."""
        return self.body_offset + aligned(self.body_bytes)


class Record(NamedTuple):
    """One record in a reel: `offset` is its start, `header` its decoded header."""

    offset: int
    prefix: Prefix
    header: dict[str, Any]

    @property
    def body(self) -> int:
        """Byte offset of the body in the reel."""
        return self.offset + self.prefix.body_offset

    @property
    def end(self) -> int:
        """Byte offset in the reel after this record."""
        return self.offset + self.prefix.record_bytes


def aligned(size: int) -> int:
    """`size` rounded up to a multiple of `ALIGN`."""
    return size + -size % ALIGN


def padding(size: int) -> bytes:
    """The zeros that bring `size` bytes to a multiple of `ALIGN`."""
    return _ZEROS[: -size % ALIGN]


class Body:
    """The body of a record in the making: pieces that each start at a multiple of `ALIGN`, not copied."""

    def __init__(self) -> None:
        self.pieces: list[Buffer] = []
        self.size = 0
        self.crc = 0

    def add(self, data: Buffer) -> Extent:
        """Add a piece, a flat buffer of bytes, and say where it lies in the body."""
        crc, length = crc32c(data), len(data)
        extent = self.size, length, crc
        self.crc = joined(self.crc, data, crc)
        self.pieces.append(data)
        if rest := -length % ALIGN:
            self.crc = google_crc32c.extend(self.crc, _ZEROS[:rest])
            self.pieces.append(_ZEROS[:rest])
        self.size += length + rest
        return extent


def encode(
    kind: Kind, header: dict[str, Any], body: Body, *, sequence: int, epoch: int, durable: int
) -> tuple[Prefix, list[Buffer]]:
    """The prefix of one record and the buffers to write, in order."""
    packed: bytes = _packers.packer.pack(header)
    flags = OPTIONAL if kind in _OPTIONAL_KINDS else 0
    header_crc = google_crc32c.value(packed)
    prefix = Prefix(kind, flags, len(packed), body.size, sequence, epoch, durable, header_crc, body.crc)
    fixed = _PREFIX.pack(MAGIC, FORMAT_VERSION, *prefix, 0)
    head = fixed + _CHECKSUM.pack(google_crc32c.value(fixed)) + packed + padding(len(packed))
    return prefix, [head, *body.pieces]


def decode_prefix(data: Source, offset: int) -> Prefix | None:
    """The prefix at `offset`, or None where a reel ends: at its last byte or in preallocated zeros.

    Raises Damaged, Unsupported.
    """
    raw = bytes(data[offset : offset + PREFIX_BYTES])
    if not raw or raw == bytes(PREFIX_BYTES):
        return None
    if len(raw) < PREFIX_BYTES:
        raise Damaged("prefix is cut short")
    if _CHECKSUM.unpack_from(raw, _PREFIX.size)[0] != google_crc32c.value(raw[: _PREFIX.size]):
        raise Damaged("prefix fails its checksum")
    magic, version, *fields, _ = _PREFIX.unpack_from(raw)
    prefix = Prefix(*fields)
    if magic != MAGIC:
        raise Damaged("prefix has no magic")
    if not 1 <= version <= FORMAT_VERSION:
        raise Unsupported(f"format version {version}, this reader knows 1 to {FORMAT_VERSION}")
    if prefix.kind not in _KINDS and not prefix.flags & OPTIONAL:
        raise Unsupported(f"record type {prefix.kind}, this reader knows {sorted(_KINDS)}")
    if prefix.header_bytes > MAX_HEADER_BYTES or prefix.body_bytes > MAX_BODY_BYTES:
        raise Damaged("record is impossibly large")
    return prefix


def decode_record(data: Source, offset: int, prefix: Prefix) -> Record:
    """The record at `offset`, its header checked and decoded, its body not yet. Raises Damaged."""
    if offset + prefix.record_bytes > len(data):
        raise Damaged("record is cut short")
    start = offset + PREFIX_BYTES
    raw = bytes(data[start : start + prefix.header_bytes])
    if google_crc32c.value(raw) != prefix.header_crc:
        raise Damaged("header fails its checksum")
    try:
        header = msgpack.unpackb(raw)
    except ValueError as exc:
        raise Damaged("header is not msgpack") from exc
    if not isinstance(header, dict):
        raise Damaged("header is not a map")
    return Record(offset, prefix, header)


def check_body(data: Source, record: Record) -> None:
    """Raises Damaged when the body of `record` fails its checksum."""
    crc, offset, end = 0, record.body, record.body + record.prefix.body_bytes
    while offset < end:
        crc = crc32c(data[offset : min(offset + _CHUNK_BYTES, end)], crc)
        offset += _CHUNK_BYTES
    if crc != record.prefix.body_crc:
        raise Damaged("body fails its checksum")


def find_prefix(data: Source, offset: int, *, epoch: int, sequence: int) -> tuple[int, Prefix] | None:
    """The first valid prefix at or after `offset` that this reel wrote after record `sequence`.

    It answers whether bad bytes are the end of a reel or a hole in it. Raises Unsupported.
    """
    for chunk in range(aligned(offset), len(data), _CHUNK_BYTES):
        raw = bytes(data[chunk : chunk + _CHUNK_BYTES])
        words = np.frombuffer(raw, "<u4", count=len(raw) // 4)
        starts = np.flatnonzero(words[:: ALIGN // 4] == int.from_bytes(MAGIC, "little"))
        for start in (int(i) * ALIGN + chunk for i in starts):
            try:
                prefix = decode_prefix(data, start)
            except Damaged:
                continue
            if prefix is not None and prefix.epoch == epoch and prefix.sequence > sequence:
                return start, prefix
    return None
