"""Every error that the memory raises, in process and over the wire alike.

    ServiceError
    |- InvalidArgument       a field of the request cannot be right          INVALID_ARGUMENT
    |- NotFound              the video or the handle does not exist (any more)      NOT_FOUND
    |- AlreadyExists         same name or frame, other content                 ALREADY_EXISTS
    |- OutOfOrder            a block does not start where the video ends         OUT_OF_RANGE
    |- Fenced                the writer's epoch is over                               ABORTED
    |- Sealed                the video takes no more frames                FAILED_PRECONDITION
    |- NotEmpty              the pool still has videos                     FAILED_PRECONDITION
    |- Busy                  the data directory belongs to another process FAILED_PRECONDITION
    |- TooLarge              the request exceeds a limit, and always will   RESOURCE_EXHAUSTED
    |- Exhausted             a quota or the disk is used up                 RESOURCE_EXHAUSTED
    |- Overloaded            too much at once; trying again helps           RESOURCE_EXHAUSTED
    |- Unauthenticated       no token, or an unknown one                       UNAUTHENTICATED
    |- PermissionDenied      the token does not give the right               PERMISSION_DENIED
    |- Cancelled             the caller is gone                                      CANCELLED
    |- DataLoss              stored bytes fail their checksum                       DATA_LOSS
    |- Unavailable           the service cannot be reached                        UNAVAILABLE
    |- DeadlineExceeded      no answer in time                              DEADLINE_EXCEEDED
    `- Internal              a defect of the service                                 INTERNAL

`memory_service.wire.status` holds the one table from these classes to gRPC statuses and back.
"""

from collections.abc import Mapping


class ServiceError(Exception):
    """Base of all errors of the memory.

    `field` names the offending field of the request in the proto's spelling ("block.start"), or is empty
    where no single field is at fault; `expected` says what would have been accepted; `details` holds
    machine-readable extras (for `OutOfOrder`: "expected_start").
    """

    def __init__(
        self,
        message: str,
        *,
        field: str = "",
        expected: str = "",
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.expected = expected
        self.details = dict(details or {})

    def __str__(self) -> str:
        parts = [self.message]
        if self.field:
            parts.append(f"field: {self.field}")
        if self.expected:
            parts.append(f"expected: {self.expected}")
        return "; ".join(parts)


class InvalidArgument(ServiceError):
    """A field of the request cannot be right, whatever the state of the memory."""


class NotFound(ServiceError):
    """The video or the handle does not exist, or does not exist any more."""


class AlreadyExists(ServiceError):
    """The video or frame exists with other content; nothing was changed."""


class OutOfOrder(ServiceError):
    """A block does not start at the video's length; `expected_start` says where it must."""

    @property
    def expected_start(self) -> int:
        return int(self.details["expected_start"])


class Fenced(ServiceError):
    """The epoch that the writer holds is over: the video was truncated or created anew."""


class Sealed(ServiceError):
    """The video is sealed: it takes no more frames and cannot be truncated."""


class NotEmpty(ServiceError):
    """The pool still has videos, and they were not to be dropped with it."""


class TooLarge(ServiceError):
    """A message, block or batch exceeds a limit of the service; the same request always will."""


class Exhausted(ServiceError):
    """A quota or the disk is used up.

    `details` of a quota: "used", "allowed", "unit" ("bytes", "videos" or "pools").
    """


class Overloaded(ServiceError):
    """Too much at once; nothing was done. `retry_after_ms` says when trying again may help."""

    @property
    def retry_after_ms(self) -> int:
        return int(self.details["retry_after_ms"])


class Unauthenticated(ServiceError):
    """The call carries no token, or one that the server does not know."""


class PermissionDenied(ServiceError):
    """The token does not give the right that the call needs; `details` "right" and "pool" name it."""


class Cancelled(ServiceError):
    """The caller is gone or took the call back; it stopped at a safe point."""


class Busy(ServiceError):
    """The data directory is in use by another process."""


class DataLoss(ServiceError):
    """Stored bytes do not match their checksum."""


class Unavailable(ServiceError):
    """The service cannot be reached, or is draining."""


class DeadlineExceeded(ServiceError):
    """The call did not finish within its deadline; whether it took effect is unknown."""


class Internal(ServiceError):
    """A defect of the service itself; the server's log has the traceback."""
