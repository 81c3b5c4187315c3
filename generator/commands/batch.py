"""reverie-generate batch: a list of prompts over worker processes that share one memory."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from generator.connect import EMBEDDED
from generator.options.groups import METHODS, add_model, add_window, check_selection

if TYPE_CHECKING:
    from generator.options.groups import Commands

FORMAT = """PROMPTS is a text file, a prompt a line; empty lines and lines that start with "#" do not count.
A video is named after the first words of its prompt and six digits of its digest. In a file that ends in
.jsonl a line is {"prompt": "...", "name": "..."}, and the name is used where there is one. The seed is added
to the name, and the method unless it is longlive_rag.

A batch that is started again makes what is not complete. A job is complete where prompt, seed, method,
frames, window, model, content of the weights and versions are those that it was made with, and its files have
the same bytes.

Results do not depend on the number of workers or on the order of the list. That is why --threads is 1 here
unless it is given: how sums are split over threads changes their last bits.

example:
  reverie-generate batch prompts.txt --out out/batch --workers 2 --methods longlive_rag,native --seeds 0-3
"""
SEEDS = re.compile(r"(\d+)(?:-(\d+))?", re.ASCII)
MAX_SEEDS = 10_000


def add(commands: Commands) -> None:
    batch = commands.add_parser(
        "batch",
        help="roll out a list of prompts with several workers",
        description="Roll out a list of prompts with several workers.",
        epilog=FORMAT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_list(batch)
    add_shared_memory(batch)
    add_window(batch)
    add_model(batch)
    batch.set_defaults(threads=1, execute=execute)


def add_list(batch: argparse.ArgumentParser) -> None:
    what = batch.add_argument_group("what to generate")
    what.add_argument("prompts", type=Path, metavar="PROMPTS", help="a file, see below")
    what.add_argument(
        "--methods", type=methods, default=METHODS[:1], metavar="A,B", help=f"of {', '.join(METHODS)}"
    )
    what.add_argument("--seeds", type=seeds, default=(0,), metavar="N,N-N", help="default: 0")
    what.add_argument(
        "--frames",
        type=int,
        default=240,
        help="latent frames a video, whole blocks of 3; default: %(default)s",
    )
    what.add_argument(
        "--out", type=Path, default=Path("out/batch"), metavar="DIR", help="default: %(default)s"
    )
    what.add_argument("--dry-run", action="store_true", help="say what would be made, and why; make nothing")
    work = batch.add_argument_group("workers")
    work.add_argument(
        "--workers",
        type=at_least_one,
        default=1,
        metavar="N",
        help="processes, each with a model; --device cuda:0,cuda:1 shares them out; default: %(default)s",
    )
    work.add_argument("--worker", type=int, help=argparse.SUPPRESS)


def add_shared_memory(batch: argparse.ArgumentParser) -> None:
    memory = batch.add_argument_group("memory")
    memory.add_argument(
        "--memory",
        type=service,
        metavar="ADDRESS",
        help='a service, "127.0.0.1:50051" or "unix:/path"; default: one of its own, in its folder',
    )
    memory.add_argument("--pool", default="batch", help="default: %(default)s")
    memory.add_argument(
        "--replace",
        action="store_true",
        help="overwrite videos and files of these names that no batch made here",
    )


def service(text: str) -> str:
    """The address of a service. Raises ArgumentTypeError."""
    if text.startswith(EMBEDDED):
        raise argparse.ArgumentTypeError(f"{text!r} would be of one process; workers need a service to share")
    return text


def methods(text: str) -> tuple[str, ...]:
    """Names of methods, each once. Raises ArgumentTypeError."""
    names = tuple(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in METHODS]:
        raise argparse.ArgumentTypeError(f"no method {unknown[0]!r}; expected some of {', '.join(METHODS)}")
    return names


def seeds(text: str) -> tuple[int, ...]:
    """Seeds out of "0,3,8-11", each once. Raises ArgumentTypeError."""
    chosen: dict[int, None] = {}
    for part in text.split(","):
        found = SEEDS.fullmatch(part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not 0 <= last - first < MAX_SEEDS:
            raise argparse.ArgumentTypeError(f"{part!r} is no seed and no range of seeds such as 0-3")
        chosen |= dict.fromkeys(range(first, last + 1))
    return tuple(chosen)


def at_least_one(text: str) -> int:
    """Raises ValueError, ArgumentTypeError."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {number}")
    return number


def execute(options: argparse.Namespace) -> int:
    from generator.errors import GeneratorError
    from generator.processes.process import ProcessError

    try:
        if options.worker is not None:
            return serve(options)
        from generator.batch.batch import run_batch

        check_selection(options, options.methods)
        return run_batch(options, Console())
    except (GeneratorError, ProcessError, OSError) as error:
        errors = Console(stderr=True, style="red", highlight=False, markup=False, soft_wrap=True)
        errors.print(f"reverie-generate: {error}")
        return 1


def serve(options: argparse.Namespace) -> int:
    """Be a worker."""
    from generator.batch.worker import KNOWN, work

    try:
        work(options)
    except KNOWN as error:
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(f"{error}")
        return 1
    return 0
