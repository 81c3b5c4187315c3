"""reverie-generate: rolls out prompts against a memory."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from generator.options.groups import parser


def main(arguments: Sequence[str] | None = None) -> int:
    words = sys.argv[1:] if arguments is None else list(arguments)
    options = parser().parse_args(words, argparse.Namespace(environment=os.environ, words=words))
    # A parent ends its children with SIGTERM; they must leave as on Ctrl-C, with files and memory closed.
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return options.execute(options)
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
