"""What happens to whole videos in the soak: they begin, are forked, cut back, copied, sealed, and go."""

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable
from itertools import count
from threading import Event
from typing import TypeVar

import pytest
from history import History, check_state
from samples import SPEC

from memory_service.client import MemoryClient
from memory_service.errors import (
    AlreadyExists,
    DeadlineExceeded,
    NotFound,
    Overloaded,
    ServiceError,
    Unavailable,
)
from memory_service.types import VideoKey

LONGEST_OUTAGE_S = 120.0
MOST_VIDEOS = 6

Answer = TypeVar("Answer")


class Lives:
    """The videos of one generator. Every call is repeated while no answer comes, which must do no harm."""

    def __init__(self, name: str, address: str, seed: int, stop: Event) -> None:
        """`histories` is what the videos must hold; `address` is the server's."""
        self.name = name
        self.histories: dict[VideoKey, History] = {}
        self.counts: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self._address = address
        self._rng = random.Random(seed)
        self._stop = stop
        self._numbers = count(seed % 1000 * 1_000_000)
        self._memory = MemoryClient(address, timeout_s=30)

    def _surely(
        self,
        call: Callable[[], Answer],
        *,
        after_all: type[ServiceError] | tuple[type[ServiceError], ...] = (),
    ) -> Answer | None:
        """The answer of `call`, repeated while none comes: its outcome is open until then.

        `after_all` is what a repetition meets where the call had taken effect; None is returned for it.
        """
        began, repeated = time.monotonic(), False
        while True:
            try:
                return call()
            except (Unavailable, DeadlineExceeded, Overloaded):
                self.counts["unanswered"] += 1
                repeated = True
                if time.monotonic() - began > LONGEST_OUTAGE_S:
                    raise
                time.sleep(0.05)
            except after_all:
                if not repeated:
                    raise
                return None

    def _pick(self, *, open_only: bool = False) -> History:
        """One of the videos; a new one where none fits."""
        fitting = [h for h in self.histories.values() if not (open_only and h.sealed)]
        if not fitting:
            self._create()
            return self._pick(open_only=open_only)
        return self._rng.choice(fitting)

    def _new_key(self) -> VideoKey:
        return VideoKey(
            self._rng.choice(["shared", f"pool-{self.name}"]), f"{self.name}-{next(self._numbers)}"
        )

    def _create(self) -> None:
        key = self._new_key()
        info = self._surely(lambda: self._memory.create_video(key, SPEC))
        assert info is not None
        assert info.state.length == 0
        self.histories[key] = History(key, info.state.epoch)
        while len(self.histories) > MOST_VIDEOS:
            self._drop()

    def _truncate(self) -> None:
        history = self._pick(open_only=True)
        self._truncate_to(history, self._rng.randint(len(history.frames) // 2, len(history.frames)))

    def _truncate_to(self, history: History, length: int) -> None:
        info = self._surely(lambda: self._memory.truncate_video(history.key, length, epoch=history.epoch))
        assert info is not None
        assert info.state.epoch != history.epoch
        assert info.state.length == info.state.durable == length
        gone = [history.handle(frame) for frame in range(length, len(history.frames))]
        history.cut(length, info.state.epoch)
        if gone:
            with pytest.raises(NotFound):
                self._surely(lambda: self._memory.fetch([self._rng.choice(gone)]))

    def _fork(self) -> None:
        parent, key = self._pick(), self._new_key()
        length = self._rng.choice([0, *parent.stops])
        info = self._surely(
            lambda: self._memory.fork_video(parent.key, key, length=length, epoch=parent.epoch)
        )
        assert info is not None
        self.histories[key] = parent.copy(key, info.state.epoch, length)
        check_state(info, self.histories[key])
        if self._rng.random() < 0.3:
            self._drop_one(parent)
        while len(self.histories) > MOST_VIDEOS:
            self._drop()

    def _seal(self) -> None:
        history = self._pick()
        info = self._surely(lambda: self._memory.seal_video(history.key))
        assert info is not None
        history.sealed = True
        check_state(info, history)

    def _drop(self) -> None:
        self._drop_one(self._pick())

    def _drop_one(self, history: History) -> None:
        self._surely(lambda: self._memory.drop_video(history.key), after_all=NotFound)
        del self.histories[history.key]

    def _transfer(self) -> None:
        """Export, and import under another name."""
        history, key = self._pick(), self._new_key()
        reel = self._surely(lambda: b"".join(self._memory.export_video(history.key)))
        assert reel is not None
        pieces = [reel[at : at + 10_000] for at in range(0, len(reel), 10_000)]
        info = self._surely(lambda: self._memory.import_video(key, pieces), after_all=AlreadyExists)
        info = info or self._surely(lambda: self._memory.get_video(key))
        assert info is not None
        new = history.copy(key, info.state.epoch, len(history.frames))
        new.sealed = history.sealed
        self.histories[key] = new
        check_state(info, new)
        while len(self.histories) > MOST_VIDEOS:
            self._drop()

    def _reconnect(self) -> None:
        """Another client, more or less patient."""
        with contextlib.suppress(ServiceError):
            self._memory.close()
        timeout_s = self._rng.choice([0.3, 1.0, 30.0])
        self._memory = MemoryClient(self._address, timeout_s=timeout_s)
