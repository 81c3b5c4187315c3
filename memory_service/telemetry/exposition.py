"""Where Prometheus reads the metrics: a small HTTP server with a port of its own."""

import logging
from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, start_http_server

from memory_service.errors import Busy

_log = logging.getLogger(__name__)


class MetricsServer:
    """Serves a registry at http://ADDRESS/metrics until it is closed; `address` has the real port."""

    def __init__(self, address: str, registry: CollectorRegistry) -> None:
        """`address` is "host:port". Raises Busy when it cannot be had."""
        host, _, port = address.rpartition(":")
        try:
            started = start_http_server(int(port), host.strip("[]"), registry)
        except OSError as exc:
            raise Busy(
                f"cannot listen on {address}: {exc}", field="metrics_address", expected="a free address"
            ) from exc
        self._server: WSGIServer = started[0]
        self._thread = started[1]
        self.address = f"{host}:{self._server.server_port}"
        _log.info("metrics address=%s", self.address)

    def close(self) -> None:
        """Stop; a scrape that runs is finished."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
