"""reverie-encoder: collects latents, trains the retrieval encoder on them, and measures its embedding."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from encoder.commands import corpus, evaluate, train

COMMANDS = (corpus, train, evaluate)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="reverie-encoder", description=__doc__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    options = parser.parse_args(arguments)
    return options.execute(options)


if __name__ == "__main__":
    sys.exit(main())
