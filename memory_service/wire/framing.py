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

_MOST_FIELDS = 4096
"""Far more than messages of large payloads have: walking a million would take a second."""


def varint(value: int) -> bytes:
    """A number >= 0 in protobuf's base 128."""
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
    for number, offset, begin, stop in _fields(message):
        if number in numbers and begin is not None:
            rest.append(message[kept_from:offset])
            taken.append((number, message[begin:stop]))
            kept_from = stop
    rest.append(message[kept_from:])
    return b"".join(rest), taken


def prune(message: memoryview, path: Sequence[int]) -> tuple[bytes, list[list[memoryview]]]:
    """The message, encoded, with nothing in the fields at the end of `path`, and views of what was in them.

    `path` leads from field to field through messages; there is one list, maybe empty, for each message that
    the last number is a field of, in order. Raises DecodeError where `message` is no encoded message, or has
    so many fields that protobuf is the better one to parse it.
    """
    found: list[list[memoryview]] = []
    pieces = _pruned(message, path, found, iter(range(_MOST_FIELDS)))
    return b"".join(pieces), found


def _pruned(
    message: memoryview, path: Sequence[int], found: list[list[memoryview]], budget: Iterator[int]
) -> Pieces:
    pieces: Pieces = []
    views: list[memoryview] = []
    kept_from = 0
    for number, offset, begin, stop in _fields(message):
        if next(budget, None) is None:
            raise DecodeError(f"more than {_MOST_FIELDS} fields")
        if number != path[0] or begin is None:
            continue
        pieces.append(message[kept_from:offset])
        kept_from = stop
        if len(path) == 1:
            views.append(message[begin:stop])
            pieces += nested(number, [])
        else:
            pieces += nested(number, _pruned(message[begin:stop], path[1:], found, budget))
    pieces.append(message[kept_from:])
    if len(path) == 1:
        found.append(views)
    return pieces


def _fields(message: memoryview) -> Iterator[tuple[int, int, int | None, int]]:
    """Of each field: its number, where it and where its bytes begin (None: it is a number), where it ends."""
    offset = 0
    while offset < len(message):
        at = offset
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
        if number == 0 or offset > len(message):
            raise DecodeError(f"field {number} is cut short")
        yield number, at, begin, offset


def _read_varint(message: memoryview, offset: int) -> tuple[int, int]:
    """The number at `offset` and the offset after it."""
    if offset < len(message) and (first := message[offset]) < 0x80:
        return first, offset + 1
    value = shift = 0
    for byte in message[offset : offset + _MAX_VARINT_BYTES]:
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, offset
        shift += 7
    raise DecodeError("a number is cut short")
