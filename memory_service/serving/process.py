"""What a server asks of its own process, before it has much memory and many files."""

import ctypes
import gc
import platform
import resource

KEPT_BYTES = 256 << 20
"""Freed memory that each arena keeps for the next message."""

_MOST_ARENAS = 2
"""Each thread would get an arena of its own otherwise: 16 streams that had sent 12 MiB each left 770 MB."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
"""Numbers of mallopt's parameters in glibc's malloc.h."""


def keep_freed_memory() -> None:
    """Let glibc reuse the buffers of large messages instead of returning them to the kernel page by page."""
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
        mallopt(_M_ARENA_MAX, _MOST_ARENAS)


def allow_open_files() -> None:
    """As many as the system lets this process have: an open video takes some ten, for its maps."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def forget_what_stays() -> None:
    """Let the garbage collector pass over what is there now: looking at it took 8 % of a busy server."""
    gc.collect()
    gc.freeze()
