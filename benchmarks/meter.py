"""What processes use, as the kernel counts it."""

import os
import time
from collections.abc import Iterable
from pathlib import Path


def family(pids: Iterable[int]) -> tuple[int, ...]:
    """The processes and all their descendants that live now."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {pid for pid in pids if pid in parents}
    while grown := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= grown
    return tuple(sorted(found))


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time of processes so far, in nanosecond resolution; one that is gone counts nothing."""
    total = 0.0
    for pid in pids:
        try:
            total += time.clock_gettime((~pid << 3) | 2)  # CPUCLOCK_SCHED of that process, as libc makes it
        except OSError:
            continue
    return total


def anonymous_bytes(pids: Iterable[int]) -> int:
    """Resident memory of processes that is no page cache: anonymous pages and shared memory segments.

    Segments count once, in the process that has touched most of them: those of one server share theirs.
    """
    members = tuple(pids)
    shared = max((_status(pid, "RssShmem") for pid in members), default=0)
    return sum(_status(pid, "RssAnon") for pid in members) + shared


def resident_bytes(pid: int) -> int:
    """All resident memory of a process."""
    return _status(pid, "VmRSS")


def disk_bytes(folder: Path) -> int:
    """What the files under a folder occupy on the disk."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(root, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def _status(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)
