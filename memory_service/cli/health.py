"""The command that asks the standard health service, as load balancers and containers do."""

import argparse

from memory_service.cli.asking import asking, tls, token
from memory_service.cli.command import Command
from memory_service.cli.output import Answer
from memory_service.errors import Unavailable

_CHECK = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"
"""HealthCheckResponse{status: SERVING}: the client needs no package for a message of one field."""


def _health(options: argparse.Namespace) -> Answer:
    import grpc  # slow to load: --help and completion do without

    from memory_service.wire.status import from_rpc_error

    credentials = tls(options)
    channel = (
        grpc.insecure_channel(options.memory)
        if credentials is None
        else grpc.secure_channel(options.memory, credentials.credentials(), list(credentials.options()))
    )
    bearer = token(options)
    metadata = () if bearer is None else (("authorization", f"Bearer {bearer}"),)
    check: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_CHECK)
    with channel:
        try:
            answer = check(b"", timeout=options.timeout, metadata=metadata)
        except grpc.RpcError as exc:
            raise from_rpc_error(exc) from exc
    if answer != _SERVING:
        raise Unavailable("the memory answers, but does not serve", expected="a look at its log")
    return {"status": "serving"}


COMMANDS = (
    Command(
        name="health",
        help="ask whether the memory serves; exits with 5 when it does not",
        example="reverie-memory health --memory unix:/run/reverie/memory.sock",
        arguments=asking(),
        run=_health,
    ),
)
