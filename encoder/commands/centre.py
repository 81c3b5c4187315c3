"""reverie-encoder centre: moves the origin of a checkpoint's embedding to the mean of a corpus.

What is reconstructed stays the same. Scores, the cosines from the origin, spread out: without it those of an
encoder that is trained with smoothness may all be near 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from encoder.commands.corpus import fail


def add(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser(
        "centre", help="move the embedding's origin to the mean of a corpus", description=__doc__
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="ours or the published one")
    parser.add_argument(
        "--corpus",
        action="append",
        type=Path,
        required=True,
        metavar="PATH",
        help="folder or file of latents, such as it was trained on; may be repeated",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.safetensors")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    from encoder import checkpoint
    from encoder.centring import centred, find_centre
    from encoder.corpus import Corpus, CorpusError

    try:
        model, corpus = checkpoint.load(options.checkpoint), Corpus.open(options.corpus)
        before = find_centre(model, corpus)
        moved = centred(model, before.mean)
        checkpoint.save(moved, options.out)
    except (CorpusError, checkpoint.CheckpointError, OSError, ValueError) as error:
        return fail(error)
    after = find_centre(moved, corpus)
    print(
        f"mean cosine of two frames of {len(corpus.videos)} videos: {before.cosine:.4f} before, "
        f"{after.cosine:.4f} after; written: {options.out}"
    )
    return 0
