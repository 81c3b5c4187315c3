"""The options that say what is logged, and how."""

import argparse

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
FORMATS = ("text", "json")


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
