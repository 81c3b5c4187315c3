"""What forks share, in the books of their pools: each file of records once per pool."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from memory_service.pooling.quota import Ledger
from memory_service.types import VideoKey


@dataclass(frozen=True, slots=True)
class SharedReel:
    """One file that a fork reads: its inode, up to which byte, and the pool in which a video owns it.

    `home` is None where that video is gone; then `num_bytes`, the size of the file, counts.
    """

    inode: int
    used_bytes: int
    num_bytes: int
    home: str | None


@dataclass(slots=True)
class _File:
    home: str | None
    num_bytes: int
    used: dict[str, dict[VideoKey, int]] = field(default_factory=dict)

    def cost(self, pool: str) -> int:
        """What it adds to a pool, beyond what the video there whose own reel it is has booked."""
        used = self.used.get(pool)
        if not used or self.home == pool:
            return 0
        return self.num_bytes if self.home is None else max(used.values())


class Shares:
    """Who shares which file. Safe for threads; memory for forks only, none for other videos.

    A file costs nothing more in the pool of the video whose reel it is: that video pays. In another it costs
    as much as forks there use of it, however long it grows, and its whole size once that video is gone and
    only forks keep it on the disk.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._files: dict[int, _File] = {}
        self._inodes: dict[VideoKey, tuple[int, ...]] = {}
        self._lock = threading.Lock()

    def link(self, key: VideoKey, shared: Sequence[SharedReel], *, refuse: bool = True) -> None:
        """A fork that shares these files. With `refuse` raises Exhausted, and nothing is shared then."""
        with self._lock:
            more = 0
            for one in shared:
                file = self._files.setdefault(one.inode, _File(one.home, one.num_bytes))
                before = file.cost(key.pool)
                file.used.setdefault(key.pool, {})[key] = one.used_bytes
                more += file.cost(key.pool) - before
            if shared:
                self._inodes[key] = tuple(one.inode for one in shared)
            try:
                (self._ledger.book if refuse else self._ledger.correct)(key.pool, more)
            except BaseException:
                self._remove(key)
                raise

    def unlink(self, key: VideoKey) -> None:
        """A fork that is gone; any other video shares nothing."""
        if key in self._inodes:
            with self._lock:
                self._ledger.correct(key.pool, -self._remove(key))

    def orphan(self, inode: int, num_bytes: int) -> None:
        """The video whose reel this is, `num_bytes` long, is gone; forks may keep the file."""
        with self._lock:
            file = self._files.get(inode)
            if file is not None:
                before = {pool: file.cost(pool) for pool in file.used}
                file.home, file.num_bytes = None, num_bytes
                for pool, cost in before.items():
                    self._ledger.correct(pool, file.cost(pool) - cost)

    def clear(self) -> None:
        """Forget everything, and leave the books to whoever forgets the pools."""
        with self._lock:
            self._files.clear()
            self._inodes.clear()

    def is_fork(self, key: VideoKey) -> bool:
        """Whether a video shares the reels of others."""
        return key in self._inodes

    def is_shared(self, inode: int) -> bool:
        """Whether a fork shares the file."""
        return inode in self._files

    def _remove(self, key: VideoKey) -> int:
        """Forget what a fork shares; returns what its pool no longer has to pay."""
        less = 0
        for inode in self._inodes.pop(key, ()):
            file = self._files[inode]
            before = file.cost(key.pool)
            del file.used[key.pool][key]
            if not file.used[key.pool]:
                del file.used[key.pool]
            less += before - file.cost(key.pool)
            if not file.used:
                del self._files[inode]
        return less
