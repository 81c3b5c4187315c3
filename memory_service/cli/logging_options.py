"""The options that say what is logged, and how."""

import argparse

from memory_service.cli.command import Environment

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
FORMATS = ("text", "json")


def logging_defaults(environment: Environment) -> tuple[str, str]:
    """Level and form as the environment says: argparse checks no default. Raises ArgumentTypeError."""
    said = []
    for name, choices, default in (("LEVEL", LEVELS, "INFO"), ("FORMAT", FORMATS, "text")):
        variable = f"REVERIE_MEMORY_LOG_{name}"
        value = environment.get(variable) or default
        if value not in choices:
            words = ", ".join(choices)
            raise argparse.ArgumentTypeError(f"{variable} is {value!r}, expected one of {words}")
        said.append(value)
    return said[0], said[1]


def add_logging_options(parser: argparse.ArgumentParser, level: str, form: str) -> None:
    """Add --log-level and --log-format with these defaults."""
    group = parser.add_argument_group("logging")
    group.add_argument(
        "--log-level", default=level, choices=LEVELS, help="least level logged (REVERIE_MEMORY_LOG_LEVEL)"
    )
    group.add_argument(
        "--log-format",
        default=form,
        choices=FORMATS,
        help="text for people, json for log collectors: one object a line (REVERIE_MEMORY_LOG_FORMAT)",
    )
