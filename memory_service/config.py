"""Configuration of the server."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from memory_service.durability import Durability, durability_level
from memory_service.errors import InvalidArgument

UNIX = "unix:"
_UNIX_PATH_BYTES = 107
"""Longest path of a UNIX socket on Linux."""


@dataclass(frozen=True, kw_only=True)
class ServiceConfig:
    """What a server needs to know. Raises InvalidArgument naming the field that cannot be right."""

    data_dir: Path
    """Directory of the memory; created where missing, used by one process at a time."""

    address: str = "127.0.0.1:50051"
    """Where to listen: "host:port" (port 0: any that is free) or "unix:/path"."""

    insecure_any_address: bool = False
    """Allow addresses that other machines can reach, without encryption and without asking who is there."""

    index: str = "flat"
    """Name of the index plug-in."""

    durability: str = Durability.GROUP
    """What an answer to a write promises: "sync", "group" or "none", see `memory_service.durability`."""

    commit_interval_s: float = 0.1
    """Longest time that a kept frame stays without fdatasync at the level "group", seconds."""

    max_hot_videos: int = 256
    """Videos that stay open when nobody uses them; each takes a file, a map and its part of the index."""

    max_message_bytes: int = 16 << 20
    """Largest block, and largest message, in bytes."""

    num_threads: int = 32
    """Requests that run at a time; more wait. Fetch streams get half of them, more are refused."""

    max_concurrent_rpcs: int = 1024
    """Requests that run or wait; more are refused as UNAVAILABLE would be: trying again helps."""

    max_streams: int = 256
    """Requests that one connection has open; its client holds back more."""

    max_metadata_bytes: int = 16 << 10
    """Largest set of headers of one request, in bytes."""

    drain_s: float = 10.0
    """Time that requests get to finish when the server stops, seconds."""

    def __post_init__(self) -> None:
        for name in ("max_hot_videos", "num_threads", "max_concurrent_rpcs", "max_streams"):
            _check(getattr(self, name) >= 1, name, getattr(self, name), "1 or more")
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

    def _check_host_and_port(self) -> None:
        host, _, port = self.address.rpartition(":")
        valid = bool(host) and port.isascii() and port.isdigit() and int(port) < 1 << 16
        _check(valid, "address", self.address, '"host:port" or "unix:/path"')
        if not self.insecure_any_address and not is_loopback(host):
            raise InvalidArgument(
                f"{self.address} can be reached from elsewhere, and this version has neither TLS nor tokens",
                field="address",
                expected="a loopback address or unix:/path; or --insecure-any-address, on a trusted network",
            )


def is_loopback(host: str) -> bool:
    """True for localhost and addresses that never leave the machine; any other name may be anywhere."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check(valid: bool, field: str, value: object, expected: str) -> None:
    if not valid:
        raise InvalidArgument(f"{field} is {value!r}", field=field, expected=expected)
