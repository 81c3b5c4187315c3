"""Request messages for the video KEY of LENGTH frames, right but for what a test changes."""

from collections.abc import Callable, Sequence
from typing import Any

from samples import block, embeddings

from memory_service import wire
from memory_service.types import VideoKey
from memory_service.v1 import memory_pb2 as pb
from memory_service.wire import bulk

SERVICE = pb.DESCRIPTOR.services_by_name["MemoryService"]
METHODS = {method.name: method for method in SERVICE.methods}
KEY = VideoKey("pool", "target")
LENGTH = 9

Send = Callable[..., Sequence[bytes]]
"""send(method, message, ...): sends bytes to a method as they are, one message or, where the method takes a
stream, any number. Returns the answers. Raises the ServiceError of the answer."""

BAD_IDS = [
    "",
    "../x",
    "a/b",
    ".",
    "..",
    "-x",
    "x" * 129,
    "x" * 200,
    "a\0b",
    "caf\u00e9",
    "\u2028",
    "a b",
    "a\n",
    "%2e",
]


def append_request(**changes: Any) -> pb.AppendRequest:
    request = pb.AppendRequest(key=wire.key_to_proto(KEY))
    bulk.put_block(block(LENGTH), request.block)
    for name, value in changes.items():
        setattr(request.block, name, value)
    return request


def query(**changes: Any) -> pb.Query:
    message = pb.Query(k=3, eligible=pb.Span(start=0, stop=9), embedding=embeddings(1, 1).tobytes())
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def search_request(*queries: pb.Query) -> pb.SearchRequest:
    return pb.SearchRequest(key=wire.key_to_proto(KEY), queries=queries)


def vectors(n: int, value: float) -> bytes:
    rows = embeddings(0, n)
    rows[-1, 3] = value
    return rows.tobytes()
