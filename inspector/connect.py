"""A memory to look into: a running service by its address, or a data directory that no service has open."""

from __future__ import annotations

from pathlib import Path

from memory_service.memory import Memory


def service(address: str) -> Memory:
    """A client of the service at "host:port" or "unix:/path"."""
    from memory_service.client import MemoryClient

    return MemoryClient(address)


def directory(path: Path) -> Memory:
    """A read-only engine over a data directory. Raises FileNotFoundError where there is none."""
    from memory_service.engine import MemoryEngine

    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no directory")
    return MemoryEngine.open_read_only(path)
