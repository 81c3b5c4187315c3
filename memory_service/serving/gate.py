"""What stands before the memory: who calls, whether there is room, and when no more is let in."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import grpc

from memory_service.config import ServiceConfig
from memory_service.errors import ServiceError, Unauthenticated, Unavailable
from memory_service.security.token_file import read_tokens
from memory_service.security.tokens import Token, Tokens
from memory_service.serving.admission import (
    LANES,
    InflightBytes,
    Lane,
    LaneLoad,
    LaneThreads,
    Receivers,
    overloaded,
)
from memory_service.serving.call import Call, Common
from memory_service.serving.observer import Observer
from memory_service.serving.open_calls import OpenCalls
from memory_service.serving.stream_shares import StreamShares
from memory_service.serving.turns import Turns
from memory_service.wire.status import reason
from memory_service.workers import Worker

_log = logging.getLogger(__name__)

_STREAM_RETRY_MS = 1000
_NUM_PROBES, _NUM_PROBE_STREAMS, _NUM_REFUSERS = 2, 8, 2
_WAITING_PROBES, _WAITING_REFUSALS = 64, 1 << 12
_WAITING_CALLS = 1024
"""Calls that have been announced and have no thread yet: their requests have not been received."""
_PATIENT = frozenset((Lane.ADVANCE_STREAMS, Lane.APPEND_STREAMS, Lane.WATCHERS))
"""Lanes whose callers may have nothing to say for long; when the server drains, these calls end at once."""


class Load(NamedTuple):
    """How much the server has taken on."""

    lanes: Mapping[str, LaneLoad]
    at_work: int
    """Calls that have their turn."""
    waiting: int
    """Calls that have a thread and wait for their turn."""
    open_calls: int
    """Calls from their beginning until their answer is with the caller."""
    inflight_bytes: int
    refused: Mapping[str, int]
    """Calls refused before they got a thread since the start, by reason, e.g. "OVERLOADED"."""


class Gate:
    """Decides about each call before it gets a thread, in the one thread that hears of new calls."""

    def __init__(
        self, config: ServiceConfig, observer: Observer | None, prepare: Callable[[], object]
    ) -> None:
        """`prepare` runs once in each thread that serves calls. Raises what reading the tokens raises."""
        self._tokens_file = config.tokens_file
        self._tokens = None if config.tokens_file is None else read_tokens(config.tokens_file)
        self._draining = False
        self._refused: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.observer = observer
        self._common = Common(
            turns=Turns(max_running=config.num_threads, max_waiting=config.max_waiting),
            inflight=InflightBytes(config.max_inflight_bytes),
            receivers=Receivers(config.num_threads + config.max_waiting),
            streams=StreamShares(
                {
                    Lane.ADVANCE_STREAMS: config.max_advance_streams,
                    Lane.APPEND_STREAMS: config.max_append_streams,
                    Lane.READ_STREAMS: config.max_read_streams,
                    Lane.IMPORTS: config.max_imports,
                    Lane.WATCHERS: config.max_watchers,
                }
            ),
            calls=set(),
            observer=observer,
            idle_s=config.idle_s,
            stream_idle_s=config.stream_idle_s,
        )
        self._calls = OpenCalls(self._common.calls, self._valid, idle_s=config.idle_s)
        self.probes = Probes()
        sizes = {
            Lane.CALLS: (config.num_threads + config.max_waiting, _WAITING_CALLS),
            Lane.ADVANCE_STREAMS: (config.max_advance_streams, 0),
            Lane.APPEND_STREAMS: (config.max_append_streams, 0),
            Lane.READ_STREAMS: (config.max_read_streams, 0),
            Lane.IMPORTS: (config.max_imports, 0),
            Lane.WATCHERS: (config.max_watchers, 0),
            Lane.PROBES: (_NUM_PROBES, _WAITING_PROBES),
            Lane.PROBE_STREAMS: (_NUM_PROBE_STREAMS, 0),
            Lane.REFUSALS: (_NUM_REFUSERS, _WAITING_REFUSALS),
        }
        self._lanes = {
            lane: LaneThreads(lane, num, max_waiting=waiting, prepare=prepare)
            for lane, (num, waiting) in sizes.items()
        }

    @property
    def refusals(self) -> LaneThreads:
        """The threads that tell callers that they are refused."""
        return self._lanes[Lane.REFUSALS]

    @property
    def load(self) -> Load:
        turns, inflight = self._common.turns, self._common.inflight
        with self._lock:
            refused = dict(self._refused)
        return Load(
            {str(lane): threads.load for lane, threads in self._lanes.items()},
            turns.running,
            turns.waiting,
            len(self._calls),
            inflight.num_bytes,
            refused,
        )

    @property
    def worker(self) -> Worker:
        """Its background thread, for a watchdog."""
        return self._calls.worker

    @property
    def max_calls(self) -> int:
        """Calls of all lanes, running, waiting or being refused: beyond it gRPC itself refuses."""
        return sum(threads.max_open for threads in self._lanes.values())

    def admit(
        self, lane: Lane, metadata: Iterable[tuple[str, str | bytes]]
    ) -> tuple[LaneThreads, Token | None]:
        """The threads that shall serve a call, and who makes it.

        Raises Unauthenticated before anything else is looked at, then Unavailable, Overloaded.
        """
        try:
            token = self._authenticated(metadata)
            threads = self._lanes[lane]
            if self._draining and lane is not Lane.PROBES:
                raise draining()
            if threads.full:
                raise overloaded(
                    f"too many calls are open in the class {lane}",
                    expected=f"at most {threads.max_open} at a time",
                    retry_after_ms=_STREAM_RETRY_MS,
                )
        except ServiceError as exc:
            with self._lock:
                self._refused[reason(type(exc))] += 1
            raise
        return threads, token

    def open(self, method: str, context: grpc.ServicerContext, token: Token | None) -> Call:
        """A call that has its thread."""
        patient = LANES.get(method) in _PATIENT
        call = Call(method, context, token, self._common, patient=patient)
        self._common.calls.add(call)
        if not context.add_callback(call.closed):
            call.closed()
        if self._draining and patient:  # it was let in just before
            call.end(draining())
        return call

    def reload_tokens(self) -> bool:
        """Read the file of tokens again. What cannot be used is logged, and the tokens stay as they are."""
        if self._tokens_file is None:
            return True
        try:
            fresh = read_tokens(self._tokens_file)
        except ServiceError as exc:
            _log.error("tokens kept file=%s reason=%s", self._tokens_file, exc)
            return False
        self._tokens = fresh
        _log.info("tokens reloaded file=%s num=%d", self._tokens_file, len(fresh))
        return True

    def drain(self) -> None:
        """Let no more calls in, and end those that would otherwise stay as long as they like."""
        self._draining = True
        self._calls.end(draining(), lambda call: LANES.get(call.method) in _PATIENT)

    def hurry(self) -> None:
        """End every call at its next safe point."""
        self._calls.end(draining())
        self.probes.cancel()

    def close(self, wait_s: float = 0.0) -> bool:
        """End its threads, those that serve calls within `wait_s`. Returns whether none is busy any more."""
        self._calls.close()
        for threads in self._lanes.values():
            threads.shutdown(wait=False, cancel_futures=True)
        until = time.monotonic() + wait_s
        while (
            busy := any(threads.load.running for threads in self._lanes.values())
        ) and time.monotonic() < until:
            time.sleep(0.01)
        return not busy

    def _authenticated(self, metadata: Iterable[tuple[str, str | bytes]]) -> Token | None:
        if self._tokens is None:
            return None
        headers = [value for name, value in metadata if name == "authorization"]
        if len(headers) > 1:
            raise Unauthenticated("the call carries several tokens", field="authorization", expected="one")
        return self._tokens.authenticate(str(headers[0]) if headers else None)

    def _valid(self, token: Token) -> bool:
        tokens: Tokens | None = self._tokens
        return tokens is not None and tokens.holds(token)


class Probes:
    """Open calls to the services beside the memory, which end when their callers do. Safe for threads."""

    def __init__(self) -> None:
        self._contexts: set[grpc.ServicerContext] = set()
        self._lock = threading.Lock()

    def add(self, context: grpc.ServicerContext) -> None:
        """Know a call until it is over."""
        with self._lock:
            self._contexts.add(context)
        if not context.add_callback(lambda: self._remove(context)):
            self._remove(context)

    def cancel(self) -> None:
        """Hang up on all callers."""
        with self._lock:
            contexts = list(self._contexts)
        for context in contexts:
            context.cancel()

    def _remove(self, context: grpc.ServicerContext) -> None:
        with self._lock:
            self._contexts.discard(context)


def draining() -> Unavailable:
    """What calls are told when the server ends."""
    return Unavailable("the server is draining", expected="another server, or this one once it is back")
