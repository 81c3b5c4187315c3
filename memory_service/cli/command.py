"""What a command is, and how a tree of them becomes a parser."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from memory_service.cli.exit_codes import MEANINGS
from memory_service.cli.output import Answer

Environment: TypeAlias = Mapping[str, str]
"""The variables that give defaults; only the entry point reads the real one."""

Arguments: TypeAlias = Callable[[argparse.ArgumentParser, Environment], None]
"""Adds to a parser what a command takes."""

_EXIT_CODES = "\n".join(f"  {code:<4}{meaning}" for code, meaning in MEANINGS.items())


@dataclass(frozen=True, kw_only=True)
class Command:
    """One word of the command line. A command with `commands` is a group and does nothing itself.

    `example` is a whole command line that works. `arguments` adds what the command takes; `run` gets the
    parsed options and returns what is to be printed. It raises ServiceError.
    """

    name: str
    help: str
    example: str
    arguments: Arguments | None = None
    run: Callable[[argparse.Namespace], Answer] | None = None
    commands: Sequence["Command"] = field(default=())

    def add_to(self, subparsers: Any, environment: Environment) -> None:
        """Add the command, and those below it, to argparse's subparsers."""
        parser: argparse.ArgumentParser = subparsers.add_parser(
            self.name,
            help=self.help,
            description=f"{self.help[0].upper()}{self.help[1:]}.",
            epilog=f"example:\n  {self.example}\n\nexit codes:\n{_EXIT_CODES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if self.arguments is not None:
            self.arguments(parser, environment)
        if self.run is not None:
            parser.set_defaults(run=self.run)
        add_commands(parser, self.commands, environment)


def add_commands(
    parser: argparse.ArgumentParser, commands: Sequence[Command], environment: Environment
) -> None:
    """Let one of `commands` follow; where there are any, one must."""
    if commands:
        below = parser.add_subparsers(required=True, metavar="COMMAND")
        for command in commands:
            command.add_to(below, environment)
