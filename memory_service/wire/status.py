"""Errors to gRPC statuses and back: the one table.

A status carries a google.rpc.ErrorInfo of domain "memory.reverie": `reason` is the class in UPPER_SNAKE, the
metadata hold `field`, `expected` and the error's details. Overloaded brings a google.rpc.RetryInfo besides. A
status without an ErrorInfo comes from gRPC itself (no connection, deadline, message too large) and is read by
its code.
"""

import re

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from memory_service import errors
from memory_service.errors import Overloaded, ServiceError

DOMAIN = "memory.reverie"

CODES: dict[type[ServiceError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.OutOfOrder: grpc.StatusCode.OUT_OF_RANGE,
    errors.Fenced: grpc.StatusCode.ABORTED,
    errors.Busy: grpc.StatusCode.FAILED_PRECONDITION,
    errors.Sealed: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NotEmpty: grpc.StatusCode.FAILED_PRECONDITION,
    errors.TooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.DataLoss: grpc.StatusCode.DATA_LOSS,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Internal: grpc.StatusCode.INTERNAL,
}
"""Every ServiceError and its status."""

_CLASSES = {code: cls for cls, code in reversed(CODES.items())}
"""What a status without ErrorInfo stands for: the first class of its code in `CODES`."""

_OVERLOADED = "Concurrent RPC limit exceeded"
"""What gRPC's own refusal of one call too many says; RESOURCE_EXHAUSTED, though trying again helps."""

_OVERLOADED_RETRY_MS = 100
"""When to try again after that refusal, which does not say."""

_MAX_TEXT_BYTES = 500
"""UTF-8 kept of each text. Statuses travel in trailers, of which a client takes 8 KiB by default."""


def reason(cls: type[ServiceError]) -> str:
    """The class's name in UPPER_SNAKE, e.g. "OUT_OF_ORDER"."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).upper()


def to_status(error: ServiceError) -> grpc.Status:
    """The status to end a call with. Long texts are cut, undecodable ones made printable."""
    texts = {"field": error.field, "expected": error.expected, **error.details}
    info = error_details_pb2.ErrorInfo(
        reason=reason(type(error)),
        domain=DOMAIN,
        metadata={name: _printable(text) for name, text in texts.items() if text},
    )
    details = [_packed(info)]
    if isinstance(error, Overloaded):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(error.retry_after_ms)
        details.append(_packed(retry))
    code: int = CODES[type(error)].value[0]
    status = status_pb2.Status(code=code, message=_printable(error.message), details=details)
    converted: grpc.Status = rpc_status.to_status(status)
    return converted


def from_rpc_error(exc: grpc.RpcError) -> ServiceError:
    """The error that a failed call stands for."""
    assert isinstance(exc, grpc.Call)
    info = _error_info(exc)
    message = exc.details() or exc.code().name
    if info is None:
        return _foreign(exc.code(), message)
    details = dict(info.metadata)
    field, expected = details.pop("field", ""), details.pop("expected", "")
    known = {reason(cls): cls for cls in CODES}
    return known.get(info.reason, errors.Internal)(message, field=field, expected=expected, details=details)


def _foreign(code: grpc.StatusCode, message: str) -> ServiceError:
    if code is grpc.StatusCode.CANCELLED:
        return errors.Unavailable(message)
    if _OVERLOADED in message:
        return Overloaded(message, details={"retry_after_ms": str(_OVERLOADED_RETRY_MS)})
    if code in _CLASSES:
        return _CLASSES[code](message)
    return errors.Internal(f"{code.name}: {message}")


def _error_info(call: grpc.Call) -> error_details_pb2.ErrorInfo | None:
    try:
        status = rpc_status.from_call(call)
    except ValueError:  # the trailers contradict the status: not ours
        return None
    for packed in status.details if status is not None else ():
        info = error_details_pb2.ErrorInfo()
        if packed.Unpack(info) and info.domain == DOMAIN:
            return info
    return None


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def _printable(text: str) -> str:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= _MAX_TEXT_BYTES:
        return encoded.decode("utf-8")
    return encoded[:_MAX_TEXT_BYTES].decode("utf-8", "ignore") + " ..."
