"""The pools of one memory: their specs, what they use, and their coming and going."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from memory_service.errors import (
    AlreadyExists,
    Exhausted,
    NotEmpty,
    NotFound,
    ServiceError,
    Unavailable,
)
from memory_service.pooling.census import take_census
from memory_service.pooling.expiry import Expiry
from memory_service.pooling.quota import Booked, Ledger
from memory_service.pooling.shares import Shares
from memory_service.store.pool_files import PoolFiles
from memory_service.types import PoolInfo, PoolSpec, PoolUsage

_log = logging.getLogger(__name__)


class Pools:
    """Safe for threads. A pool that is being dropped takes no new videos.

    Nobody waits for the disk under the lock of all pools: whoever writes a pool's spec or removes its
    directory is alone with that pool, and only those who would change or make it wait for them.

    A pool whose spec cannot be read takes no new bytes until `update` gives it another: without it nobody
    knows what it may use. The other pools go on.
    """

    def __init__(
        self,
        files: PoolFiles,
        ledger: Ledger,
        expiry: Expiry,
        shares: Shares,
        *,
        default: PoolSpec,
        max_pools: int,
        hot: Callable[[str], tuple[int, int]],
        read_only: bool,
    ) -> None:
        """`default` is the spec of pools that nobody created by name, `hot` what of a pool is open.

        From `max_pools` on no more are made; 0 is no limit.
        """
        self._files = files
        self._ledger = ledger
        self._expiry = expiry
        self._shares = shares
        self._default = default
        self._max_pools = max_pools
        self._hot = hot
        self._read_only = read_only
        self._specs: dict[str, PoolSpec | Callable[[], ServiceError]] = {}
        self._entered: dict[str, int] = {}
        self._dropping: set[str] = set()
        self._changing: set[str] = set()
        self._unproven: set[str] = set()  # made for a video that is not there yet
        self._changed = threading.Condition(threading.Lock())
        if not read_only:
            self._load()

    def create(self, pool: str, spec: PoolSpec) -> PoolInfo:
        """See `Memory.create_pool`."""
        with self._alone(pool):
            there = self._spec(pool)
            if there is None:
                self._make(pool, spec)
            elif there != spec:
                raise AlreadyExists(
                    f"pool {pool} is there with another spec", field="spec", expected=str(there)
                )
            with self._changed:
                self._unproven.discard(pool)
                return self._info(pool)

    def get(self, pool: str) -> PoolInfo:
        """See `Memory.get_pool`."""
        with self._changed:
            if self._read_only:
                self._look()
            return self._info(pool)

    def list(self) -> Sequence[PoolInfo]:
        """See `Memory.list_pools`. What cannot be read is logged and left out."""
        with self._changed:
            if self._read_only:
                self._look()
            found = []
            for pool in sorted(self._specs):
                try:
                    found.append(self._info(pool))
                except ServiceError as exc:
                    _log.error("pool left out of list pool=%s reason=%s", pool, exc)
            return found

    def total(self) -> Booked:
        """What all pools together use."""
        if self._read_only:
            with self._changed:
                self._look()
        return self._ledger.total

    def update(self, pool: str, spec: PoolSpec) -> PoolInfo:
        """See `Memory.update_pool`."""
        with self._alone(pool):
            if pool not in self._specs:
                raise no_pool(pool)
            if self._specs[pool] != spec:
                self._write(pool, spec)
            with self._changed:
                self._unproven.discard(pool)
                return self._info(pool)

    def drop(self, pool: str, videos: Callable[[], None] | None) -> None:
        """Forget a pool; `videos` drops its videos, None: it must have none. Raises NotFound, NotEmpty."""
        with self._changed:
            self._changed.wait_for(lambda: pool not in self._changing)
            self._check_stays(pool)
            if pool not in self._specs:
                raise no_pool(pool)
            self._dropping.add(pool)
        try:
            with self._changed:
                self._changed.wait_for(lambda: pool not in self._entered)
            if videos is not None:
                videos()
            if any(held.is_reel for held in self._files.held(pool)):
                raise NotEmpty(
                    f"pool {pool} has videos", field="with_videos", expected="a pool without videos"
                )
            self._files.remove(pool)
            with self._changed:
                self._forget(pool)
        finally:
            with self._changed:
                self._dropping.discard(pool)

    @contextmanager
    def entered(self, pool: str, *, make: bool) -> Iterator[None]:
        """The pool stays inside the `with`: for whoever makes or drops a video in it.

        With `make` it is created if it is not there, and goes again if what is done in the `with` fails and
        nobody else is in it. Raises Unavailable while it is being dropped, and with `make` DataLoss where its
        spec cannot be read, Exhausted.
        """
        with self._changed:
            self._check_stays(pool)
            there = not make or self._spec(pool) is not None
            if there:
                self._enter(pool)
        if not there:
            self._make_and_enter(pool)
        try:
            yield
        except BaseException:
            self._leave(pool)
            self._unmake(pool)
            raise
        with self._changed:
            self._unproven.discard(pool)
        self._leave(pool)

    @contextmanager
    def _alone(self, pool: str) -> Iterator[None]:
        """Nobody else makes, changes or drops the pool inside the `with`. Raises Unavailable."""
        with self._changed:
            self._changed.wait_for(lambda: pool not in self._changing)
            self._check_stays(pool)
            self._changing.add(pool)
        try:
            yield
        finally:
            self._end_change(pool)

    def _end_change(self, pool: str) -> None:
        with self._changed:
            self._changing.discard(pool)
            self._changed.notify_all()

    def _make_and_enter(self, pool: str) -> None:
        with self._alone(pool):
            made = self._spec(pool) is None
            if made:
                self._make(pool, self._default)
            with self._changed:
                if made:
                    self._unproven.add(pool)
                self._enter(pool)

    def _enter(self, pool: str) -> None:
        self._entered[pool] = self._entered.get(pool, 0) + 1

    def _leave(self, pool: str) -> None:
        with self._changed:
            self._entered[pool] -= 1
            if not self._entered[pool]:
                del self._entered[pool]
                self._changed.notify_all()

    def _unmake(self, pool: str) -> None:
        """Remove a pool that was made for a video which is not there, unless others are in it."""
        with self._changed:
            busy = pool in self._entered or pool in self._changing or pool in self._dropping
            if busy or pool not in self._unproven:
                return
            self._changing.add(pool)
            self._forget(pool)
        gone = False
        try:
            if not any(held.is_reel for held in self._files.held(pool)):
                self._files.remove(pool)
                gone = True
        except ServiceError as exc:
            _log.error("empty pool stays pool=%s reason=%s", pool, exc)
        finally:
            if not gone:
                with self._changed:
                    self._allow(pool, self._default)
            self._end_change(pool)

    def _spec(self, pool: str) -> PoolSpec | None:
        """What a pool allows; None for one that is not there. Raises DataLoss, Unavailable."""
        spec = self._specs.get(pool)
        if spec is None or isinstance(spec, PoolSpec):
            return spec
        raise spec()

    def _check_stays(self, pool: str) -> None:
        if pool in self._dropping:
            raise Unavailable(f"pool {pool} is being dropped", field="pool", expected="another try, later")

    def _make(self, pool: str, spec: PoolSpec) -> None:
        """Write a pool that is not there, alone with it. Raises Exhausted, Unavailable."""
        with self._changed:
            others = len(self._specs) + sum(one not in self._specs for one in self._changing) - 1
        if self._max_pools and others >= self._max_pools:
            raise Exhausted(
                f"there are {others} of {self._max_pools} pools, and one more is asked for",
                field="pool",
                expected=f"at most {self._max_pools} pools: drop some or raise max_pools",
                details={"used": str(others), "allowed": str(self._max_pools), "unit": "pools"},
            )
        self._write(pool, spec)

    def _write(self, pool: str, spec: PoolSpec) -> None:
        self._files.write(pool, spec)
        with self._changed:
            self._allow(pool, spec)

    def _forget(self, pool: str) -> None:
        del self._specs[pool]
        self._unproven.discard(pool)
        self._ledger.forget(pool)
        self._expiry.allow(pool, 0)

    def _allow(self, pool: str, spec: PoolSpec) -> None:
        self._specs[pool] = spec
        self._ledger.allow(pool, spec)
        self._expiry.allow(pool, spec.ttl_ms)

    def _load(self) -> None:
        """What is on disk: what each pool allows, and what it holds."""
        pools = self._files.names()
        for pool in pools:
            try:
                self._allow(pool, self._files.spec(pool) or self._default)
            except ServiceError as exc:
                _log.error("pool takes nothing new pool=%s reason=%s", pool, exc)
                again = partial(type(exc), exc.message, field=exc.field, expected=exc.expected)
                self._specs[pool] = again
                self._ledger.refuse(pool, again)
        take_census(self._files, pools, self._ledger, self._shares, tidy=not self._read_only)

    def _look(self) -> None:
        """Beside a writer: as it is on disk now."""
        self._ledger.clear()
        self._specs.clear()
        self._shares.clear()
        self._load()

    def _info(self, pool: str) -> PoolInfo:
        spec = self._spec(pool)
        if spec is None:
            raise no_pool(pool)
        used = self._ledger.used(pool)
        hot_videos, index_bytes = self._hot(pool)
        return PoolInfo(pool, spec, PoolUsage(used.num_bytes, used.num_videos, hot_videos, index_bytes))


def no_pool(pool: str) -> NotFound:
    """The error for a pool that is not there."""
    return NotFound(f"there is no pool {pool}", field="pool", expected="a pool that was created")
