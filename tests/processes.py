"""Which processes are about something."""

from __future__ import annotations

from pathlib import Path


def processes_about(folder: Path) -> dict[int, str]:
    """Command lines of running processes that name a folder, by process id."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in words:
            found[int(path.parent.name)] = words
    return found
