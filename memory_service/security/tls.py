"""TLS on both sides: whom a server shows itself to, and whom a client believes. TLS 1.2 or later."""

import logging
import os
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

from memory_service.errors import InvalidArgument, ServiceError, Unavailable
from memory_service.security.token_file import check_private

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientTLS:
    """What a client needs for TLS; PEM files. Raises InvalidArgument when the pair is not whole."""

    ca: Path | None = None
    """Certificates that vouch for the server; None: those that gRPC brings along."""
    cert: Path | None = None
    """The client's own certificate, where the server asks for one (mTLS), with its chain."""
    key: Path | None = None
    """The private key of `cert`."""
    server_name: str | None = None
    """The name in the server's certificate, where it is not the host of the address."""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            missing = "cert" if self.cert is None else "key"
            raise InvalidArgument(
                f"tls.{missing} is missing", field=f"tls.{missing}", expected="both or none"
            )

    def credentials(self) -> grpc.ChannelCredentials:
        """For grpc.secure_channel. Raises InvalidArgument, Unavailable when the files cannot be used."""
        ca = None if self.ca is None else _read_ca(self.ca, "tls.ca")
        if self.cert is None or self.key is None:
            return grpc.ssl_channel_credentials(ca)
        _check_pair(self.cert, self.key, "tls.cert")
        return grpc.ssl_channel_credentials(ca, _read(self.key, "tls.key"), _read(self.cert, "tls.cert"))

    def options(self) -> Sequence[tuple[str, str]]:
        """Options for the channel."""
        return [] if self.server_name is None else [("grpc.ssl_target_name_override", self.server_name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTLS:
    """The files of a server; PEM."""

    cert: Path
    """The server's certificate, with its chain."""
    key: Path
    """The private key of `cert`; closed to other users."""
    client_ca: Path | None = None
    """With it, only clients whose certificate it vouches for may connect (mTLS)."""


class Certificates:
    """A server's certificates, which may be replaced while it runs. Safe for threads."""

    def __init__(self, files: ServerTLS) -> None:
        """Read and check the files. Raises InvalidArgument, Unavailable."""
        self._files = files
        self._lock = threading.Lock()
        self._current = _configuration(files)
        self._fresh: grpc.ServerCertificateConfiguration | None = None

    def reload(self) -> bool:
        """Read the files again, for connections made from now on; what cannot be used is logged and left."""
        try:
            fresh = _configuration(self._files)
        except ServiceError as exc:
            _log.error("certificates kept cert=%s reason=%s", self._files.cert, exc)
            return False
        with self._lock:
            self._fresh = fresh
        _log.info("certificates reloaded cert=%s", self._files.cert)
        return True

    def credentials(self) -> grpc.ServerCredentials:
        """For Server.add_secure_port."""
        return grpc.dynamic_ssl_server_credentials(
            self._current,
            self._take,  # type: ignore[arg-type]  # the stubs do not know that None means no change
            require_client_authentication=self._files.client_ca is not None,
        )

    def _take(self) -> grpc.ServerCertificateConfiguration | None:
        """What gRPC asks before each handshake: the new files, once, or None for no change."""
        with self._lock:
            fresh, self._fresh = self._fresh, None
        return fresh


def _configuration(files: ServerTLS) -> grpc.ServerCertificateConfiguration:
    _check_private_key(files.key)
    _check_pair(files.cert, files.key, "tls_cert")
    pair = (_read(files.key, "tls_key"), _read(files.cert, "tls_cert"))
    ca = None if files.client_ca is None else _read_ca(files.client_ca, "tls_client_ca")
    return grpc.ssl_server_certificate_configuration([pair], root_certificates=ca)


def _check_private_key(path: Path) -> None:
    try:
        check_private(os.stat(path), path, "tls_key")
    except OSError as exc:
        raise Unavailable(f"{path} cannot be read: {exc}", field="tls_key") from exc


def _check_pair(cert: Path, key: Path, field: str) -> None:
    """gRPC itself would accept the files and then fail every handshake."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except ssl.SSLError as exc:
        raise InvalidArgument(
            f"{cert} and {key} do not belong together or are no PEM: {exc}",
            field=field,
            expected="a certificate and its unencrypted private key, PEM",
        ) from exc
    except OSError as exc:
        raise Unavailable(f"{cert} or {key} cannot be read: {exc}", field=field) from exc


def _read_ca(path: Path, field: str) -> bytes:
    data = _read(path, field)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=data.decode("ascii"))
    except (ssl.SSLError, ValueError) as exc:
        raise InvalidArgument(
            f"{path} holds no certificates: {exc}", field=field, expected="certificates, PEM"
        ) from exc
    return data


def _read(path: Path, field: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise Unavailable(f"{path} cannot be read: {exc}", field=field) from exc
