"""Bytes that come in buffers of any size, in chunks of one size."""

from collections.abc import Iterable, Iterator

from memory_service.errors import InvalidArgument
from memory_service.types import Buffer


def in_chunks(buffers: Iterable[Buffer], chunk_bytes: int) -> Iterator[bytes]:
    """The bytes of `buffers` in chunks of `chunk_bytes`, the last one shorter. Raises InvalidArgument."""
    chunk = bytearray()
    for buffer in buffers:
        try:
            rest = memoryview(buffer).cast("B")
        except TypeError as exc:
            raise InvalidArgument(
                f"a chunk is {type(buffer).__name__}", field="data", expected="contiguous buffers of bytes"
            ) from exc
        while len(rest):
            part = rest[: chunk_bytes - len(chunk)]
            chunk += part
            rest = rest[len(part) :]
            if len(chunk) == chunk_bytes:
                yield bytes(chunk)
                chunk.clear()
    if chunk:
        yield bytes(chunk)
