"""What an error of the operating system means to a caller of the memory."""

import errno

from memory_service.errors import ServiceError, TooLarge, Unavailable

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def storage_error(what: str, exc: OSError) -> ServiceError:
    """`what` failed with `exc`: TooLarge where space or quota is used up, Unavailable otherwise."""
    reason = f"{what}: {exc.strerror or exc}"
    details = {"errno": errno.errorcode.get(exc.errno or 0, "")}
    if exc.errno in _FULL:
        return TooLarge(reason, details=details)
    return Unavailable(reason, details=details)
