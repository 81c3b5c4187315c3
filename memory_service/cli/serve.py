"""The command that runs a memory."""

import argparse

from memory_service.cli.command import Command, Environment
from memory_service.cli.config_options import config_options
from memory_service.cli.logging_options import add_logging_options
from memory_service.cli.output import Answer


def _serve(options: argparse.Namespace) -> Answer:
    from memory_service.config import ServiceConfig
    from memory_service.server import serve  # the engine: no other command needs it, nor what it needs

    serve(ServiceConfig(**{option.field: getattr(options, option.field) for option in config_options()}))
    return None


def _arguments(parser: argparse.ArgumentParser, environment: Environment) -> None:
    group = parser.add_argument_group("configuration", "each also by the environment variable in brackets")
    for option in config_options():
        option.add_to(group, environment)
    add_logging_options(parser, argparse.SUPPRESS, argparse.SUPPRESS)


COMMANDS = (
    Command(
        name="serve",
        help="run a memory until SIGTERM or SIGINT",
        example="reverie-memory serve --data ./memory --address 127.0.0.1:50051",
        arguments=_arguments,
        run=_serve,
    ),
)
