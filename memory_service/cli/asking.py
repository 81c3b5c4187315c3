"""Commands that ask a memory: whom, how long, with which token and certificates."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from memory_service.cli.command import Arguments, Environment
from memory_service.cli.output import Answer, Row
from memory_service.cli.quantities import seconds
from memory_service.errors import InvalidArgument
from memory_service.memory import Memory
from memory_service.types import VideoKey

if TYPE_CHECKING:
    from memory_service.security.tls import ClientTLS

DEFAULT_ADDRESS = "127.0.0.1:50051"
KEY_METAVAR = "POOL/VIDEO"
POOL_METAVAR = "POOL"


def asking(add: Callable[[argparse.ArgumentParser], None] | None = None) -> Arguments:
    """The arguments of a command that asks a memory, after its own."""

    def arguments(parser: argparse.ArgumentParser, environment: Environment) -> None:
        if add is not None:
            add(parser)
        _add_client_options(parser, environment)

    return arguments


def asks(
    question: Callable[[Memory, argparse.Namespace], Answer],
) -> Callable[[argparse.Namespace], Answer]:
    """Run `question` with a client as the options say; it is closed when the answer is complete."""

    def run(options: argparse.Namespace) -> Answer:
        memory = connected(options)
        try:
            answer = question(memory, options)
        except BaseException:
            memory.close()
            raise
        if isinstance(answer, Iterator):
            return _closing(memory, answer)
        memory.close()
        return answer

    return run


def connected(options: argparse.Namespace) -> Memory:
    """A client as the options say. Raises InvalidArgument where they contradict each other."""
    from memory_service.client import MemoryClient  # gRPC: --help and completion do without

    return MemoryClient(
        options.memory,
        timeout_s=options.timeout,
        token=token(options),
        tls=tls(options),
        insecure_token=options.insecure_token,
    )


def parse_key(text: str) -> VideoKey:
    """The video that "POOL/VIDEO" names. Raises InvalidArgument."""
    pool, slash, video = text.partition("/")
    if not slash:
        raise InvalidArgument(f"{text!r} names no video", field="key", expected=KEY_METAVAR)
    return VideoKey(pool, video)


def add_json(parser: argparse.ArgumentParser) -> None:
    """The option that every command has."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_client_options(parser: argparse.ArgumentParser, environment: Environment) -> None:
    group = parser.add_argument_group("the memory")
    group.add_argument(
        "--memory",
        default=environment.get("REVERIE_MEMORY_ADDRESS") or DEFAULT_ADDRESS,
        metavar="ADDRESS",
        help="whom to ask, host:port or unix:/path (default: %(default)s; REVERIE_MEMORY_ADDRESS)",
    )
    group.add_argument(
        "--timeout", type=seconds, default=5.0, metavar="S", help="longest wait (default: %(default)s s)"
    )
    group.add_argument(
        "--token-file",
        type=Path,
        default=environment.get("REVERIE_MEMORY_TOKEN_FILE") or None,
        metavar="FILE",
        help="file that holds the token (REVERIE_MEMORY_TOKEN_FILE; or REVERIE_MEMORY_TOKEN, the token)",
    )
    group.add_argument("--tls", action="store_true", help="TLS, also without the options below")
    files = {"ca": "certificates to trust, PEM", "cert": "own certificate, PEM", "key": "its key, PEM"}
    for name, what in files.items():
        variable = f"REVERIE_MEMORY_CLIENT_{name.upper()}"  # the server's own are REVERIE_MEMORY_TLS_*
        group.add_argument(
            f"--tls-{name}",
            type=Path,
            default=environment.get(variable) or None,
            metavar="FILE",
            help=f"{what} ({variable})",
        )
    group.add_argument("--tls-server-name", metavar="NAME", help="name in the server's certificate")
    add_json(parser)
    group.add_argument(
        "--insecure-token", action="store_true", help="send the token to another machine also without TLS"
    )
    parser.set_defaults(token=environment.get("REVERIE_MEMORY_TOKEN"))


def tls(options: argparse.Namespace) -> "ClientTLS | None":
    """TLS as the options say; None for a connection without."""
    if not (options.tls or options.tls_ca or options.tls_cert or options.tls_key):
        return None
    from memory_service.security.tls import ClientTLS

    return ClientTLS(
        ca=options.tls_ca,
        cert=options.tls_cert,
        key=options.tls_key,
        server_name=options.tls_server_name,
    )


def token(options: argparse.Namespace) -> str | None:
    """The token of the options. Raises InvalidArgument where its file has none."""
    if options.token_file is None:
        return options.token or None
    from memory_service.remote.credentials import read_token

    return read_token(Path(options.token_file))


def _closing(memory: Memory, rows: Iterator[Row]) -> Iterator[Row]:
    try:
        yield from rows
    finally:
        memory.close()
