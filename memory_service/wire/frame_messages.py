"""Messages with frames, as bytes: payloads are copied once on their way out, and once on their way in.

`bulk` has the same messages as protobuf objects; these are for the answers of Advance and Fetch, which carry
megabytes.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

from memory_service import wire
from memory_service.crc32c import crc32c
from memory_service.errors import DataLoss
from memory_service.histories.stored_frame import StoredFrame
from memory_service.types import Appended, Buffer, Frame, Hit, ReelExtent
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire.framing import Pieces, nested, split

ReadPlace: TypeAlias = Callable[[ReelExtent, int], Buffer | None]
"""The bytes at a place if they have this CRC-32C, else None."""

_FRAMES = pb.AdvanceResponse.FRAMES_FIELD_NUMBER
_FRAME = pb.FetchResponse.FRAME_FIELD_NUMBER
_PAYLOADS = pb.Frame.PAYLOADS_FIELD_NUMBER
_DATA = pb.Payload.DATA_FIELD_NUMBER


def advance_response(
    appended: Appended, hits: Sequence[Hit], frames: Sequence[StoredFrame], budget_bytes: int, *, local: bool
) -> bytes:
    """An encoded AdvanceResponse with as many frames as fit; with `local`, places instead of payloads."""
    message = pb.AdvanceResponse(hits=map(wire.hit_to_proto, hits), duplicate=appended.duplicate)
    message.state.CopyFrom(wire.state_to_proto(appended.state))
    pieces: Pieces = [message.SerializeToString()]
    room_bytes = budget_bytes - len(pieces[0])
    for frame in frames:
        added = nested(_FRAMES, _frame(frame, local=local))
        room_bytes -= sum(map(len, added))
        if room_bytes < 0:
            break
        pieces += added
    return b"".join(pieces)


def fetch_response(frame: StoredFrame, *, local: bool) -> bytes:
    """An encoded FetchResponse; with `local`, places instead of payloads."""
    return b"".join(nested(_FRAME, _frame(frame, local=local)))


def _frame(frame: StoredFrame, *, local: bool) -> Pieces:
    head = pb.Frame(
        handle=wire.handle_to_proto(frame.handle),
        embedding=bytes(frame.embedding.data),
        metadata=frame.metadata,
        unix_ms=frame.unix_ms,
    )
    for name, rows in frame.named.items():
        head.named.add(name=name, embeddings=bytes(rows.data))
    pieces: Pieces = [head.SerializeToString()]
    for name, payload in frame.parts.items():
        small = pb.Payload(name=name, crc32c=payload.crc)
        if local:
            place = payload.place
            small.local.path, small.local.inode = place.path, place.inode
            small.local.offset, small.local.length = place.offset, place.length
            pieces += nested(_PAYLOADS, [small.SerializeToString()])
        else:
            pieces += nested(_PAYLOADS, [small.SerializeToString(), *nested(_DATA, [payload.data])])
    return pieces


class AdvanceAnswer:
    """An encoded AdvanceResponse as it arrived: `message` without its frames, these on demand."""

    def __init__(self, data: bytes) -> None:
        """Raises DecodeError where `data` is no such message."""
        rest, views = split(memoryview(data), frozenset([_FRAMES]))
        self.message = pb.AdvanceResponse.FromString(rest)
        self._views = [view for _, view in views]

    @property
    def state(self) -> pb.VideoState:
        return self.message.state

    def frames(self, read: ReadPlace) -> list[Frame]:
        """Its frames, but for those of which `read` cannot give a payload. Raises DataLoss, DecodeError."""
        return [frame for view in self._views if (frame := _parsed(view, read)) is not None]


class FetchAnswer:
    """An encoded FetchResponse as it arrived."""

    def __init__(self, data: bytes) -> None:
        """Raises DecodeError where `data` is no such message."""
        _, views = split(memoryview(data), frozenset([_FRAME]))
        self._view = views[-1][1] if views else memoryview(b"")

    def frame(self, read: ReadPlace) -> Frame | None:
        """Its frame, None where `read` cannot give a payload. Raises DataLoss, DecodeError."""
        return _parsed(self._view, read)


def _parsed(view: memoryview, read: ReadPlace) -> Frame | None:
    rest, payloads = split(view, frozenset([_PAYLOADS]))
    head = pb.Frame.FromString(rest)
    parts: dict[str, Buffer] = {}
    for _, payload in payloads:
        small_bytes, data = split(payload, frozenset([_DATA]))
        small = pb.Payload.FromString(small_bytes)
        if small.HasField("local"):
            place = small.local
            extent = ReelExtent(place.path, place.inode, place.offset, place.length)
            found = read(extent, small.crc32c)
            if found is None:
                return None
            parts[small.name] = found
        else:
            parts[small.name] = _verified(small, data[-1][1] if data else memoryview(b""))
    return Frame(
        handle=wire.handle_from_proto(head.handle),
        embedding=wire.vectors_from_bytes(head.embedding, 1, "frame.embedding")[0],
        parts=parts,
        named={name: rows[0] for name, rows in wire.named_from_proto(head.named, 1, "frame.named").items()},
        metadata=dict(head.metadata),
        unix_ms=head.unix_ms,
    )


def _verified(message: pb.Payload, data: memoryview) -> bytes:
    """A copy, so that keeping one payload does not keep the whole answer."""
    if crc32c(data) != message.crc32c:
        raise DataLoss(
            f"part {message.name!r} was damaged on its way",
            field="frame.payloads.crc32c",
            expected="its checksum",
        )
    return bytes(data)
