"""What pools use and may use: every byte and every video is booked here before it is there."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from memory_service.errors import Exhausted, ServiceError
from memory_service.types import PoolSpec

MARK_BYTES = 128
"""Size of a record that only marks something, such as a commit: booked ahead where one is due."""


@dataclass(slots=True)
class Booked:
    """What one pool, or all together, have booked; `pledged` bytes of marks that are due are not used yet."""

    num_bytes: int = 0
    num_videos: int = 0
    pledged: int = 0


class Ledger:
    """The books of all pools. Safe for threads; nothing here waits for a disk.

    What is refused has changed nothing, and calls that run together never pass a quota together. Marks, which
    are small and end or undo something, are booked without being refused.
    """

    def __init__(self, *, max_bytes: int = 0, max_videos: int = 0, default: PoolSpec | None = None) -> None:
        """`max_bytes` and `max_videos` hold for all pools together; 0 is no limit.

        `default` holds for pools that are not there yet.
        """
        self.whole = PoolSpec(max_bytes=max_bytes, max_videos=max_videos)
        self._default = default or PoolSpec()
        self._all = Booked()
        self._pools: dict[str, Booked] = {}
        self._specs: dict[str, PoolSpec | Callable[[], ServiceError]] = {}
        self._lock = threading.Lock()

    @property
    def total(self) -> Booked:
        """What all pools together have booked."""
        with self._lock:
            return replace(self._all)

    def used(self, pool: str) -> Booked:
        """What a pool has booked."""
        with self._lock:
            return replace(self._pools.get(pool, Booked()))

    def allow(self, pool: str, spec: PoolSpec) -> None:
        """From now on `spec` holds for a pool; what is booked stays."""
        with self._lock:
            self._specs[pool] = spec

    def refuse(self, pool: str, error: Callable[[], ServiceError]) -> None:
        """Until `allow` is called, a pool gets nothing but this error."""
        with self._lock:
            self._specs[pool] = error

    def forget(self, pool: str) -> None:
        """A pool that is gone; what is still booked for it goes when whoever booked it corrects it."""
        with self._lock:
            self._specs.pop(pool, None)
            self._forget_if_empty(pool)

    def clear(self) -> None:
        """Forget everything, to count again."""
        with self._lock:
            self._all = Booked()
            self._pools.clear()
            self._specs.clear()

    def book(self, pool: str, num_bytes: int, num_videos: int = 0, *, pledge: int = 0) -> None:
        """Book more, and pledge bytes of marks to come. Raises Exhausted, and nothing is booked then."""
        with self._lock:
            booked = self._pools.setdefault(pool, Booked())
            spec = self._specs.get(pool, self._default)
            if not isinstance(spec, PoolSpec):
                raise spec()
            more = num_bytes + pledge
            _check(booked, spec, more, num_videos, pool)
            _check(self._all, self.whole, more, num_videos, "")
            _add(booked, num_bytes, num_videos, pledge)
            _add(self._all, num_bytes, num_videos, pledge)

    def correct(self, pool: str, num_bytes: int, num_videos: int = 0, *, pledge: int = 0) -> None:
        """Book what is there, or no longer there, whatever the quota; the arguments may be negative."""
        with self._lock:
            _add(self._pools.setdefault(pool, Booked()), num_bytes, num_videos, pledge)
            _add(self._all, num_bytes, num_videos, pledge)
            self._forget_if_empty(pool)

    def _forget_if_empty(self, pool: str) -> None:
        if pool not in self._specs and self._pools.get(pool) == Booked():
            del self._pools[pool]

    @contextmanager
    def booked(self, pool: str, num_bytes: int, num_videos: int = 0) -> Iterator[None]:
        """Book for the length of a `with`, and for good unless it raises. Raises Exhausted."""
        self.book(pool, num_bytes, num_videos)
        try:
            yield
        except BaseException:
            self.correct(pool, -num_bytes, -num_videos)
            raise


class Account:
    """The bytes of one open reel in the books of its pool. Its caller serialises all calls."""

    def __init__(self, ledger: Ledger, pool: str, num_bytes: int) -> None:
        """`num_bytes` are booked already."""
        self._ledger = ledger
        self._pool = pool
        self._pledge = 0
        self.num_bytes = num_bytes

    def grow(self, num_bytes: int, *, mark: bool) -> None:
        """Book a record before it is written; a `mark` is never refused, any other raises Exhausted.

        Any other record also pledges the mark that will say that it is durable.
        """
        if mark:
            self._ledger.correct(self._pool, num_bytes)
        else:
            pledge = MARK_BYTES - self._pledge
            self._ledger.book(self._pool, num_bytes, pledge=pledge)
            self._pledge += pledge
        self.num_bytes += num_bytes

    def settle(self, num_bytes: int, *, mark_due: bool) -> None:
        """Book what the reel really has, after a write that failed or a commit, an opening or a closing."""
        pledge = MARK_BYTES if mark_due else 0
        if num_bytes != self.num_bytes or pledge != self._pledge:
            self._ledger.correct(self._pool, num_bytes - self.num_bytes, pledge=pledge - self._pledge)
        self.num_bytes = num_bytes
        self._pledge = pledge


def _add(booked: Booked, num_bytes: int, num_videos: int, pledge: int) -> None:
    booked.num_bytes += num_bytes
    booked.num_videos += num_videos
    booked.pledged += pledge


def _check(booked: Booked, spec: PoolSpec, more_bytes: int, more_videos: int, pool: str) -> None:
    if not spec.max_bytes and not spec.max_videos:
        return
    where = f"pool {pool}" if pool else "the memory"
    of_pool = {"pool": pool} if pool else {}
    for unit, used, more, allowed in (
        ("bytes", booked.num_bytes, more_bytes, spec.max_bytes),
        ("videos", booked.num_videos, more_videos, spec.max_videos),
    ):
        reserved = booked.pledged if unit == "bytes" else 0
        if allowed and more > 0 and used + reserved + more > allowed:
            raise Exhausted(
                f"{where} uses {used} of {allowed} {unit}, and {more} more are asked for",
                field="key.pool" if pool else "",
                expected=f"at most {allowed} {unit}: drop videos or raise the quota",
                details={"used": str(used), "allowed": str(allowed), "unit": unit} | of_pool,
            )
