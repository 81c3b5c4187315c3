"""The one place where the generator builds its memory: a client of a service, or an engine in process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from memory_service.memory import Memory

EMBEDDED = "embedded:"


def connect(where: str, environment: Mapping[str, str] | None = None) -> Memory:
    """The memory named by "host:port", "unix:/path" or "embedded:DIR".

    `environment` may hold a token and TLS files for a service, see `memory_service.remote.credentials`. An
    embedded memory creates its directory and has it alone. Raises ServiceError, and ValueError on an empty
    directory name.
    """
    if where.startswith(EMBEDDED):
        from memory_service.engine import MemoryEngine

        directory = where.removeprefix(EMBEDDED)
        if not directory:
            raise ValueError(f"{where!r} names no directory; expected {EMBEDDED}DIR")
        return MemoryEngine(Path(directory))
    from memory_service.client import MemoryClient
    from memory_service.remote.credentials import Credentials

    who = Credentials.from_environment(environment or {})
    return MemoryClient(where, token=who.token, tls=who.tls)
