"""Metrics of calls, counted as they happen: how many, how long, how many bytes."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_BUCKETS_S = (
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0
)  # fmt: skip


class CallMetrics:
    """An observer of calls (`memory_service.serving.observer.Observer`); a call costs it a few microseconds.

    Methods and statuses are gRPC's own few: their product bounds the number of series.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "reverie_memory_call_seconds",
            "Time of a call in its thread, from its first message to its end",
            ["method", "status"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._received = Counter(
            "reverie_memory_received_bytes", "Bytes of the messages of calls", ["method"], registry=registry
        )
        self._sent = Counter(
            "reverie_memory_sent_bytes", "Bytes of the messages of answers", ["method"], registry=registry
        )
        self._running = Gauge(
            "reverie_memory_calls_running", "Calls that have a thread now", ["method"], registry=registry
        )
        self._by_method: dict[str, tuple[Gauge, Counter, Counter]] = {}
        self._by_status: dict[tuple[str, str], Histogram] = {}

    def began(self, method: str) -> None:
        """A call got its thread."""
        self._of(method)[0].inc()

    def finished(self, method: str, status: str, seconds: float, bytes_in: int, bytes_out: int) -> None:
        """A call that began ended."""
        running, received, sent = self._of(method)
        running.dec()
        received.inc(bytes_in)
        sent.inc(bytes_out)
        histogram = self._by_status.get((method, status))
        if histogram is None:
            histogram = self._by_status[method, status] = self._seconds.labels(method, status)
        histogram.observe(seconds)

    def _of(self, method: str) -> tuple[Gauge, Counter, Counter]:
        """The children of a method: looking them up by label costs more than counting."""
        found = self._by_method.get(method)
        if found is None:
            children = (
                self._running.labels(method),
                self._received.labels(method),
                self._sent.labels(method),
            )
            found = self._by_method[method] = children
        return found
