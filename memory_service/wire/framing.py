"""Messages that carry payloads, put together and taken apart without copying them through protobuf.

Protobuf copies a bytes field when it is set, when the message is serialised, when it is parsed and when it is
read. Its encoding allows better: a message is the concatenation of its fields, and a field that holds bytes
or a message is a tag, a length and the bytes. So the small fields go through the generated classes, and
payloads are joined in between, once, or sliced out of what arrived.

n frames of a block, D embedding dimension.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from google.protobuf.message import DecodeError

from memory_service.types import Buffer

Pieces: TypeAlias = list[Buffer]
"""Parts of an encoded message, in order; their concatenation is the message."""

_VARINT, _LENGTH = 0, 2
_FIXED_BYTES = {1: 8, 5: 4}
"""Wire types of numbers of a fixed size."""
_MAX_VARINT_BYTES = 10
_VARINTS = [bytes([value]) for value in range(128)]

_MOST_FIELDS = 4096
"""Far more than messages of large payloads have: walking a million would take a second."""


def varint(value: int) -> bytes:
    """A number >= 0 in protobuf's base 128."""
    if value < len(_VARINTS):
        return _VARINTS[value]
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def nested(number: int, pieces: Sequence[Buffer]) -> Pieces:
    """The field `number` that holds the bytes or message which `pieces`, flat buffers, make up."""
    return [varint(number << 3 | _LENGTH) + varint(sum(map(len, pieces))), *pieces]


def split(message: memoryview, numbers: frozenset[int]) -> tuple[bytes, list[tuple[int, memoryview]]]:
    """The message without its length-delimited fields `numbers`, encoded, and views of these fields in order.

    Raises DecodeError where `message` is no encoded message; what is inside other fields is not looked at.
    """
    rest: Pieces = []
    taken: list[tuple[int, memoryview]] = []
    kept_from = 0
    for number, offset, begin, stop in _fields(message, 0, len(message)):
        if number in numbers and begin is not None:
            rest.append(message[kept_from:offset])
            taken.append((number, message[begin:stop]))
            kept_from = stop
    rest.append(message[kept_from:])
    return b"".join(rest), taken


def prune(message: bytes, path: Sequence[int]) -> tuple[bytes, list[list[memoryview]]]:
    """The message, encoded, with nothing in the fields at the end of `path`, and views of what was in them.

    `path` leads from field to field through messages; there is one list, maybe empty, for each message that
    the last number is a field of, in order. Raises DecodeError where `message` is no encoded message, or has
    so many fields that protobuf is the better one to parse it.
    """
    pruning = _Pruning(message)
    pieces = pruning.pieces(path, 0, len(message))
    return b"".join(pieces), pruning.found


class _Pruning:
    """One message on its way to less."""

    def __init__(self, message: bytes) -> None:
        self.found: list[list[memoryview]] = []
        self._message = message
        self._view = memoryview(message)
        self._fields_left = _MOST_FIELDS

    def pieces(self, path: Sequence[int], start: int, stop: int) -> Pieces:
        """What is left of the message in bytes [start, stop). Raises DecodeError."""
        wanted, rest, view = path[0], path[1:], self._view
        pieces: Pieces = []
        views: list[memoryview] = []
        for number, offset, begin, end in _fields(self._message, start, stop):
            self._fields_left -= 1
            if self._fields_left < 0:
                raise DecodeError(f"more than {_MOST_FIELDS} fields")
            if number != wanted or begin is None:
                continue
            pieces.append(view[start:offset])
            start = end
            if rest:
                pieces += nested(number, self.pieces(rest, begin, end))
            else:
                pieces += nested(number, [])
                views.append(view[begin:end])
        pieces.append(view[start:stop])
        if not rest:
            self.found.append(views)
        return pieces


def _fields(message: Buffer, offset: int, stop: int) -> Iterator[tuple[int, int, int | None, int]]:
    """Fields of the message in bytes [offset, stop): number, where each and its bytes begin, where it ends.

    Bytes begin at None where the field is a number.
    """
    while offset < stop:
        at = offset
        tag, offset = message[at], at + 1
        if tag > 0x7F:
            tag, offset = _read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        begin = None
        if kind == _LENGTH:
            length, begin = _read_varint(message, offset)
            offset = begin + length
        elif kind == _VARINT:
            offset = _read_varint(message, offset)[1]
        elif kind in _FIXED_BYTES:
            offset += _FIXED_BYTES[kind]
        else:
            raise DecodeError(f"wire type {kind} of field {number}")
        if number == 0 or offset > stop:
            raise DecodeError(f"field {number} is cut short")
        yield number, at, begin, offset


def _read_varint(message: Buffer, offset: int) -> tuple[int, int]:
    """The number at `offset` and the offset after it."""
    value = shift = 0
    for byte in message[offset : offset + _MAX_VARINT_BYTES]:
        offset += 1
        if byte < 0x80:
            return value | byte << shift, offset
        value |= (byte & 0x7F) << shift
        shift += 7
    raise DecodeError("a number is cut short")
