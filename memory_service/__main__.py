"""The command `reverie-memory`: run a memory, or ask one. `cli.exit_codes` says how it exits."""

import argparse
import os
import sys
from collections.abc import Sequence

from memory_service.cli.exit_codes import DONE, EXIT_CODES, INTERRUPTED
from memory_service.cli.output import write
from memory_service.cli.tree import parser
from memory_service.errors import ServiceError
from memory_service.telemetry.logs import configure


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` as in `sys.argv[1:]`. Returns the exit code."""
    try:
        options = parser(os.environ).parse_args(argv)
        configure(options.log_level, options.log_format)
        write(options.run(options), as_json=getattr(options, "json", False))
    except ServiceError as error:
        print(f"reverie-memory: {error}", file=sys.stderr)
        return EXIT_CODES[type(error)]
    except argparse.ArgumentTypeError as error:  # of a variable of the environment
        print(f"reverie-memory: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader, e.g. head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE


if __name__ == "__main__":
    sys.exit(main())
