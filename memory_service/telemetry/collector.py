"""Metrics of the engine, collected when Prometheus asks: they cost the path of a call nothing.

Labels are pools, kinds and threads, never videos. Pools beyond `MAX_POOLS` share one label, so that a client
that makes pools cannot make series without end.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from memory_service.engine import MemoryEngine
from memory_service.serving.gate import Load
from memory_service.serving.watchdog import Watchdog
from memory_service.store.syncs import SYNCS
from memory_service.types import Event, EventKind, PoolInfo, Retrieval, ServerInfo
from memory_service.vitals import Vitals
from memory_service.workers import Worker

PREFIX = "reverie_memory_"

MAX_POOLS = 200
OTHER_POOLS = "_other"
"""No pool can have this name."""

_REFUSALS = ("OVERLOADED", "UNAUTHENTICATED", "UNAVAILABLE")
"""Reasons that are there from the start: a rate needs a zero to begin with."""

_RECENT = 32
"""Retrievals whose redundancy is looked at."""


class EventMetrics:
    """A listener of events: counts them by kind and keeps the newest retrievals."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = Counter(
            f"{PREFIX}events", "What happened to videos, by kind of event", ["kind"], registry=registry
        )
        told_to_watchers_alone = {EventKind.WATCHING, EventKind.LOST}
        self._counters = {
            kind: counter.labels(kind) for kind in EventKind if kind not in told_to_watchers_alone
        }
        self.recent: deque[Retrieval] = deque(maxlen=_RECENT)

    def __call__(self, event: Event) -> None:
        self._counters[event.kind].inc()
        if event.retrieval is not None:
            self.recent.append(event.retrieval)


class Served(Protocol):
    """What a server shows of itself."""

    @property
    def engine(self) -> MemoryEngine: ...

    @property
    def load(self) -> Load: ...

    @property
    def workers(self) -> Sequence[Worker]: ...

    @property
    def watchdog(self) -> Watchdog: ...


class ServerCollector(Collector):
    """Asks a server when Prometheus does. No cold video is opened, none that is to expire is touched."""

    def __init__(self, served: Served, data_dir: Path, events: EventMetrics) -> None:
        self._served = served
        self._data_dir = data_dir
        self._events = events

    def collect(self) -> Iterator[Metric]:
        """All families, with their values of this moment."""
        engine = self._served.engine
        vitals = engine.vitals(tuple(self._events.recent))
        yield from _memory(engine.info(), vitals)
        yield from _pools(engine.list_pools())
        yield from _durability(vitals)
        yield from _threads((*self._served.workers, self._served.watchdog.worker))
        yield from _load(self._served.load)
        yield _syncs()
        yield from _disk(self._data_dir)

    def describe(self) -> Iterator[Metric]:
        """Nothing: what is collected is known when it is asked for."""
        return iter(())


def gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    """One number."""
    return GaugeMetricFamily(PREFIX + name, help_text, value=value)


def counter(name: str, help_text: str, value: float) -> CounterMetricFamily:
    """One number that only grows; its sample is called NAME_total."""
    return CounterMetricFamily(PREFIX + name, help_text, value=value)


def gauges(name: str, help_text: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    """One number for each value of a label."""
    family = GaugeMetricFamily(PREFIX + name, help_text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _memory(info: ServerInfo, vitals: Vitals) -> Iterator[Metric]:
    build = GaugeMetricFamily(
        f"{PREFIX}build_info",
        "Always 1; version, index and durability level as labels",
        labels=["version", "index", "durability"],
    )
    build.add_metric([info.version, info.index, info.durability], 1)
    yield build
    yield gauge("uptime_seconds", "Time since the memory was opened", info.uptime_s)
    tiers = {"reels": info.num_bytes, "index": info.index_bytes, "shared": vitals.shared_bytes}
    yield gauges(
        "bytes",
        "Bytes by tier: reels on disk, indexes in memory, beginnings of reels that open forks share",
        "tier",
        tiers,
    )
    limits = {"reels": info.max_bytes, "index": info.max_index_bytes}
    yield gauges("limit_bytes", "Bytes that all pools together are allowed; 0 is no limit", "tier", limits)
    videos = {"all": info.num_videos, "hot": info.hot_videos}
    yield gauges("videos", "Videos that are there, and those of them that are open", "state", videos)
    yield gauge("limit_videos", "Videos allowed for all pools together; 0 is no limit", info.max_videos)
    yield counter("opened", "Videos opened, the new ones too", vitals.opened)
    yield counter("cooled", "Videos cooled: open ones closed to make room", vitals.cooled)
    if vitals.redundancy is not None:
        yield gauge(
            "hit_redundancy",
            f"Mean pairwise cosine of frames chosen together, over the last {_RECENT} retrievals",
            vitals.redundancy,
        )


def _pools(pools: Sequence[PoolInfo]) -> Iterator[Metric]:
    named = sorted(pools, key=lambda found: found.usage.num_bytes, reverse=True)
    columns: dict[str, tuple[str, Callable[[PoolInfo], float]]] = {
        "pool_bytes": ("Bytes of records that a pool uses", lambda f: f.usage.num_bytes),
        "pool_limit_bytes": (
            "Bytes that a pool is allowed; 0 is no limit",
            lambda f: f.spec.max_bytes,
        ),
        "pool_videos": ("Videos of a pool", lambda f: f.usage.num_videos),
        "pool_limit_videos": ("Videos that a pool is allowed; 0 is no limit", lambda f: f.spec.max_videos),
        "pool_hot_videos": ("Videos of a pool that are open", lambda f: f.usage.hot_videos),
        "pool_index_bytes": ("Bytes of the indexes of a pool", lambda f: f.usage.index_bytes),
    }
    for name, (help_text, value) in columns.items():
        values: dict[str, float] = {found.pool: value(found) for found in named[:MAX_POOLS]}
        if len(named) > MAX_POOLS:
            values[OTHER_POOLS] = sum(map(value, named[MAX_POOLS:]))
        yield gauges(name, help_text, "pool", values)
    yield gauge("pools", "Pools that are there", len(pools))


def _durability(vitals: Vitals) -> Iterator[Metric]:
    yield gauge(
        "undurable_frames",
        "Frames of open videos that are kept but not fsync'ed yet",
        vitals.undurable_frames,
    )
    yield gauge(
        "undurable_seconds", "How long what waits longest for fdatasync has waited", vitals.oldest_undurable_s
    )
    yield gauge(
        "failed_reels", "Open reels that refuse appends after a failed write or commit", vitals.failed_reels
    )
    yield counter("torn_tails", "Reels that were not closed cleanly and lost a torn tail", vitals.torn_tails)


def _threads(workers: Sequence[Worker]) -> Iterator[Metric]:
    now = time.monotonic()
    alive = {worker.name: float(worker.alive) for worker in workers}
    silent = {worker.name: now - worker.beat for worker in workers}
    yield gauges("thread_alive", "1 while a background thread lives", "thread", alive)
    yield gauges("thread_silent_seconds", "Time since a thread showed a sign of life", "thread", silent)


def _load(load: Load) -> Iterator[Metric]:
    lanes = load.lanes
    running = {lane: float(busy.running) for lane, busy in lanes.items()}
    waiting = {lane: float(busy.waiting) for lane, busy in lanes.items()}
    threads = {lane: float(busy.num_threads) for lane, busy in lanes.items()}
    yield gauges("lane_running", "Calls that have a thread, by class of calls", "lane", running)
    yield gauges("lane_waiting", "Calls that wait for a thread, by class of calls", "lane", waiting)
    yield gauges("lane_threads", "Threads that a class of calls may have", "lane", threads)
    yield gauge("calls_at_work", "Calls that have their turn", load.at_work)
    yield gauge("calls_waiting", "Calls that wait for their turn (queue depth)", load.waiting)
    yield gauge("calls_open", "Calls until their answer is with the caller", load.open_calls)
    yield gauge("inflight_bytes", "Bytes of messages that are not done with", load.inflight_bytes)
    refused = CounterMetricFamily(
        f"{PREFIX}refused_calls", "Calls refused before they got a thread, by reason", labels=["reason"]
    )
    for reason, count in {**dict.fromkeys(_REFUSALS, 0), **load.refused}.items():
        refused.add_metric([reason], count)
    yield refused


def _syncs() -> Metric:
    counts, total_s = SYNCS.totals()
    bounds = [*map(str, SYNCS.bounds_s), "+Inf"]
    family = HistogramMetricFamily(f"{PREFIX}fdatasync_seconds", "Time of each fdatasync of a reel")
    family.add_metric(
        [], [(bound, float(count)) for bound, count in zip(bounds, counts, strict=True)], total_s
    )
    return family


def _disk(data_dir: Path) -> Iterator[Metric]:
    found = os.statvfs(data_dir)
    yield gauge(
        "disk_free_bytes", "Free bytes of the data directory's file system", found.f_bavail * found.f_frsize
    )
    yield gauge(
        "disk_size_bytes", "Size of the data directory's file system", found.f_blocks * found.f_frsize
    )
