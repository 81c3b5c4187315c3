"""What an error of the operating system means to a caller of the memory."""

import errno

from memory_service.errors import Exhausted, ServiceError, Unavailable

_FULL = {
    errno.ENOSPC: "free space on its disk",
    errno.EDQUOT: "free space within its disk quota",
    errno.EMLINK: "fewer forks that share one reel: the file system gives a file no more names",
    errno.EFBIG: "a higher limit on the size of files",
}

_REMEDIES = {
    errno.EIO: "a disk that works: see the kernel's log",
    errno.EROFS: "a file system that is mounted for writing",
    errno.EACCES: "permission for the user that runs the service",
    errno.EPERM: "permission for the user that runs the service",
    errno.EMFILE: "a higher limit of open files, or fewer videos kept open",
    errno.ENFILE: "fewer open files on this machine",
    errno.ENOMEM: "free memory",
    errno.ELOOP: "a file, not a symbolic link",
    errno.EISDIR: "a file, not a directory",
    errno.ENOTDIR: "a directory where a file stands",
    errno.ENAMETOOLONG: "a shorter path to the data directory",
    errno.ESTALE: "a file system that is still mounted",
}


def storage_error(what: str, exc: OSError) -> ServiceError:
    """`what` failed with `exc`: Exhausted where space or quota is used up, Unavailable otherwise.

    `expected` says what would let it work, `details["errno"]` names the error.
    """
    number = exc.errno or 0
    reason = f"{what}: {exc.strerror or exc}"
    details = {"errno": errno.errorcode.get(number, "")}
    if number in _FULL:
        return Exhausted(reason, expected=_FULL[number], details=details)
    return Unavailable(reason, expected=_REMEDIES.get(number, "storage that works"), details=details)
