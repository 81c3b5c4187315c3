"""reverie-encoder: collects latents, trains the retrieval encoder on them, and measures its embedding."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from encoder.commands import centre, corpus, evaluate, export, import_, train

COMMANDS = (corpus, train, centre, evaluate, export, import_)


def main(arguments: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else list(arguments)
    parser = argparse.ArgumentParser(prog="reverie-encoder", description=__doc__)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        command.add(commands)
    options = parser.parse_args(words, argparse.Namespace(environment=os.environ, words=words))
    try:
        return options.execute(options)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
