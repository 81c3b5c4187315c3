"""What verifying a data directory can find."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from memory_service.types import Span


class Class(StrEnum):
    """What a finding means."""

    DAMAGE = "damage"
    """Bytes that were durable are wrong or missing, or not those of this video: the service refuses it."""

    TORN_TAIL = "torn tail"
    """What a crash left of records that nothing proves durable: the service cuts it on opening the video."""

    NEWER = "newer format"
    """A valid record that this version cannot read: what follows it was not verified."""

    UNREADABLE = "unreadable"
    """The operating system did not give the bytes: they were not verified."""

    ORPHAN = "orphan"
    """Left by a crash and used by nothing; the service ignores or removes it."""

    FOREIGN = "foreign"
    """Not the memory's; the service ignores it."""


class Part(StrEnum):
    """Where in a reel, or instead of one, something is wrong."""

    PREFIX = "prefix"
    HEADER = "header"
    HEADER_PADDING = "header padding"
    BODY = "body"
    BODY_PADDING = "body padding"
    SEQUENCE = "sequence"
    MISSING = "missing record"
    TAIL = "tail"
    NAME = "name"
    FILE = "file"
    BASE = "base"
    POOL_SPEC = "pool spec"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    `offset` and `record` (its sequence number) say where in the file `path`; None where that is no place in a
    reel. `frames` are the latent frames that are affected; with `open_end` so are those behind them of which
    nothing tells any more how many there were. `intact` frames of the video are not affected by any finding.
    """

    path: Path
    kind: Class
    part: Part
    message: str
    pool: str = ""
    video: str = ""
    offset: int | None = None
    record: int | None = None
    frames: tuple[Span, ...] = ()
    open_end: bool = False
    intact: int = 0
