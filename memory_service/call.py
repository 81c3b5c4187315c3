"""One call to the memory while it runs: what its log line and its observer are told."""

import logging
import time
from typing import Protocol

import grpc

from memory_service.errors import ServiceError

_log = logging.getLogger("memory_service.requests")


class Observer(Protocol):
    """Hears of every call; called in the call's thread, must be quick and must not raise."""

    def began(self, method: str) -> None:
        """A call got its thread; `method` is the bare name, e.g. "Advance"."""

    def finished(self, method: str, status: str, seconds: float, bytes_in: int, bytes_out: int) -> None:
        """A call that began ended; `status` is the name of a gRPC status, `seconds` the time in its thread."""


class Call:
    """One call, from the moment it has its thread."""

    def __init__(self, method: str, context: grpc.ServicerContext, observer: Observer | None) -> None:
        self._method = method
        self._context = context
        self._observer = observer
        self._began = time.perf_counter()
        self._bytes_in = 0
        self._bytes_out = 0
        if observer is not None:
            observer.began(method)

    def receives(self, num_bytes: int) -> None:
        """A message came in."""
        self._bytes_in += num_bytes

    def sends(self, num_bytes: int) -> None:
        """A message goes out."""
        self._bytes_out += num_bytes

    def finish(self, status: str, error: ServiceError | None = None) -> None:
        """Log the call, once, at its end."""
        seconds = time.perf_counter() - self._began
        _log.info(
            "method=%s status=%s ms=%.2f bytes_in=%d bytes_out=%d%s",
            self._method,
            status,
            seconds * 1e3,
            self._bytes_in,
            self._bytes_out,
            f" field={error.field!r}" if error is not None and error.field else "",
        )
        if self._observer is not None:
            self._observer.finished(self._method, status, seconds, self._bytes_in, self._bytes_out)
