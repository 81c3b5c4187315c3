"""TLS, over a real server: who is believed, who is let in, and what happens when certificates change."""

import shutil
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from callers import call, error_of
from certificates import Authority, Pair
from serving import ServerProcess

from memory_service.config import ServiceConfig
from memory_service.errors import InvalidArgument, ServiceError, Unauthenticated, Unavailable
from memory_service.security.tls import ClientTLS
from memory_service.security.token_file import create_token, revoke_token
from memory_service.server import Server
from memory_service.v1 import memory_pb2 as pb

INFO = pb.ServerInfoRequest()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that nobody here believes."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module")
def pair(authority: Authority) -> Pair:
    return authority.pair("server")


def serving(folder: Path, pair: Pair, **options: Any) -> Server:
    server = Server(
        ServiceConfig(
            data_dir=folder / "data", address="127.0.0.1:0", tls_cert=pair.cert, tls_key=pair.key, **options
        )
    )
    server.start()
    return server


@pytest.fixture
def server(tmp_path: Path, pair: Pair) -> Iterator[Server]:
    running = serving(tmp_path, pair)
    yield running
    running.stop()


@pytest.fixture
def mutual(tmp_path: Path, pair: Pair, authority: Authority) -> Iterator[Server]:
    running = serving(tmp_path, pair, tls_client_ca=authority.cert)
    yield running
    running.stop()


def refusal(address: str, tls: ClientTLS | None, token: str | None = None) -> ServiceError | None:
    """What a new connection is refused with, or None."""
    if tls is None:
        channel = grpc.insecure_channel(address)
    else:
        options = [*tls.options(), ("grpc.use_local_subchannel_pool", 1)]
        channel = grpc.secure_channel(address, tls.credentials(), options=options)
    with channel:
        return error_of(channel, "ServerInfo", INFO, token=token)


def test_a_server_that_the_authority_vouches_for(server: Server, authority: Authority) -> None:
    assert refusal(server.address, ClientTLS(ca=authority.cert)) is None


def test_another_name_must_be_asked_for(tmp_path: Path, authority: Authority) -> None:
    server = serving(tmp_path, authority.pair("elsewhere", hosts="DNS:memory.example"))
    try:
        assert type(refusal(server.address, ClientTLS(ca=authority.cert))) is Unavailable
        named = ClientTLS(ca=authority.cert, server_name="memory.example")
        assert refusal(server.address, named) is None
    finally:
        server.stop()


def test_a_client_believes_no_other_authority(server: Server, stranger: Authority) -> None:
    assert type(refusal(server.address, ClientTLS(ca=stranger.cert))) is Unavailable


def test_no_plain_text_is_answered(server: Server) -> None:
    assert type(refusal(server.address, None)) is Unavailable


def test_mutual(mutual: Server, authority: Authority, stranger: Authority) -> None:
    good, bad = authority.pair("client"), stranger.pair("client")
    assert refusal(mutual.address, ClientTLS(ca=authority.cert, cert=good.cert, key=good.key)) is None
    assert type(refusal(mutual.address, ClientTLS(ca=authority.cert))) is Unavailable
    unknown = ClientTLS(ca=authority.cert, cert=bad.cert, key=bad.key)
    assert type(refusal(mutual.address, unknown)) is Unavailable


@pytest.mark.parametrize(
    ("version", "spoken"),
    [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, True)],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_versions(server: Server, authority: Authority, version: ssl.TLSVersion, *, spoken: bool) -> None:
    context = ssl.create_default_context(cafile=str(authority.cert))
    context.minimum_version = context.maximum_version = version
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # or OpenSSL would not even offer TLS 1.1
    context.set_alpn_protocols(["h2"])
    host, _, port = server.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        if spoken:
            with context.wrap_socket(plain, server_hostname=host) as wrapped:
                assert wrapped.selected_alpn_protocol() == "h2"
        else:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                context.wrap_socket(plain, server_hostname=host)


def test_certificates_are_replaced_while_it_serves(
    tmp_path: Path, authority: Authority, stranger: Authority, pair: Pair
) -> None:
    files = Pair(tmp_path / "now.pem", tmp_path / "now.key")
    install(pair, files)
    server = serving(tmp_path, files)
    old, new = ClientTLS(ca=authority.cert), ClientTLS(ca=stranger.cert)
    try:
        with grpc.secure_channel(server.address, old.credentials()) as before:
            call(before, "ServerInfo", INFO)
            install(stranger.pair("successor"), files)
            assert type(refusal(server.address, new)) is Unavailable, "nobody told it"
            assert server.reload()
            assert refusal(server.address, new) is None
            assert type(refusal(server.address, old)) is Unavailable
            call(before, "ServerInfo", INFO)  # a connection that is there goes on
    finally:
        server.stop()


def test_bad_certificates_change_nothing(
    tmp_path: Path, authority: Authority, pair: Pair, caplog: pytest.LogCaptureFixture
) -> None:
    files = Pair(tmp_path / "now.pem", tmp_path / "now.key")
    install(pair, files)
    server = serving(tmp_path, files)
    try:
        shutil.copy(authority.pair("another").cert, files.cert)  # which does not go with the key
        assert not server.reload()
        assert refusal(server.address, ClientTLS(ca=authority.cert)) is None
        files.key.unlink()
        assert not server.reload()
        assert refusal(server.address, ClientTLS(ca=authority.cert)) is None
        assert caplog.text.count("certificates kept") == 2
    finally:
        server.stop()


def install(pair: Pair, files: Pair) -> None:
    shutil.copy(pair.cert, files.cert)
    shutil.copy(pair.key, files.key)
    files.key.chmod(0o600)


@pytest.mark.parametrize("change", ["mismatch", "garbage", "readable", "missing", "ca"])
def test_files_that_cannot_be_used_stop_the_start(
    tmp_path: Path, authority: Authority, pair: Pair, change: str
) -> None:
    files = Pair(tmp_path / "now.pem", tmp_path / "now.key")
    install(pair, files)
    client_ca = None
    if change == "mismatch":
        shutil.copy(authority.pair("another").cert, files.cert)
    elif change == "garbage":
        files.cert.write_text("not a certificate")
    elif change == "readable":
        files.key.chmod(0o644)
    elif change == "missing":
        files.cert.unlink()
    else:
        client_ca = tmp_path / "ca.pem"
        client_ca.write_text("nothing")
    with pytest.raises((InvalidArgument, Unavailable)) as caught:
        serving(tmp_path, files, tls_client_ca=client_ca)
    assert caught.value.field.startswith("tls_")


@pytest.mark.parametrize(("cert", "key"), [(Path("a"), None), (None, Path("a"))])
def test_half_a_pair_is_refused(cert: Path | None, key: Path | None) -> None:
    with pytest.raises(InvalidArgument):
        ClientTLS(cert=cert, key=key)
    with pytest.raises(InvalidArgument):
        ServiceConfig(data_dir=Path("data"), tls_cert=cert, tls_key=key)


def test_tokens_and_certificates_on_hangup(tmp_path: Path, authority: Authority, pair: Pair) -> None:
    """As it is run: any address, TLS and tokens from files, both read again on SIGHUP."""
    files, tokens = Pair(tmp_path / "now.pem", tmp_path / "now.key"), tmp_path / "tokens.json"
    install(pair, files)
    first = create_token(tokens, "first", {"*": ["read"]}).text
    options = ["--tls-cert", files.cert, "--tls-key", files.key, "--tokens-file", tokens]
    with ServerProcess(tmp_path / "data", "0.0.0.0:0", *map(str, options)) as server:
        address = f"localhost:{server.address.rpartition(':')[2]}"
        tls = ClientTLS(ca=authority.cert)
        assert type(refusal(address, tls)) is Unauthenticated
        assert refusal(address, tls, first) is None
        second = create_token(tokens, "second", {"*": ["read"]}).text
        revoke_token(tokens, "first")
        assert type(refusal(address, tls, second)) is Unauthenticated
        server.send(signal.SIGHUP)
        until(lambda: refusal(address, tls, second) is None)
        assert type(refusal(address, tls, first)) is Unauthenticated
        tokens.chmod(0o644)
        server.send(signal.SIGHUP)
        until(lambda: "tokens kept" in server.log.read_text())
        assert refusal(address, tls, second) is None
        server.send(signal.SIGTERM)
        assert server.wait() == 0


def until(holds: Any, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
