"""`reverie-encoder evaluate`."""

from __future__ import annotations

import argparse
from typing import Any


def add(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser("evaluate", help=__doc__)
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    raise NotImplementedError(options)
