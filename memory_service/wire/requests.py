"""Requests that carry a block, as bytes: payloads are copied once on their way out, and not on their way in.

`bulk` puts a block into a message and takes it out again; here the payloads go around the message. Its other
fields can be read and written as if it were one.
"""

from typing import Any, TypeAlias

from google.protobuf.message import DecodeError

from memory_service.types import Block, Buffer
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire import bulk
from memory_service.wire.framing import Pieces, nested, prune

WithBlock: TypeAlias = pb.AppendRequest | pb.AppendStreamRequest | pb.AdvanceRequest

_BLOCK = pb.AdvanceRequest.BLOCK_FIELD_NUMBER
_PARTS = pb.Block.PARTS_FIELD_NUMBER
_PAYLOADS = pb.Part.PAYLOADS_FIELD_NUMBER

_SMALL_BYTES = 1 << 16
"""Up to here parsing a request as a whole costs less than taking it apart."""


class Outgoing:
    """A request with a block in it, encoded once for all attempts to send it."""

    __slots__ = ("_begin", "_data", "_pieces", "_start", "message")

    def __init__(self, message: WithBlock, block: Block) -> None:
        """`message` has all but the block, and may still be written to until it is sent.

        Raises InvalidArgument where it cannot carry the block.
        """
        self.message = message
        self._start = block.start
        self._pieces = nested(_BLOCK, _pieces(block))
        self._data = b""
        self._begin = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.message, name)

    def SerializeToString(self) -> bytes:  # noqa: N802 -- protobuf's name
        """The whole request."""
        if not self._data:
            small = self.message.SerializeToString()
            self._begin = len(small) + len(self._pieces[0])
            self._data = b"".join([small, *self._pieces])
        return self._data

    def held(self) -> "HeldBlock":
        """Its block; shares the request's bytes."""
        return HeldBlock(self._start, memoryview(self.SerializeToString())[self._begin :])


class HeldBlock:
    """An encoded block that may have to be sent again."""

    __slots__ = ("_data", "start")

    def __init__(self, start: int, data: memoryview) -> None:
        """`start` is the block's first frame."""
        self.start = start
        self._data = data

    def message(self) -> pb.Block:
        """The block as a message of its own."""
        return pb.Block.FromString(bytes(self._data))


class Incoming:
    """A request as it arrived: the message, its payloads empty, and views of what they were."""

    __slots__ = ("message", "payloads")

    def __init__(self, message: WithBlock, payloads: bulk.Apart) -> None:
        self.message = message
        self.payloads = payloads

    def __getattr__(self, name: str) -> Any:
        return getattr(self.message, name)


def decode(kind: type[pb.AppendRequest] | type[pb.AdvanceRequest], data: bytes) -> "WithBlock | Incoming":
    """A request from its bytes. Raises DecodeError.

    What protobuf reads but `prune` refuses is left to protobuf: groups, and very many fields.
    """
    if len(data) <= _SMALL_BYTES:
        return kind.FromString(data)
    try:
        rest, payloads = prune(data, (_BLOCK, _PARTS, _PAYLOADS))
    except DecodeError:
        return kind.FromString(data)
    return Incoming(kind.FromString(rest), payloads)


def _pieces(block: Block) -> Pieces:
    message = pb.Block()
    bulk.put_all_but_parts(block, message)
    bulk.payloads_of(block)
    pieces: Pieces = [message.SerializeToString()]
    for i, (name, payloads) in enumerate(block.parts.items()):
        part: Pieces = [bulk.put_name(name, i, pb.Part()).SerializeToString()]
        for payload in payloads:
            part += nested(_PAYLOADS, [payload if type(payload) is bytes else _flat(payload)])
        pieces += nested(_PARTS, part)
    return pieces


def _flat(payload: Buffer) -> memoryview:
    """Its bytes whatever its items; a view of no items cannot be cast."""
    view = memoryview(payload)
    return view.cast("B") if view.nbytes else memoryview(b"")
