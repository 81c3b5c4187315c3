"""The log of one video's retrievals, kept in its reel."""

import logging
from array import array
from collections.abc import Callable, Iterator
from dataclasses import replace

from memory_service.errors import ServiceError
from memory_service.records import pack_retrieval, unpack_retrieval
from memory_service.reel import Kind, Record
from memory_service.store.reel_file import ReelFile
from memory_service.types import Retrieval, VideoKey

_log = logging.getLogger(__name__)


class RetrievalLog:
    """Holds only where the entries lie. The caller serialises `note` and `add`."""

    def __init__(self, key: VideoKey, reel: ReelFile) -> None:
        self._key = key
        self._reel = reel
        self._offsets = array("q")

    def note(self, record: Record) -> None:
        """Take in an entry that the reel holds already."""
        self._offsets.append(record.offset)

    def add(self, retrieval: Retrieval) -> None:
        """Write an entry, or a warning when that fails: a full disk takes no read down with it."""
        try:
            self.note(self._reel.append(Kind.RETRIEVAL, pack_retrieval(retrieval)))
        except ServiceError as exc:
            _log.warning("retrieval not logged video=%s reason=%s", self._key, exc)

    def ends_with(self, retrieval: Retrieval) -> bool:
        """Whether the last entry is this one, but for its times."""
        if not self._offsets:
            return False
        last = unpack_retrieval(self._key, self._reel.record(self._offsets[-1]))
        return last == replace(retrieval, search_us=last.search_us, unix_ms=last.unix_ms)

    def entries(self) -> Iterator[Retrieval]:
        """The entries of this moment, oldest first, each read when it is asked for: the reel must be open."""
        return (unpack_retrieval(self._key, self._reel.record(offset)) for offset in self._offsets[:])

    def reader(self, start: int, limit: int | None, *, newest_first: bool) -> Callable[[], list[Retrieval]]:
        """Reads entries [start, start + limit) of this moment, later and without the caller's lock."""
        n = len(self._offsets)
        stop = n if limit is None else min(start + limit, n)
        wanted = (
            self._offsets[max(n - stop, 0) : max(n - start, 0)] if newest_first else self._offsets[start:stop]
        )
        offsets = wanted[::-1] if newest_first else wanted
        self._reel.view(0, self._reel.end)  # maps all of them, so that reading needs no open file
        return lambda: [unpack_retrieval(self._key, self._reel.record(offset)) for offset in offsets]
