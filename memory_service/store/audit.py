"""Auditing one reel: everything that is wrong with it, not only what stops it from being opened.

`scan` stops at the first bad byte and says whether a reel can be used. An audit goes on behind it, so that it
can tell which frames are affected and which are not. It holds no record longer than it looks at it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgpack
import numpy as np

from memory_service.crc32c import crc32c
from memory_service.records import Base, unpack_block, unpack_fork, unpack_video
from memory_service.reel import (
    ALIGN,
    MAGIC,
    MAX_HEADER_BYTES,
    PREFIX_BYTES,
    Damaged,
    Kind,
    Prefix,
    Record,
    Source,
    Unsupported,
    aligned,
    check_body,
    decode_prefix,
    decode_record,
)
from memory_service.store.findings import Class, Finding, Part
from memory_service.types import Span, VideoKey

_CHUNK_BYTES = 1 << 20
_COUNTED = {Kind.BLOCK, Kind.FORK, Kind.TRUNCATE}
"""Records without which the number of frames is not known."""

_HEADER_BYTES = 1 << 18
"""How much of a header is read where its size is not known."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What an audit found: the number of frames that there should be, and all that is wrong.

    A fork's frames include those that it shares; where these are, `bases` says. `epoch` is the first one of
    the video, 0 where no record tells.
    """

    frames: int
    bytes: int
    epoch: int
    bases: tuple[Base, ...]
    findings: tuple[Finding, ...]


@dataclass(slots=True)
class _Problem:
    """A bad record, before it is known whether it was durable; `before` frames stand in front of it."""

    offset: int
    record: int
    part: Part
    message: str
    before: int
    frames: list[Span] = field(default_factory=list)
    open_end: bool = False
    kind: Class = Class.DAMAGE

    def finding(self, path: Path) -> Finding:
        return Finding(
            path,
            self.kind,
            self.part,
            self.message,
            offset=self.offset,
            record=self.record,
            frames=tuple(self.frames),
            open_end=self.open_end,
        )


def audit(
    path: Path, key: VideoKey, data: Source, read: Callable[[int], None], *, base: Base | None = None
) -> Audit:
    """All that is wrong with `data`, the bytes of file `path`, as the reel of `key`, or as a `base` of it.

    A base is another video's reel up to where a fork left it. `read` is called with the number of bytes
    looked at so far. Memory does not grow with the reel, only with what is wrong. Raises OSError.
    """
    walk = _Walk(data, read, base)
    walk.run()
    problems = walk.judged()
    if base is None and walk.key not in (None, key):
        message = f"the reel of {walk.key}"
        problems.insert(0, _Problem(0, 0, Part.NAME, message, 0, _spans(0, walk.frames)))
    findings = tuple(replace(p.finding(path), pool=key.pool, video=key.video) for p in problems)
    return Audit(walk.frames, len(data), walk.epoch or 0, walk.bases, findings)


class _Walk:
    """One walk over a reel, past what is bad."""

    def __init__(self, data: Source, read: Callable[[int], None], base: Base | None) -> None:
        self._data = data
        self._read = read
        self._base = base
        self._sequence = 0
        self._proven = 0 if base is None else base.end
        self._problems: list[_Problem] = []
        self.epoch = None if base is None else base.epoch
        self.frames = 0
        self.key: VideoKey | None = None
        self.bases: tuple[Base, ...] = ()

    def run(self) -> None:
        """Note every problem up to the end of the data, or to a record of a newer format."""
        offset = 0
        while offset < len(self._data):
            try:
                prefix = self._prefix(offset)
                offset = self._skip(offset) if prefix is None else self._record(offset, prefix)
            except Unsupported as exc:
                self._note(offset, Part.PREFIX, str(exc)).kind = Class.NEWER
                break
            self._read(min(offset, len(self._data)))
        if self._sequence == 0 and not self._problems:
            self._note(0, Part.MISSING, "there is no video record")
        if self._base is not None and not self._problems:
            self._check_base(self._base)

    def _check_base(self, base: Base) -> None:
        """Whether what a fork shares is as long as the fork says."""
        if len(self._data) < base.end:
            self._note(len(self._data), Part.MISSING, f"ends before byte {base.end}").open_end = True
            self._close_gap(base.length)
        elif self.frames != base.length:
            self._note(base.end, Part.SEQUENCE, f"{self.frames} frames where the fork has {base.length}")

    def judged(self) -> list[_Problem]:
        """The problems that are damage, and the torn tail that the first of the others is."""
        judged = []
        for problem in self._problems:
            damage = (
                problem.offset < self._proven or problem.record == 0 or problem.part is Part.HEADER_PADDING
            )
            judged.append(problem)
            if problem.kind is Class.DAMAGE and not damage:
                problem.kind, problem.open_end = Class.TORN_TAIL, False
                problem.frames = _spans(problem.before, self.frames)
                break
        return judged

    def _prefix(self, offset: int) -> Prefix | None:
        """The prefix there; None where none is good and due, and then that is noted unless it is zeros."""
        try:
            prefix = decode_prefix(self._data, offset)
        except Damaged as exc:
            self._note_lost(offset, Part.PREFIX, str(exc))
            return None
        if prefix is None:
            return None
        if self.epoch is not None and prefix.epoch != self.epoch:
            self._note_lost(offset, Part.SEQUENCE, "a record of another video or life")
            return None
        if prefix.sequence != self._sequence:
            message = f"sequence number {prefix.sequence} where {self._sequence} is due"
            self._note_lost(offset, Part.SEQUENCE, message)
            if prefix.sequence < self._sequence:
                return None
            self._sequence = prefix.sequence
        return prefix

    def _skip(self, offset: int) -> int:
        """Where the next record of this reel starts behind `offset`; the end of the data without one."""
        noted = bool(self._problems) and self._problems[-1].offset == offset
        for start in _magics(self._data, aligned(offset + 1)):
            try:
                prefix = decode_prefix(self._data, start)
            except Damaged:
                continue
            if prefix and prefix.epoch == (self.epoch or prefix.epoch) and prefix.sequence >= self._sequence:
                if not noted:
                    self._note_lost(offset, Part.MISSING, "zeros in place of a record")
                self._sequence = prefix.sequence
                return start
        tail = used_bytes(self._data, offset)
        if tail and not noted:
            self._note_lost(offset, Part.TAIL, f"{tail} bytes of no record")
        return len(self._data)

    def _record(self, offset: int, prefix: Prefix) -> int:
        """Check the record whose prefix is good. Returns where the next one is due."""
        self._proven = max(self._proven, prefix.durable)
        self.epoch = self.epoch or prefix.epoch
        try:
            record = decode_record(self._data, offset, prefix)
        except Damaged as exc:
            cut = offset + prefix.record_bytes > len(self._data)
            problem = self._note(offset, Part.MISSING if cut else Part.HEADER, str(exc))
            problem.open_end = prefix.kind in _COUNTED
        else:
            self._check_padding(record)
            try:
                self._check_body(record)
                self._take(record)
            except (KeyError, TypeError, ValueError, IndexError) as exc:
                self._note(offset, Part.HEADER, f"not the header of its type: {exc!r}")
        self._sequence += 1
        return offset + prefix.record_bytes

    def _take(self, record: Record) -> None:
        """Follow what a record says of the video, and close the gap before it as far as it tells."""
        kind, header = record.prefix.kind, record.header
        if (kind == Kind.VIDEO) != (record.prefix.sequence == 0):
            self._note(record.offset, Part.SEQUENCE, "the first record, and it alone, describes the video")
        elif kind == Kind.VIDEO:
            self.key = unpack_video(record).key
        elif kind == Kind.BLOCK:
            if not self._close_gap(header["start"]) and header["start"] != self.frames:
                message = f"frame {header['start']} where {self.frames} is due"
                self._note(record.offset, Part.SEQUENCE, message)
            self.frames = header["start"] + header["n"]
        elif kind == Kind.RETRIEVAL:
            if header["length"] > self.frames:
                self._close_gap(header["length"])
        elif kind == Kind.FORK:
            lineage = unpack_fork(record)
            self.bases, self.frames = lineage.bases, lineage.parent.length
        elif kind == Kind.TRUNCATE:
            self._cut(header["length"])

    def _close_gap(self, upto: int) -> bool:
        """Frames up to there were in the bad records before; False when there was none that held any."""
        pending = [problem for problem in self._problems if problem.open_end]
        for problem in pending:
            problem.frames += _spans(self.frames, upto)
            problem.open_end = False
            self.frames = max(self.frames, upto)  # several bad records in a row: told with the first of them
        return bool(pending)

    def _cut(self, length: int) -> None:
        """Frames from `length` on are gone on purpose: what is wrong with their bytes affects no frame."""
        for problem in self._problems:
            problem.frames = [Span(s.start, min(s.stop, length)) for s in problem.frames if s.start < length]
            problem.open_end = False
        self.frames = length

    def _check_padding(self, record: Record) -> None:
        start = record.offset + PREFIX_BYTES + record.prefix.header_bytes
        padding = bytes(self._data[start : record.body])
        if any(padding):
            at = start + len(padding) - len(padding.lstrip(b"\0"))
            self._note(record.offset, Part.HEADER_PADDING, f"byte {at} is not zero; nobody reads it")

    def _check_body(self, record: Record) -> None:
        try:
            check_body(self._data, record)
        except Damaged as exc:
            hit = _frames_hit(self._data, record) if record.prefix.kind == Kind.BLOCK else []
            self._note(record.offset, Part.BODY if hit else Part.BODY_PADDING, str(exc)).frames = hit

    def _note_lost(self, offset: int, part: Part, message: str) -> None:
        """Note a record of which only the place is known, and what its bytes still tell."""
        problem = self._note(offset, part, message)
        problem.open_end = True
        header = _legible_header(self._data, offset)
        if header is None:
            return
        problem.open_end = False
        if "parts" in header and header.get("start") == self.frames:
            problem.frames = _spans(self.frames, self.frames + header["n"])
            self.frames += header["n"]
        elif "bases" in header:
            problem.frames = _spans(0, header["length"])
            self.frames = header["length"]
        elif header.keys() == {"epoch", "length"}:
            self._cut(header["length"])

    def _note(self, offset: int, part: Part, message: str) -> _Problem:
        problem = _Problem(offset, self._sequence, part, message, self.frames)
        self._problems.append(problem)
        return problem


def used_bytes(data: Source, start: int) -> int:
    """Number of bytes from `start` to the last one that is not zero."""
    used = 0
    for at in range(start, len(data), _CHUNK_BYTES):
        piece = bytes(data[at : at + _CHUNK_BYTES]).rstrip(b"\0")
        used = at - start + len(piece) if piece else used
    return used


def _spans(start: int, stop: int) -> list[Span]:
    return [Span(start, stop)] if start < stop else []


def _frames_hit(data: Source, record: Record) -> list[Span]:
    """The frames of a block of which a part fails its checksum."""
    block = unpack_block(record)
    hit: list[Span] = []
    for frame in range(block.start, block.stop):
        extents = [block.embedding(frame, name) for name in ("", *block.named)]
        extents += [block.payload(part, frame) for part in block.parts]
        if all(crc32c(data[at : at + size]) == crc for at, size, crc in extents):
            continue
        if hit and hit[-1].stop == frame:
            hit[-1] = Span(hit[-1].start, frame + 1)
        else:
            hit.append(Span(frame, frame + 1))
    return hit


def _legible_header(data: Source, offset: int) -> dict[str, Any] | None:
    """The header behind a bad prefix, if it can be read: its checksum was lost with the prefix."""
    start = offset + PREFIX_BYTES
    unpacker = msgpack.Unpacker(max_buffer_size=MAX_HEADER_BYTES)
    unpacker.feed(bytes(data[start : start + _HEADER_BYTES]))
    try:
        header = unpacker.unpack()
    except (ValueError, msgpack.OutOfData, msgpack.UnpackException):
        return None
    return header if isinstance(header, dict) else None


def _magics(data: Source, start: int) -> Iterator[int]:
    """Where from `start` on, a multiple of `ALIGN`, a record may begin."""
    for chunk in range(start, len(data), _CHUNK_BYTES):
        raw = bytes(data[chunk : chunk + _CHUNK_BYTES])
        words = np.frombuffer(raw, "<u4", count=len(raw) // 4)
        for place in np.flatnonzero(words[:: ALIGN // 4] == int.from_bytes(MAGIC, "little")):
            yield chunk + int(place) * ALIGN
