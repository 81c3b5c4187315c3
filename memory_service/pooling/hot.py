"""Which videos are open, what they cost, and which of them is closed next."""

from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import count

from memory_service.types import VideoKey


@dataclass(slots=True)
class _Share:
    """The open videos of one pool; the idle ones in the order of their last use, each with its turn."""

    num_videos: int = 0
    num_bytes: int = 0
    idle: OrderedDict[VideoKey, int] = field(default_factory=OrderedDict)


class HotSet:
    """Least recently used within a pool, fair between pools. The caller serialises all calls.

    Over a budget of V videos or B bytes, P pools with open videos have V/P and B/P each as their share. The
    pool that has most is cooled first, and none below its share ever is: what one pool opens never closes
    what another uses within its share. Videos in use are not closed, so the budgets may be exceeded by them.
    """

    def __init__(self, *, max_videos: int, max_bytes: int) -> None:
        """`max_bytes` of indexes and tables in memory; 0 is no limit."""
        self._max_videos = max_videos
        self.max_bytes = max_bytes
        self._shares: dict[str, _Share] = {}
        self._costs: dict[VideoKey, int] = {}
        self._turns = count()
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._costs)

    @property
    def exceeded(self) -> bool:
        """Whether more is open than a budget allows."""
        return len(self._costs) > self._max_videos or 0 < self.max_bytes < self.num_bytes

    def share(self, pool: str) -> tuple[int, int]:
        """Number of open videos of a pool, and the bytes of their indexes."""
        share = self._shares.get(pool)
        return (0, 0) if share is None else (share.num_videos, share.num_bytes)

    def use(self, key: VideoKey) -> None:
        """A video that is opened or used again: not idle for now."""
        share = self._shares.get(key.pool)
        if share is not None and share.idle.pop(key, None) is not None:
            return
        if key not in self._costs:
            self._costs[key] = 0
            self._shares.setdefault(key.pool, _Share()).num_videos += 1

    def rest(self, key: VideoKey, num_bytes: int, *, closable: bool) -> None:
        """A video that nobody uses any more, and what it costs now."""
        share = self._shares[key.pool]
        more = num_bytes - self._costs[key]
        self._costs[key] = num_bytes
        share.num_bytes += more
        self.num_bytes += more
        if closable:
            share.idle[key] = next(self._turns)

    def close(self, key: VideoKey) -> None:
        """A video that is not open any more; idempotent."""
        if key not in self._costs:
            return
        share = self._shares[key.pool]
        cost = self._costs.pop(key)
        self.num_bytes -= cost
        share.num_bytes -= cost
        share.num_videos -= 1
        share.idle.pop(key, None)
        if not share.num_videos:
            del self._shares[key.pool]

    def next_to_close(self, keep: VideoKey | None = None) -> VideoKey | None:
        """The idle video to close while a budget is exceeded, other than `keep`; None when there is none."""
        if self.max_bytes and self.num_bytes > self.max_bytes:
            pools = {pool: share.num_bytes for pool, share in self._shares.items()}
            return self._oldest_of_largest(pools, self.max_bytes, keep)
        if len(self._costs) > self._max_videos:
            pools = {pool: share.num_videos for pool, share in self._shares.items()}
            return self._oldest_of_largest(pools, self._max_videos, keep)
        return None

    def _oldest_of_largest(
        self, pools: dict[str, int], budget: int, keep: VideoKey | None
    ) -> VideoKey | None:
        """The idle video used the longest ago, of the pool that is furthest over its share."""
        best: tuple[int, int, VideoKey] | None = None
        for pool, amount in pools.items():
            if amount * len(pools) <= budget:
                continue
            idle = ((key, turn) for key, turn in self._shares[pool].idle.items() if key != keep)
            key, turn = next(idle, (None, 0))
            if key is not None and (best is None or (amount, -turn) > best[:2]):
                best = (amount, -turn, key)
        return None if best is None else best[2]
