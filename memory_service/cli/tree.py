"""All commands, as one parser."""

import argparse
from functools import partial

from memory_service import __version__
from memory_service.cli import (
    completion,
    health,
    pools,
    serve,
    status,
    tokens,
    transfer,
    verify,
    videos,
    watch,
)
from memory_service.cli.command import Environment, add_commands
from memory_service.cli.logging_options import add_logging_options, logging_defaults


def parser(environment: Environment) -> argparse.ArgumentParser:
    """The parser of the whole command line; `environment` gives defaults."""
    top = argparse.ArgumentParser(
        prog="reverie-memory",
        description="A pooled latent memory for video generators: run one, or ask one.",
        epilog="COMMAND --help shows its options, an example and the exit codes.",
    )
    top.add_argument("--version", action="version", version=f"reverie-memory {__version__}")
    add_logging_options(top, *logging_defaults(environment))
    groups = (serve, health, status, pools, videos, transfer, watch, verify, tokens)
    commands = [command for group in groups for command in group.COMMANDS]
    commands += completion.commands(partial(parser, environment))
    add_commands(top, commands, environment)
    return top
