"""What every boundary check is made of: one value, its field in the proto's spelling, what is expected."""

from collections.abc import Mapping

import numpy as np

from memory_service.errors import InvalidArgument, TooLarge
from memory_service.types import Embeddings

MAX_INT = 2**63 - 1
"""Largest frame number, count and time: the wire's int64."""

_INFINITY = float("inf")
_MAX_FLOAT = float(np.finfo(np.float32).max)


def check_whole(value: object, field: str, *, least: int = 0, most: int = MAX_INT) -> None:
    """Raises InvalidArgument unless `value` is an integer of [least, most]."""
    if type(value) is int and least <= value <= most:
        return
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not least <= value <= most:
        raise InvalidArgument(f"{value!r} is out of range", field=field, expected=f"{least} to {most}")


def check_number(value: object, field: str, *, least: float = -_MAX_FLOAT, most: float = _MAX_FLOAT) -> None:
    """Raises InvalidArgument unless `value` is a number of [least, most], which NaN never is."""
    if type(value) is float and least <= value <= most:
        return
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not is_number or not least <= value <= most:  # type: ignore[operator]
        raise InvalidArgument(
            f"{value!r} is out of range", field=field, expected=f"a number of [{least:g}, {most:g}]"
        )


def check_size(size: int, most: int, field: str, what: str, *, unit: str = "bytes") -> None:
    """Raises TooLarge, naming `what` has so many units."""
    if size > most:
        raise TooLarge(f"{what}: {size} {unit}", field=field, expected=f"at most {most} {unit}")


def check_vectors(vectors: Embeddings, dim: int, ndim: int, field: str) -> None:
    """Raises InvalidArgument unless `vectors` are float32 [D] or [n, D], finite, none of them zero."""
    if not isinstance(vectors, np.ndarray) or vectors.dtype != np.float32:
        found = vectors.dtype if isinstance(vectors, np.ndarray) else type(vectors).__name__
        raise InvalidArgument(f"embeddings are {found}", field=field, expected="an array of float32")
    if vectors.ndim != ndim or vectors.shape[-1] != dim:
        shape = f"[n, {dim}]" if ndim == 2 else f"[{dim}]"
        raise InvalidArgument(f"embeddings have shape {list(vectors.shape)}", field=field, expected=shape)
    for row in vectors if ndim == 2 else (vectors,):
        doubles = row.astype(np.float64)  # in which no square of a float32 over- or underflows
        if not 0.0 < doubles.dot(doubles) < _INFINITY:
            break
    else:
        return
    if not np.isfinite(vectors).all():
        raise InvalidArgument("an embedding is not finite", field=field, expected="finite values")
    if not vectors.any(axis=-1).all():
        raise InvalidArgument("an embedding is zero", field=field, expected="a direction")


def text_bytes(texts: Mapping[str, str], field: str) -> int:
    """Bytes of UTF-8 of keys and values. Raises InvalidArgument unless they are text by non-empty key."""
    size = 0
    for name, value in texts.items():
        if not isinstance(name, str) or not isinstance(value, str) or not name:
            raise InvalidArgument(
                f"bad metadata entry {str(name)[:140]!r}", field=field, expected="text by non-empty key"
            )
        size += len(utf8(name, field)) + len(utf8(value, field))
    return size


def utf8(text: str, field: str) -> bytes:
    """The text's bytes. Raises InvalidArgument for lone surrogates."""
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidArgument("text is not Unicode", field=field, expected="UTF-8") from exc
