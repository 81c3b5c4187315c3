"""What a server asks of its own process, before it has much memory and many files."""

import ctypes
import platform
import resource

KEPT_BYTES = 256 << 20
"""Freed memory that the process keeps for the next message."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Numbers of mallopt's parameters in glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Let glibc reuse the buffers of large messages instead of returning them to the kernel page by page."""
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)


def allow_open_files() -> None:
    """As many as the system lets this process have: an open video takes some ten, for its maps."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
