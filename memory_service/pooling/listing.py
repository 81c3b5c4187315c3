"""The videos of a pool by name, page by page, without opening any."""

import logging
from collections.abc import Sequence
from itertools import islice

from memory_service.errors import DataLoss, NotFound, ServiceError, Unavailable
from memory_service.pooling.quota import Account, Ledger
from memory_service.pooling.slots import Slots
from memory_service.store.files import FileStore
from memory_service.store.scan import Recovery
from memory_service.types import VideoInfo, VideoKey

_log = logging.getLogger(__name__)


class Listing:
    """Safe for threads. The names of a pool are read once per page, and records of the page's videos only."""

    def __init__(
        self,
        slots: Slots,
        store: FileStore,
        ledger: Ledger,
        recoveries: list[Recovery],
        *,
        read_only: bool,
    ) -> None:
        """`recoveries` takes the torn tails that are cut on the way."""
        self._slots = slots
        self._store = store
        self._ledger = ledger
        self._recoveries = recoveries
        self._read_only = read_only

    def page(self, pool: str, after: str, limit: int | None) -> Sequence[VideoInfo]:
        """The first `limit` videos behind `after`; what cannot be read is logged and left out."""
        self._slots.check_open()
        found = (info for key in self._store.keys(pool, after) if (info := self._glance(key)) is not None)
        return list(islice(found, limit))

    def _glance(self, key: VideoKey) -> VideoInfo | None:
        """Where a video stands. What a former process left of it is durable then, but it stays cold."""
        try:
            with self._slots.locked(key) as slot:
                if slot.video is not None and not self._read_only:
                    return slot.video.info()
                there, _ = self._store.peek(key)
                if self._read_only or there.state.durable == there.state.length:
                    return there
                return self._settled(key, there)
        except NotFound:
            return None
        except (DataLoss, Unavailable) as exc:
            _log.error("video left out of list pool=%s video=%s reason=%s", key.pool, key.video, exc)
            return None

    def _settled(self, key: VideoKey, there: VideoInfo) -> VideoInfo:
        account = Account(self._ledger, key.pool, self._store.stat(key).st_size)
        try:
            info, found = self._store.settle(key, account)
        except ServiceError as exc:
            _log.error("video not settled pool=%s video=%s reason=%s", key.pool, key.video, exc)
            return there
        finally:
            account.settle(self._store.stat(key).st_size, mark_due=False)
        if found.recovery is not None:
            self._recoveries.append(found.recovery)
        return info
