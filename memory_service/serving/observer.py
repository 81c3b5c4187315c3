"""Who is told about calls."""

from typing import Protocol


class Observer(Protocol):
    """Hears of every call, in its thread: must be quick, and whatever it raises is a defect."""

    def began(self, method: str) -> None:
        """A call got its thread; `method` is the bare name, e.g. "Advance"."""

    def finished(self, method: str, status: str, seconds: float, bytes_in: int, bytes_out: int) -> None:
        """A call that began has ended, with the name of a gRPC status and the time since it began."""
