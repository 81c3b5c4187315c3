"""One request of a stream and its answer, where each counts as a call of its own."""

import time
from collections.abc import Callable, Mapping

from memory_service.serving.observer import Observer

COUNTED: Mapping[str, str] = {"AdvanceStream": "Advance"}
"""Streams whose every request is logged and measured, and as a call of which method."""

Report = Callable[[str, str, float, int, int, str], None]
"""Takes note of a call: method, status, seconds, bytes in and out, the field that an error names."""


class Exchange:
    """The request that a counted stream is at. Its call's thread uses it."""

    __slots__ = ("_began", "_bytes_in", "_method", "_observer", "_report")

    def __init__(self, method: str, report: Report, observer: Observer | None) -> None:
        self._method = method
        self._observer = observer
        self._report = report
        self._began = 0.0
        self._bytes_in = -1

    def begin(self, num_bytes: int) -> None:
        """A request came."""
        if self._observer is not None:
            self._observer.began(self._method)
        self._began = time.perf_counter()
        self._bytes_in = num_bytes

    def end(self, num_bytes: int, status: str = "OK", field: str = "") -> None:
        """It was answered, or what answers it ends the stream; nothing where no request is open."""
        if self._bytes_in < 0:
            return
        seconds = time.perf_counter() - self._began
        bytes_in, self._bytes_in = self._bytes_in, -1
        self._report(self._method, status, seconds, bytes_in, num_bytes, field)
