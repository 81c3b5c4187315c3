"""The standard health service, which knows what the watchdog knows."""
# ruff: noqa: N802 -- names are gRPC's

from collections.abc import Callable, Sequence

import grpc
from grpc_health.v1 import health, health_pb2

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health(health.HealthServicer):  # type: ignore[misc]
    """Status of the server and of `services`; NOT_SERVING until `set_all`, and for good after the drain."""

    def __init__(self, services: Sequence[str]) -> None:
        super().__init__()
        self._services = ("", *services)
        self.well: Callable[[], bool] = lambda: True
        self._doubted = False
        self.set_all(False)

    def set_all(self, serving: bool) -> None:
        """Tell all who ask or watch."""
        for name in self._services:
            self.set(name, _SERVING if serving else _NOT_SERVING)

    def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        """See `HealthServicer.Check`; asks whether the watchdog itself is well, as nobody else would."""
        well = self.well()
        if well is self._doubted:
            self._doubted = not well
            self.set_all(well)
        return super().Check(request, context)
