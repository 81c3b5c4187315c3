"""How `reverie-memory` exits, so that scripts can tell what went wrong."""

from memory_service import errors
from memory_service.errors import ServiceError

DONE = 0
FAILED = 1
INTERRUPTED = 130

MEANINGS = {
    DONE: "done",
    FAILED: "an error of the service or of this machine",
    2: "wrong usage, or a request that cannot be right",
    3: "not found",
    4: "the data directory or the address is another process's",
    5: "the memory was not reached, or did not answer in time",
    6: "stored bytes are damaged",
    7: "no token, an unknown one, or one without the right",
    8: "a quota, a limit or the disk is used up, or the memory has too much to do",
    9: "the state of the video or pool forbids it: it exists, is sealed, not empty, or has moved on",
    INTERRUPTED: "interrupted",
}
"""Every exit code."""

EXIT_CODES: dict[type[ServiceError], int] = {
    errors.InvalidArgument: 2,
    errors.NotFound: 3,
    errors.Busy: 4,
    errors.Unavailable: 5,
    errors.DeadlineExceeded: 5,
    errors.DataLoss: 6,
    errors.Unauthenticated: 7,
    errors.PermissionDenied: 7,
    errors.TooLarge: 8,
    errors.Exhausted: 8,
    errors.Overloaded: 8,
    errors.AlreadyExists: 9,
    errors.OutOfOrder: 9,
    errors.Fenced: 9,
    errors.Sealed: 9,
    errors.NotEmpty: 9,
    errors.Cancelled: FAILED,
    errors.Internal: FAILED,
}
"""Every error and its exit code."""
