"""Scalar fields, maps and repeated fields of any message."""

from collections.abc import Mapping, Sized
from typing import Any, TypeVar

from google.protobuf.message import Message

from memory_service.errors import InvalidArgument, TooLarge

MOST_ELEMENTS = 65_536
"""Most elements of a repeated field or map that are unwired; what the memory allows is less."""

_Message = TypeVar("_Message", bound=Message)
_Elements = TypeVar("_Elements", bound=Sized)


def fill(message: _Message, prefix: str = "", **values: object) -> _Message:
    """`message` with scalar fields set; None leaves one unset.

    Raises InvalidArgument naming `prefix` + field where protobuf refuses a value's type or range.
    """
    for name, value in values.items():
        try:
            if value is not None:
                setattr(message, name, value)
        except (TypeError, ValueError) as exc:
            raise _unfit(prefix + name, exc) from exc
    return message


def extend(repeated: Any, values: Any, field: str) -> None:
    """Add scalars to a repeated field. Raises InvalidArgument."""
    try:
        repeated.extend(values)
    except (TypeError, ValueError) as exc:
        raise _unfit(field, exc) from exc


def update(target: Any, values: Mapping[Any, Any], field: str) -> None:
    """Add scalars to a map. Raises InvalidArgument."""
    try:
        target.update(values)
    except (TypeError, ValueError, AttributeError) as exc:
        raise _unfit(field, exc) from exc


def few(elements: _Elements, field: str) -> _Elements:
    """`elements` of a message that arrived. Raises TooLarge: a request must not cost a million objects."""
    if len(elements) > MOST_ELEMENTS:
        raise TooLarge(f"{len(elements)} elements", field=field, expected=f"at most {MOST_ELEMENTS}")
    return elements


def require(message: Message, *names: str, prefix: str = "") -> None:
    """Raises InvalidArgument unless these submessages are present."""
    for name in names:
        if not message.HasField(name):
            raise InvalidArgument(
                f"{prefix}{name} is missing", field=prefix + name, expected="a message, even if empty"
            )


def _unfit(field: str, exc: Exception) -> InvalidArgument:
    name = field.rpartition(".")[2]
    return InvalidArgument(
        f"{name} cannot be sent: {exc}", field=field, expected="a value that fits its message"
    )
