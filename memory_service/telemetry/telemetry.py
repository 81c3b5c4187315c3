"""What a server has beside its work: metrics and traces, each only where it is asked for."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import grpc

from memory_service.config import ServiceConfig
from memory_service.serving.observer import Observer

if TYPE_CHECKING:
    from memory_service.telemetry.collector import Served
    from memory_service.telemetry.exposition import MetricsServer
    from memory_service.telemetry.tracing import TracingInterceptor


class Telemetry:
    """The telemetry of one server. `observer` and `interceptors` go into it, before it starts."""

    def __init__(self, config: ServiceConfig, service: str) -> None:
        """`service` is the full name of the gRPC service. Nothing is imported for what is off.

        Raises InvalidArgument where a package is not installed.
        """
        self._config = config
        self._server: MetricsServer | None = None
        self._tracing: TracingInterceptor | None = None
        self.observer: Observer | None = None
        if config.metrics_address is not None:
            from prometheus_client import CollectorRegistry

            from memory_service.telemetry.calls import CallMetrics

            self._registry = CollectorRegistry()
            self.observer = CallMetrics(self._registry)
        if config.otlp_endpoint is not None:
            self._tracing = _tracing(service, config.otlp_endpoint)

    @property
    def interceptors(self) -> Sequence[grpc.ServerInterceptor]:
        """To stand inside of the one that turns errors into statuses."""
        return () if self._tracing is None else (self._tracing,)

    @property
    def metrics_address(self) -> str | None:
        """Where metrics are served, with the real port."""
        return None if self._server is None else self._server.address

    def start(self, served: "Served") -> None:
        """Serve the metrics. Raises Busy when their address cannot be had."""
        if self._config.metrics_address is None:
            return
        from prometheus_client import GCCollector, PlatformCollector, ProcessCollector

        from memory_service.telemetry.collector import EventMetrics, ServerCollector
        from memory_service.telemetry.exposition import MetricsServer

        for process_wide in (GCCollector, PlatformCollector, ProcessCollector):
            process_wide(registry=self._registry)
        events = EventMetrics(self._registry)
        served.engine.events.listen(events)
        self._registry.register(ServerCollector(served, self._config.data_dir, events))
        self._server = MetricsServer(self._config.metrics_address, self._registry)

    def close(self) -> None:
        """Serve no more metrics and send the last traces."""
        if self._server is not None:
            self._server.close()
        if self._tracing is not None:
            self._tracing.close()


def _tracing(service: str, endpoint: str) -> "TracingInterceptor":
    from memory_service.errors import InvalidArgument

    try:
        from memory_service.telemetry.tracing import TracingInterceptor, otlp
    except ImportError as exc:
        raise InvalidArgument(
            f"OpenTelemetry is not installed: {exc}",
            field="otlp_endpoint",
            expected="pip install 'reverie[otel]'",
        ) from exc
    return TracingInterceptor(service, otlp(endpoint))
