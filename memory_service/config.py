"""Configuration of the server."""

import ipaddress
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from threading import TIMEOUT_MAX

from memory_service.durability import Durability, durability_level
from memory_service.errors import InvalidArgument
from memory_service.types import PoolSpec

UNIX = "unix:"
_UNIX_PATH_BYTES = 107
"""Longest path of a UNIX socket on Linux."""

_COUNTS = (
    "max_hot_videos",
    "num_threads",
    "max_advance_streams",
    "max_append_streams",
    "max_read_streams",
    "max_imports",
    "max_watchers",
    "max_connections",
    "max_streams",
)

_LIMITS = (
    "max_index_bytes",
    "max_bytes",
    "max_videos",
    "max_pools",
    "pool_max_bytes",
    "pool_max_videos",
    "pool_ttl_s",
)

_SECONDS = ("commit_interval_s", "pool_ttl_s", "idle_s", "stream_idle_s", "drain_s")


@dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """What a server needs to know. Raises InvalidArgument naming the field that cannot be right."""

    data_dir: Path
    """Directory of the memory; created where missing, used by one process at a time."""

    address: str = "127.0.0.1:50051"
    """Where to listen: "host:port" (port 0: any that is free) or "unix:/path"."""

    insecure_any_address: bool = False
    """Allow addresses that other machines can reach, without TLS, and without tokens if there are none."""

    tls_without_tokens: bool = False
    """Allow addresses that other machines can reach with TLS alone: whoever may connect may do everything."""

    tls_cert: Path | None = None
    """The server's certificate with its chain, PEM; read again on SIGHUP."""

    tls_key: Path | None = None
    """The private key of the certificate, PEM; closed to other users."""

    tls_client_ca: Path | None = None
    """Certificates that vouch for clients, PEM: with it, only clients that have one may connect (mTLS)."""

    tokens_file: Path | None = None
    """Tokens and their rights, as `reverie-memory tokens` writes them; read again on SIGHUP."""

    socket_group: str | None = None
    """Group that may connect to the UNIX socket; without it only the server's own user may."""

    local_path: bool = False
    """Hand over payloads through files to clients on this machine that run as the server's user."""

    index: str = "flat"
    """Name of the index plug-in."""

    durability: str = Durability.GROUP
    """What an answer to a write promises: "sync", "group" or "none", see `memory_service.durability`."""

    commit_interval_s: float = 0.1
    """Longest time that a kept frame stays without fdatasync at the level "group", seconds."""

    max_hot_videos: int = 256
    """Videos that stay open when nobody uses them; each takes about ten file descriptors and its part of the
    index."""

    max_index_bytes: int = 256 << 20
    """Memory for indexes and tables of open videos, in bytes; beyond it idle ones are closed. 0: no limit."""

    max_bytes: int = 0
    """Most bytes of records of all pools together; 0: no limit."""

    max_videos: int = 0
    """Most videos of all pools together; 0: no limit."""

    max_pools: int = 10_000
    """Most pools; 0: no limit."""

    pool_max_bytes: int = 0
    """Most bytes of records of a pool that nobody created by name; 0: no limit of its own."""

    pool_max_videos: int = 0
    """Most videos of a pool that nobody created by name; 0: no limit of its own."""

    pool_ttl_s: float = 0.0
    """Time to live of videos in such a pool when nobody names them, seconds; 0: for ever."""

    max_message_bytes: int = 16 << 20
    """Largest block, and largest message, in bytes."""

    num_threads: int = 32
    """Calls that are at work at a time; one pool gets three quarters of them."""

    max_waiting: int = 224
    """Calls that wait until one of those at work is done; one pool gets three quarters, more are refused."""

    max_advance_streams: int = 64
    """AdvanceStream calls that are open at a time; each takes a thread, more are refused."""

    max_append_streams: int = 32
    """AppendStream calls that are open at a time; each takes a thread, more are refused."""

    max_read_streams: int = 16
    """Fetch and ExportVideo calls that are open at a time; each takes a thread, more are refused."""

    max_imports: int = 4
    """ImportVideo calls that are open at a time; each takes a thread, more are refused."""

    max_watchers: int = 32
    """Watch calls that are open at a time; each takes a thread, more are refused."""

    max_inflight_bytes: int = 256 << 20
    """Bytes of messages that are neither answered nor, as answers, read; more are refused."""

    idle_s: float = 30.0
    """Longest time that a call waits for its caller to send or to read, seconds; then it is cancelled."""

    stream_idle_s: float = 600.0
    """The same for AdvanceStream, AppendStream and Watch, whose callers may have nothing to send or to read
    for long."""

    max_connections: int = 1024
    """Connections that are open at a time; more are closed at once."""

    max_streams: int = 256
    """Requests that one connection has open; its client holds back more."""

    max_metadata_bytes: int = 16 << 10
    """Largest set of headers of one request, in bytes."""

    drain_s: float = 10.0
    """Time that requests get to finish when the server stops, seconds."""

    metrics_address: str | None = None
    """Where to serve metrics to Prometheus over HTTP, "host:port"; none without it."""

    insecure_metrics_address: bool = False
    """Allow other machines to read the metrics; they name pools, and hold no frames."""

    otlp_endpoint: str | None = None
    """Where to send traces by OTLP, "http://host:4317", or https:// with TLS; none without it."""

    def __post_init__(self) -> None:
        for name in _COUNTS:
            _check(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
        for name in _LIMITS:
            _check(getattr(self, name) >= 0, name, getattr(self, name), "0 (no limit) or more")
        for name in _SECONDS:  # neither inf nor nan can be waited for
            _check(
                getattr(self, name) <= TIMEOUT_MAX, name, getattr(self, name), f"{TIMEOUT_MAX:.0f} s or less"
            )
        _check(self.max_waiting >= 0, "max_waiting", self.max_waiting, "0 or more")
        _check(
            self.max_inflight_bytes >= 2 * self.max_message_bytes,
            "max_inflight_bytes",
            self.max_inflight_bytes,
            "at least twice max_message_bytes",
        )
        for name in ("idle_s", "stream_idle_s"):
            _check(getattr(self, name) > 0, name, getattr(self, name), "more than 0")
        _check(
            self.max_message_bytes >= 64 << 10, "max_message_bytes", self.max_message_bytes, "64 KiB or more"
        )
        _check(
            self.max_metadata_bytes >= 1 << 10, "max_metadata_bytes", self.max_metadata_bytes, "1 KiB or more"
        )
        durability_level(self.durability)
        _check(self.commit_interval_s > 0, "commit_interval_s", self.commit_interval_s, "more than 0")
        _check(self.drain_s >= 0, "drain_s", self.drain_s, "0 or more")
        if self.address.startswith(UNIX):
            path = self.address.removeprefix(UNIX)
            fits = 0 < len(path.encode()) <= _UNIX_PATH_BYTES
            _check(fits, "address", self.address, f"a path of 1 to {_UNIX_PATH_BYTES} bytes")
        else:
            self._check_host_and_port()
        self._check_tls()
        if self.metrics_address is not None:
            self._check_metrics_address(self.metrics_address)
        valid = self.otlp_endpoint is None or self.otlp_endpoint.startswith(("http://", "https://"))
        _check(valid, "otlp_endpoint", self.otlp_endpoint, '"http://host:port" or "https://host:port"')

    @property
    def default_pool(self) -> PoolSpec:
        """The spec of pools that nobody created by name."""
        return PoolSpec(self.pool_max_bytes, self.pool_max_videos, ceil(1000 * self.pool_ttl_s))

    @property
    def tls(self) -> bool:
        """Whether the server speaks TLS."""
        return self.tls_cert is not None

    def _check_tls(self) -> None:
        for name, needs in (("tls_cert", "tls_key"), ("tls_key", "tls_cert"), ("tls_client_ca", "tls_cert")):
            whole = getattr(self, name) is None or getattr(self, needs) is not None
            _check(whole, needs, None, f"a file, as {name} is given")
        unix = self.address.startswith(UNIX)
        _check(not (unix and self.tls), "tls_cert", self.tls_cert, "none for a UNIX socket")
        _check(
            unix or self.socket_group is None, "socket_group", self.socket_group, "none but for unix:/path"
        )

    def _check_metrics_address(self, address: str) -> None:
        host, valid = _host(address)
        _check(valid, "metrics_address", address, '"host:port"')
        allowed = self.insecure_metrics_address or is_loopback(host)
        expected = "a loopback address; or --insecure-metrics-address, on a trusted network"
        _check(allowed, "metrics_address", address, expected)

    def _check_host_and_port(self) -> None:
        host, valid = _host(self.address)
        _check(valid, "address", self.address, '"host:port" or "unix:/path"')
        here = is_loopback(host) or not self.local_path
        _check(here, "local_path", True, "a loopback address or unix:/path: others see no files")
        if self.insecure_any_address or is_loopback(host):
            return
        if not self.tls:
            raise InvalidArgument(
                f"{self.address} can be reached from elsewhere, and there is no TLS",
                field="address",
                expected="--tls-cert, --tls-key and --tokens-file; or a loopback address or unix:/path; "
                "or --insecure-any-address, on a trusted network",
            )
        if self.tokens_file is None and not self.tls_without_tokens:
            raise InvalidArgument(
                f"{self.address} can be reached from elsewhere, and there are no tokens",
                field="tokens_file",
                expected="--tokens-file; or --tls-without-tokens: whoever may connect may do everything",
            )


def is_loopback(host: str) -> bool:
    """True for localhost and addresses that never leave the machine; any other name may be anywhere."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _host(address: str) -> tuple[str, bool]:
    """The host of "host:port", and whether it is one."""
    host, _, port = address.rpartition(":")
    return host, bool(host) and port.isascii() and port.isdigit() and int(port) < 1 << 16


def _check(valid: bool, field: str, value: object, expected: str) -> None:
    if not valid:
        raise InvalidArgument(f"{field} is {value!r}", field=field, expected=expected)
