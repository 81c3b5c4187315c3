"""`reverie-encoder evaluate`: one row for each embedding, and for each way of choosing frames by it."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from encoder.commands.corpus import add_corpus
from encoder.evaluation.selection import Selection
from encoder.evaluation.window import Window
from encoder.untrained import AVG_POOL, UNTRAINED

TABLE_WIDTH = 136
POLICIES = ("top-k", "gap=2", "mmr=0.5")

EXAMPLE = """\
example:
  reverie-encoder evaluate --corpus out/corpus/heldout --out out/evaluation \\
      --encoder avg-pool --encoder full=out/full/best.safetensors
"""


def add(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="measure embeddings on a corpus: what they retrieve, how they collapse, what they cost",
        description="Random and newest frames, and an oracle where places are known, are measured too.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_corpus(parser, "folder or file of latents, or a video file, read as pixels")
    parser.add_argument(
        "--encoder",
        action="append",
        default=[],
        metavar="[NAME=]WHAT",
        help=f"{', '.join(UNTRAINED)} or a checkpoint (ours or the published one); may be repeated",
    )
    parser.add_argument(
        "--policy",
        action="append",
        type=_selection,
        metavar="POLICY",
        help=f"top-k, gap=FRAMES or mmr=LAMBDA; may be repeated; default: {', '.join(POLICIES)}",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="tables and figures")
    parser.add_argument("--seed", type=int, default=0, help="of the draws; default: %(default)s")
    window = parser.add_argument_group("the rollout's window, in latent frames")
    for field in fields(Window):
        flag = f"--{field.name.replace('_', '-')}"
        window.add_argument(flag, type=int, default=field.default, metavar="N", help="default: %(default)s")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    # What is wrong with the options is said without waiting for torch.
    from rich.console import Console

    from encoder.checkpoint import CheckpointError
    from encoder.corpus import CorpusError
    from encoder.evaluation import report
    from encoder.evaluation.results import about, tables
    from encoder.evaluation.study import measure
    from encoder.evaluation.subjects import encoders, open_videos

    try:
        window = Window(**{field.name: getattr(options, field.name) for field in fields(Window)})
        videos = open_videos(options.corpus)
        compared = encoders(options.encoder or [AVG_POOL], videos[0].latent_shape)
        selections = options.policy or [Selection.parse(text) for text in POLICIES]
        study = measure(videos, compared, selections, window, options.seed)
        written = report.write(study, options.out)
    except (CorpusError, CheckpointError, OSError, ValueError) as error:
        print(f"reverie-encoder: {error}", file=sys.stderr)
        return 1
    console = Console(highlight=False)
    # Rather a table whose lines wrap than one whose numbers are cut.
    console.width = max(console.width, TABLE_WIDTH)
    for table in tables(study):
        if table.rows:
            console.print(table.rich())
    console.print(about(study))
    console.print(f"Written: {', '.join(path.name for path in written)} in {options.out}")
    return 0


def _selection(text: str) -> Selection:
    try:
        return Selection.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
