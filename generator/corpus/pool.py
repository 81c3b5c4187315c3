"""reverie-encoder corpus pool: the memory is the corpus, and what it has of a pool is taken out of it."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from generator.commands.batch import at_least_one
from generator.connect import EMBEDDED, connect
from generator.errors import MissingFileError
from generator.options.groups import Commands

if TYPE_CHECKING:
    from memory_service.memory import Memory

MIN_FRAMES = 8
"""Frames of one training sample by default; a shorter video gives none."""

NOTES = """A video that has as many frames as its file, in the same epoch, is left alone; one that has grown
or was begun anew is taken again. Latents keep their dtype and every bit. A token and TLS files come from
the environment, as for reverie-generate.

examples:
  reverie-encoder corpus pool --memory 127.0.0.1:50051 --pool batch --out out/corpus
  reverie-encoder corpus pool --memory embedded:out/memory --videos village forest --out out/corpus
"""


def add(sources: Commands) -> None:
    pool = sources.add_parser(
        "pool",
        help="take latents out of a memory",
        description="Take the latents of a pool's videos out of a memory service or a data directory.",
        epilog=NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    pool.add_argument(
        "--memory",
        required=True,
        metavar="ADDRESS",
        help='"127.0.0.1:50051", "unix:/path", or "embedded:DIR" for a data directory that no server has',
    )
    pool.add_argument("--pool", default="default", help="default: %(default)s")
    pool.add_argument("--videos", nargs="+", metavar="VIDEO", help="default: all of the pool")
    pool.add_argument(
        "--min-frames",
        type=at_least_one,
        default=MIN_FRAMES,
        metavar="N",
        help="shorter videos are left out; default: %(default)s",
    )
    pool.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files go")
    pool.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Take out what is not there yet; the exit code."""
    from encoder.corpus import CorpusError
    from generator.corpus.taking import take_pool
    from generator.errors import GeneratorError
    from memory_service.errors import ServiceError

    try:
        with opened(options) as memory:
            take_pool(options, memory, Console())
    except (GeneratorError, ServiceError, CorpusError, OSError, ValueError) as error:
        errors = Console(stderr=True, style="red", highlight=False, markup=False, soft_wrap=True)
        errors.print(f"reverie-encoder: {error}")
        return 1
    return 0


@contextmanager
def opened(options: argparse.Namespace) -> Iterator[Memory]:
    """The memory, closed at the end. Raises ServiceError, MissingFileError where there is no directory."""
    directory = Path(options.memory.removeprefix(EMBEDDED))
    if options.memory.startswith(EMBEDDED) and not directory.is_dir():
        raise MissingFileError(directory, "the data directory of a memory")
    memory = connect(options.memory, options.environment)
    try:
        yield memory
    finally:
        memory.close()
