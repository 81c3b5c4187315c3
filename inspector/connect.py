"""A memory to look into: a running service by its address, or a data directory that no service has open."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from memory_service.memory import Memory


def service(address: str, environment: Mapping[str, str]) -> Memory:
    """A client of the service at "host:port" or "unix:/path".

    `environment` may hold a token and TLS files, see `memory_service.remote.credentials`.
    """
    from memory_service.client import MemoryClient
    from memory_service.remote.credentials import Credentials

    who = Credentials.from_environment(environment)
    return MemoryClient(address, token=who.token, tls=who.tls)


def directory(path: Path) -> Memory:
    """A read-only engine over a data directory. Raises FileNotFoundError where there is none."""
    from memory_service.engine import MemoryEngine

    if not path.is_dir():
        raise FileNotFoundError(f"{path} is no directory")
    return MemoryEngine.open_read_only(path)
