"""Blocks on their way to the memory: in order, exactly once, also while it is away.

One thread sends them, one after the other; appending is idempotent, so what may or may not have arrived is
sent again. A patient outbox keeps what cannot be sent and tries on; the rollout learns soon that it has to do
without an answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, repeat
from typing import TypeAlias

from generator.errors import NotKeptError
from generator.history.recalled import Recalled
from generator.story.searching import NO_SEARCH, Search
from memory_service.errors import DeadlineExceeded, Overloaded, Unavailable
from memory_service.types import Block, Handle, Span, VideoKey

AWAY = (Unavailable, DeadlineExceeded, Overloaded)
"""Errors after which the same call may succeed."""

PAUSES_S = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Between two attempts, the last one for ever; in each attempt a client tries for some seconds."""

BUFFER_BYTES = 1 << 30
"""Most payload that waits: 5,000 latent frames of Wan at 480p."""

_log = logging.getLogger(__name__)


class Parcel:
    """One block on its way, and what came of it."""

    def __init__(self, block: Block, search: Search, known: Sequence[Handle]) -> None:
        self.block, self.known = block, known
        self._search = search
        self.asks = search != NO_SEARCH
        self.num_bytes = sum(len(payload) for part in block.parts.values() for payload in part)
        self.answer: Recalled | None = None
        self.error: Exception | None = None
        self.given_up = ""
        """Why nobody waits for the answer any more. It stays so when the memory comes back: the block may be
        sent without its search then, and finding nothing would look like an answer."""

        self.settled = threading.Event()
        """There is an answer or an error, or it is given up."""

    @property
    def search(self) -> Search:
        """What is still to be searched for."""
        return NO_SEARCH if self.given_up else self._search

    def give_up(self, reason: str) -> None:
        """Wait for no answer; the block itself is sent all the same."""
        self.given_up = reason
        self.settled.set()


Exchange: TypeAlias = Callable[[Parcel], Recalled]
"""Appends a block and answers the search over the history that includes it. Raises ServiceError."""


class Outbox:
    """Sends the blocks of one video in the order in which they are put in."""

    def __init__(self, key: VideoKey, exchange: Exchange, *, patience_s: float | None) -> None:
        """patience_s: how long a block may wait for its answer before the memory counts as away. None: for
        ever, and being away is an error."""
        self._key, self._exchange, self._patience_s = key, exchange, patience_s
        self._waiting: deque[Parcel] = deque()
        self._changed = threading.Condition()
        self._trouble = ""
        self._away, self._away_since = "", 0.0
        self._failure: Exception | None = None
        self._closing = threading.Event()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="memory")

    def put(self, parcel: Parcel) -> None:
        """Send a block when it is its turn. Raises NotKeptError where too much waits already, and leaves it
        out then."""
        with self._changed:
            if sum(each.num_bytes for each in (*self._waiting, parcel)) > BUFFER_BYTES:
                spans = [*self._spans(), parcel.block.span]
                raise NotKeptError(self._key, spans, f"more than {BUFFER_BYTES} bytes would wait")
            self._waiting.append(parcel)
            if self._failure is not None:
                parcel.settled.set()
            elif self._away:
                parcel.give_up(self._away)
        self._executor.submit(self._deliver, parcel)

    def answer(self, parcel: Parcel) -> Recalled:
        """The answer to a block, or why there is none while the memory is away.

        Raises the error of this block, and in a patient outbox that of one before it.
        """
        if not parcel.settled.wait(self._patience_s):
            self._lose()
        with self._changed:
            if error := self._failure or parcel.error:
                raise error
            if parcel.given_up and parcel.asks:
                return Recalled(degraded=parcel.given_up)
            assert parcel.answer is not None or not parcel.asks, "none is not an empty one"
            return parcel.answer or Recalled()

    def settle(self, timeout_s: float) -> None:
        """Return when everything has been sent. timeout_s: how long none of the blocks may be kept.

        Raises NotKeptError, and the error of a block.
        """
        with self._changed:
            moving = True
            while moving and self._waiting and self._failure is None:
                moving = self._changed.wait(timeout_s)
            if self._failure is not None:
                raise self._failure
            if self._waiting:
                raise NotKeptError(self._key, self._spans(), self._trouble or f"none in {timeout_s:g} s")

    def close(self) -> None:
        """Send no more, and log what was not sent."""
        self._closing.set()
        self._executor.shutdown(wait=True, cancel_futures=True)
        if self._waiting:
            _log.error("not kept video=%s frames=%s", self._key, _named(self._spans()))

    def _deliver(self, parcel: Parcel) -> None:
        """Send one block until it is kept or cannot be; one that has failed stops those behind it."""
        for pause_s in chain(PAUSES_S, repeat(PAUSES_S[-1])):
            if self._failure is not None or self._closing.is_set():
                return
            try:
                answer = self._exchange(parcel)
            except Exception as error:
                if self._patience_s is None or not isinstance(error, AWAY):
                    self._fail(parcel, error)
                    return
                self._trouble = f"{type(error).__name__}: {error}"
                self._closing.wait(pause_s)
            else:
                self._keep(parcel, answer)
                return

    def _keep(self, parcel: Parcel, answer: Recalled) -> None:
        with self._changed:
            self._waiting.popleft()
            if self._away:
                seconds = time.monotonic() - self._away_since
                _log.warning(
                    "memory is back video=%s away_s=%.1f to_send=%s",
                    self._key,
                    seconds,
                    _named([parcel.block.span, *self._spans()]),
                )
                self._away = ""
            self._trouble = ""
            parcel.answer = answer
            parcel.settled.set()
            self._changed.notify_all()

    def _fail(self, parcel: Parcel, error: Exception) -> None:
        with self._changed:
            parcel.error = error
            parcel.settled.set()
            if self._patience_s is None:
                self._waiting.popleft()  # whoever waits for it learns it, and may send another in its place
            else:
                self._failure = error
                for behind in self._waiting:
                    behind.settled.set()
            self._changed.notify_all()

    def _lose(self) -> None:
        """From now on nobody waits for an answer, until one comes."""
        with self._changed:
            if not self._waiting:
                return
            if not self._away:
                reason = self._trouble or f"no answer within {self._patience_s:g} s"
                self._away, self._away_since = reason, time.monotonic()
                first = self._waiting[0].block.span
                _log.warning(
                    "memory is away video=%s from_frame=%d reason=%s", self._key, first.start, reason
                )
            for parcel in self._waiting:
                parcel.give_up(self._away)

    def _spans(self) -> list[Span]:
        return [parcel.block.span for parcel in self._waiting]


def _named(spans: Sequence[Span]) -> str:
    return f"[{spans[0].start}, {spans[-1].stop})"
