"""Messages with frames, as bytes: payloads are copied once on their way out, and once on their way in.

`bulk` has the same messages as protobuf objects; these are for the answers of Advance and Fetch, which carry
megabytes, or places in the server's files: a few kilobytes, which protobuf makes and takes apart as a whole.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import NamedTuple, Self, TypeAlias, TypeVar

from google.protobuf.message import DecodeError

from memory_service import wire
from memory_service.crc32c import crc32c
from memory_service.errors import DataLoss
from memory_service.histories.stored_frame import StoredFrame
from memory_service.types import Appended, Buffer, Embeddings, Frame, Handle, Hit, ReelExtent
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.framing import Pieces, nested, prune
from memory_service.wire.names import Handles, put_handle
from memory_service.wire.vectors import vector_from_bytes

ReadPlace: TypeAlias = Callable[[ReelExtent, int], Buffer | None]
"""The bytes at a place if they have this CRC-32C, else None."""

_FRAMES = pb.AdvanceResponse.FRAMES_FIELD_NUMBER
_FRAME = pb.FetchResponse.FRAME_FIELD_NUMBER
_PAYLOADS = pb.Frame.PAYLOADS_FIELD_NUMBER
_DATA = pb.Payload.DATA_FIELD_NUMBER

_PREFIX_BYTES = 6
"""Most bytes that a frame's tag and length take."""

_SMALL_BYTES = 1 << 16
"""Up to here parsing an answer as a whole costs less than taking it apart."""

_Data: TypeAlias = Sequence[memoryview]
"""The bytes of one payload; the last counts, as for any field of protobuf."""

_Answer = TypeVar("_Answer", pb.AdvanceResponse, pb.FetchResponse)


def advance_response(
    appended: Appended, hits: Sequence[Hit], frames: Sequence[StoredFrame], budget_bytes: int, *, local: bool
) -> bytes:
    """An encoded AdvanceResponse with as many frames as fit; with `local`, places instead of payloads."""
    message = pb.AdvanceResponse(duplicate=appended.duplicate)
    state, known = message.state, appended.state
    state.epoch, state.length, state.durable = known.epoch, known.length, known.durable
    for hit in hits:
        one = message.hits.add()
        put_handle(hit.handle, one.handle)
        one.score, one.pinned = hit.score, hit.pinned
    room_bytes = budget_bytes - message.ByteSize()
    if local:
        _add_places(message, frames, room_bytes)
        return message.SerializeToString()
    pieces: Pieces = [message.SerializeToString()]
    for frame in frames:
        added = nested(_FRAMES, _with_payloads(frame))
        room_bytes -= sum(map(len, added))
        if room_bytes < 0:
            break
        pieces += added
    return b"".join(pieces)


def fetch_response(frame: StoredFrame, *, local: bool) -> bytes:
    """An encoded FetchResponse; with `local`, places instead of payloads."""
    if not local:
        return b"".join(nested(_FRAME, _with_payloads(frame)))
    message = pb.FetchResponse()
    _put_with_places(frame, message.frame)
    return message.SerializeToString()


def _add_places(message: pb.AdvanceResponse, frames: Sequence[StoredFrame], room_bytes: int) -> None:
    """As many frames as fit."""
    for frame in frames:
        added = message.frames.add()
        _put_with_places(frame, added)
        room_bytes -= added.ByteSize() + _PREFIX_BYTES
        if room_bytes < 0:
            del message.frames[-1]
            return


def _with_payloads(frame: StoredFrame) -> Pieces:
    head = pb.Frame()
    _put_head(frame, head)
    pieces: Pieces = [head.SerializeToString()]
    for name, payload in frame.parts.items():
        small = pb.Payload(name=name, crc32c=payload.crc).SerializeToString()
        pieces += nested(_PAYLOADS, [small, *nested(_DATA, [payload.data])])
    return pieces


def _put_with_places(frame: StoredFrame, message: pb.Frame) -> None:
    _put_head(frame, message)
    for name, payload in frame.parts.items():
        small, reel = message.payloads.add(), payload.reel
        small.name, small.crc32c = name, payload.crc
        place = small.local
        place.path, place.inode = _relative(reel.path), reel.inode
        place.offset, place.length = payload.offset, len(payload.data)


def _put_head(frame: StoredFrame, message: pb.Frame) -> None:
    """All but the payloads."""
    put_handle(frame.handle, message.handle)
    message.embedding = bytes(frame.embedding.data)
    message.unix_ms = frame.unix_ms
    if frame.metadata:
        message.metadata.update(frame.metadata)
    for name, rows in frame.named.items():
        message.named.add(name=name, embeddings=bytes(rows.data))


@lru_cache(maxsize=1024)
def _relative(path: Path) -> str:
    """A reel's path within the data directory. Taking a path apart costs as much as the rest of a place."""
    return f"{path.parent.name}/{path.name}"


class AdvanceAnswer:
    """An encoded AdvanceResponse as it arrived: `message` without large payloads, frames on demand."""

    def __init__(self, data: bytes) -> None:
        """Raises DecodeError where `data` is no such message."""
        self.message, self._data = _parsed(pb.AdvanceResponse, data, (_FRAMES, _PAYLOADS, _DATA))
        self._handles = Handles()

    @property
    def state(self) -> pb.VideoState:
        return self.message.state

    @property
    def hits(self) -> tuple[Hit, ...]:
        """Raises InvalidArgument where a hit has no key."""
        of = self._handles.of
        return tuple([Hit(of(hit.handle), hit.score, hit.pinned) for hit in self.message.hits])

    def frames(self, read: ReadPlace) -> list[Frame]:
        """Its frames, but for those of which `read` cannot give a payload. Raises DataLoss."""
        data, of = iter(self._data), self._handles.of
        # Payloads push all else out of the processor's cache, so they are read when the rest is done.
        drafts = [_Draft.of(frame, of(frame.handle), data) for frame in self.message.frames]
        return [frame for draft in drafts if (frame := draft.filled(read)) is not None]


class FetchAnswer:
    """An encoded FetchResponse as it arrived."""

    def __init__(self, data: bytes) -> None:
        """Raises DecodeError where `data` is no such message."""
        self._message, self._data = _parsed(pb.FetchResponse, data, (_FRAME, _PAYLOADS, _DATA))

    def frame(self, read: ReadPlace) -> Frame | None:
        """Its frame, None where `read` cannot give a payload. Raises DataLoss."""
        frame = self._message.frame
        handle = wire.handle_from_proto(frame.handle)
        return _Draft.of(frame, handle, iter(self._data)).filled(read)


def _parsed(kind: type[_Answer], data: bytes, path: Sequence[int]) -> tuple[_Answer, Iterable[_Data]]:
    """The message, and for each of its payloads what is not in it because it was not parsed."""
    if len(data) > _SMALL_BYTES:
        with suppress(DecodeError):
            rest, views = prune(data, path)
            return kind.FromString(rest), views
    return kind.FromString(data), repeat(())


class _Draft(NamedTuple):
    """A frame whose `parts` are still to be read: place or bytes, name and CRC of each."""

    frame: Frame
    parts: dict[str, Buffer]
    sources: list[tuple[ReelExtent | Buffer, str, int]]

    @classmethod
    def of(cls, message: pb.Frame, handle: Handle, data: Iterator[_Data]) -> Self:
        """Takes as many from `data` as the message has payloads."""
        sources: list[tuple[ReelExtent | Buffer, str, int]] = []
        for payload, views in zip(message.payloads, data, strict=False):
            source: ReelExtent | Buffer
            if payload.HasField("local"):
                place = payload.local
                source = ReelExtent(place.path, place.inode, place.offset, place.length)
            else:
                source = views[-1] if views else payload.data
            sources.append((source, payload.name, payload.crc32c))
        parts: dict[str, Buffer] = {}
        frame = Frame(
            handle=handle,
            embedding=vector_from_bytes(message.embedding, "frame.embedding"),
            parts=parts,
            named=_named(message) if message.named else {},
            metadata=dict(message.metadata),
            unix_ms=message.unix_ms,
        )
        return cls(frame, parts, sources)

    def filled(self, read: ReadPlace) -> Frame | None:
        """The frame, None where `read` cannot give a payload. Raises DataLoss."""
        for source, name, crc in self.sources:
            found = read(source, crc) if isinstance(source, ReelExtent) else _verified(source, name, crc)
            if found is None:
                return None
            self.parts[name] = found
        return self.frame


def _named(message: pb.Frame) -> dict[str, Embeddings]:
    rows = wire.named_from_proto(message.named, 1, "frame.named")
    return {name: vectors[0] for name, vectors in rows.items()}


def _verified(data: Buffer, name: str, crc: int) -> bytes:
    """A copy, so that keeping one payload does not keep the whole answer; its bytes are near by then."""
    octets = bytes(data)
    if crc32c(octets) != crc:
        raise DataLoss(
            f"part {name!r} was damaged on its way", field="frame.payloads.crc32c", expected="its checksum"
        )
    return octets
