"""Embeddings as little-endian float32 bytes.

D embedding dimension, n vectors.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from memory_service.errors import InvalidArgument
from memory_service.types import Embeddings
from memory_service.wire.fields import few, fill

FLOAT_BYTES = 4
_FLOAT = np.dtype("<f4")


def vectors_from_bytes(data: bytes, count: int, field: str) -> Embeddings:
    """`data` as `count` float32 vectors [count, D], read-only and without a copy."""
    if not data or len(data) % (count * FLOAT_BYTES):
        raise _cut(data, count, field)
    return np.frombuffer(data, _FLOAT).reshape(count, -1)


def vector_from_bytes(data: bytes, field: str) -> Embeddings:
    """`data` as one float32 vector [D], read-only and without a copy."""
    if not data or len(data) % FLOAT_BYTES:
        raise _cut(data, 1, field)
    return np.frombuffer(data, _FLOAT)


def vectors_to_bytes(vectors: Embeddings, ndim: int, field: str) -> bytes:
    """A float32 array of `ndim` axes as little-endian bytes; the bytes of any other would mislead."""
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32 or vectors.ndim != ndim:
        found = f"{vectors.dtype} array" if isinstance(vectors, np.ndarray) else type(vectors).__name__
        raise InvalidArgument(
            f"{field} is a {found} of shape {list(np.shape(vectors))}",
            field=field,
            expected=f"a float32 array of {ndim} axes",
        )
    return vectors.astype(_FLOAT, copy=False).tobytes()


def put_named(named: Mapping[str, Embeddings], ndim: int, repeated: Any, field: str) -> None:
    """Further embeddings into a repeated NamedEmbeddings: [n, D] each for `ndim` 2, [D] for 1."""
    for i, (name, vectors) in enumerate(named.items()):
        message = fill(repeated.add(), f"{field}[{i}].", name=name)
        message.embeddings = vectors_to_bytes(vectors, ndim, f"{field}[{i}].embeddings")


def named_from_proto(repeated: Any, count: int, field: str) -> dict[str, Embeddings]:
    """Float32 [count, D] by name. Raises InvalidArgument where a name comes twice or a vector is cut."""
    named: dict[str, Embeddings] = {}
    for i, message in enumerate(few(repeated, field)):
        if message.name in named:
            raise InvalidArgument(
                f"{message.name!r} is there twice", field=f"{field}[{i}].name", expected="another name"
            )
        named[message.name] = vectors_from_bytes(message.embeddings, count, f"{field}[{i}].embeddings")
    return named


def _cut(data: bytes, count: int, field: str) -> InvalidArgument:
    return InvalidArgument(
        f"{field} has {len(data)} bytes",
        field=field,
        expected=f"{count} vectors of float32 values: a positive multiple of {count * FLOAT_BYTES} bytes",
    )
