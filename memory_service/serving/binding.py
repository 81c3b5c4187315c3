"""Where a server listens: a TCP port, with TLS or without, or a UNIX socket that others cannot use."""

import grp
import os
import socket
import stat
from pathlib import Path

import grpc

from memory_service.config import UNIX, ServiceConfig
from memory_service.errors import Busy, InvalidArgument
from memory_service.security.tls import Certificates

_OWNER_ONLY, _WITH_GROUP = 0o600, 0o660


def bind(server: grpc.Server, config: ServiceConfig, certificates: Certificates | None) -> str:
    """Listen at the address of `config`. Returns it with its real port.

    Raises Busy where another server listens, InvalidArgument where a UNIX socket would not be safe.
    """
    if config.address.startswith(UNIX):
        return _bind_unix(server, config.address, config.socket_group)
    try:
        if certificates is None:
            port = server.add_insecure_port(config.address)
        else:
            port = server.add_secure_port(config.address, certificates.credentials())
    except RuntimeError as exc:
        raise _not_bound(config.address, exc) from exc
    return f"{config.address.rpartition(':')[0]}:{port}"


def _bind_unix(server: grpc.Server, address: str, group: str | None) -> str:
    path = Path(address.removeprefix(UNIX))
    gid = None if group is None else _gid(group)
    _check_directory(path.absolute().parent)
    _check_unused(path)
    before = os.umask(0o777 & ~_OWNER_ONLY)
    try:
        server.add_insecure_port(address)
    except RuntimeError as exc:
        raise _not_bound(address, exc) from exc
    finally:
        os.umask(before)
    if gid is not None:
        try:
            os.chown(path, -1, gid)
        except PermissionError as exc:
            raise InvalidArgument(
                f"the socket cannot be given to group {group!r}",
                field="socket_group",
                expected="a group that the user of the service is in",
            ) from exc
        path.chmod(_WITH_GROUP)
    return address


def _check_directory(folder: Path) -> None:
    """Whoever may rename files there could put a socket of their own in place of ours."""
    try:
        found = folder.stat()
    except OSError as exc:
        raise InvalidArgument(
            f"{folder}: {exc.strerror}", field="address", expected="a directory that is there"
        ) from exc
    if found.st_uid not in (0, os.geteuid()):
        raise InvalidArgument(
            f"{folder} belongs to user {found.st_uid}",
            field="address",
            expected="a directory of the user that runs the service, or root's",
        )
    if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        raise InvalidArgument(
            f"{folder} has mode {stat.S_IMODE(found.st_mode):04o}: others can replace the socket",
            field="address",
            expected="a directory that only its owner may write to, or one with the sticky bit",
        )


def _check_unused(path: Path) -> None:
    """gRPC replaces the socket that it finds: right for one left by a crash, not for a server's that runs."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise Busy(f"another server listens on {UNIX}{path}", field="address", expected="a free address")


def _gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError as exc:
        raise InvalidArgument(
            f"there is no group {group!r}", field="socket_group", expected="the name of a group"
        ) from exc


def _not_bound(address: str, exc: RuntimeError) -> Busy:
    return Busy(f"cannot listen on {address}: {exc}", field="address", expected="a free address")
