"""Threads in the background, as a watchdog sees them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Worker:
    """One background thread: whether it runs, and when it last showed a sign of life.

    `beat` is a time of `time.monotonic`. A thread that is well beats at least every `period_s` seconds,
    whether it has anything to do or not; one that is held up by the disk does not.
    """

    name: str
    alive: bool
    beat: float
    period_s: float
