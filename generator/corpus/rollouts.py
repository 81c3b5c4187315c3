"""reverie-encoder corpus rollouts: what a frozen generator makes of a list of prompts."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from generator.commands.batch import at_least_one, seeds
from generator.options.groups import METHODS, Commands, add_model, add_window

NOTES = """PROMPTS is a file as `reverie-generate batch` reads it, or toy:COUNT[:SEED], a list that is drawn
for the toy: scenes, and pans, holds and turns of the camera.

There is a file per prompt and seed. Started again, it makes what is missing and nothing else, and the same
bytes; what is there and was made otherwise is refused. A method that retrieves nothing needs no encoder.
Results do not depend on the number of workers; that is why --threads is 1 here unless it is given.

examples:
  reverie-encoder corpus rollouts --prompts toy:64 --frames 240 --workers 2 --out out/corpus
  reverie-encoder corpus rollouts --prompts prompts.txt --share 0.1 --backbone longlive --sink 3
                                  --device cuda:0,cuda:1 --workers 2 --out out/corpus
The second is the paper's corpus, given its list of prompts: a tenth of it, 90 latent frames each, three of
them sink.
"""


def add(sources: Commands) -> None:
    rollouts = sources.add_parser(
        "rollouts",
        help="roll out prompts with a frozen generator",
        description="Roll out prompts with a frozen generator and keep the latents.",
        epilog=NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = rollouts.add_argument_group("what to collect")
    what.add_argument("--prompts", required=True, metavar="PROMPTS", help="a list, see below")
    what.add_argument(
        "--share",
        type=float,
        default=1.0,
        metavar="X",
        help="of the list, by --sample-seed; default: 1",
    )
    what.add_argument("--sample-seed", type=int, default=0, metavar="N", help="default: %(default)s")
    what.add_argument("--seeds", type=seeds, default=(0,), metavar="N,N-N", help="default: 0")
    what.add_argument("--method", choices=METHODS, default="native", help="default: %(default)s")
    what.add_argument(
        "--frames", type=int, default=90, metavar="N", help="latent frames a video; default: %(default)s"
    )
    what.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the files go")
    what.add_argument(
        "--replace", action="store_true", help="make files of these names anew that were made otherwise"
    )
    work = rollouts.add_argument_group("workers")
    work.add_argument(
        "--workers", type=at_least_one, default=1, metavar="N", help="processes; default: %(default)s"
    )
    work.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    work.add_argument("--recipe", help=argparse.SUPPRESS)
    add_window(rollouts)
    add_model(rollouts)
    rollouts.set_defaults(threads=1, execute=execute)


def execute(options: argparse.Namespace) -> int:
    """Make what is missing, or be a worker of those who do; the exit code."""
    from encoder.corpus import CorpusError
    from encoder.untrained import AVG_POOL
    from generator.corpus.making import make_rollouts, needs_encoder
    from generator.errors import GeneratorError
    from generator.processes.process import ProcessError

    if options.encoder is None and not needs_encoder(options.method):
        options.encoder = Path(AVG_POOL)
    if options.worker is not None:
        return serve(options)
    try:
        return make_rollouts(options, Console())
    except (GeneratorError, ProcessError, CorpusError, OSError) as error:
        errors = Console(stderr=True, style="red", highlight=False, markup=False, soft_wrap=True)
        errors.print(f"reverie-encoder: {error}")
        return 1


def serve(options: argparse.Namespace) -> int:
    """Be a worker."""
    from generator.corpus.worker import KNOWN, work

    try:
        work(options)
    except KNOWN as error:
        Console(stderr=True, highlight=False, markup=False, soft_wrap=True).print(f"{error}")
        return 1
    return 0
