"""reverie-encoder centre: moves the origin of a checkpoint's embedding to the mean of a corpus.

What is reconstructed stays the same. Scores, the cosines from the origin, spread out: without it those of an
encoder that is trained with smoothness may all be near 1. The result is another encoder: a memory that was
filled with the former one is not gone on with.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from encoder.commands.corpus import add_corpus, fail


def add(commands: argparse._SubParsersAction[Any]) -> None:
    parser = commands.add_parser(
        "centre", help="move the embedding's origin to the mean of a corpus", description=__doc__
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="ours or the published one")
    add_corpus(parser, "folder or file of latents, such as it was trained on")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE.safetensors", help="another file than CHECKPOINT"
    )
    parser.add_argument("--cpu", action="store_true", help="leave a CUDA device alone")
    parser.set_defaults(execute=execute)


def execute(options: argparse.Namespace) -> int:
    from encoder.centring import CentringError
    from encoder.checkpoint import CheckpointError
    from encoder.corpus import CorpusError

    try:
        _check_out(options.out, options.checkpoint)
        _centre(options)
    except (CentringError, CorpusError, CheckpointError, OSError) as error:
        return fail(error)
    return 0


def _check_out(out: Path, source: Path) -> None:
    """Before a long corpus is embedded in vain. Raises CentringError."""
    from encoder.centring import CentringError

    if out.suffix != ".safetensors" or out.is_dir():
        raise CentringError(f"--out {out}: expected a file whose name ends in .safetensors")
    if out.resolve() == source.resolve():
        raise CentringError(f"--out {out}: expected another file than the checkpoint itself")
    if not out.absolute().parent.is_dir():
        raise CentringError(f"--out {out}: there is no folder {out.parent}")


def _centre(options: argparse.Namespace) -> None:
    import torch

    from encoder import checkpoint
    from encoder.centring import CentringError, centre_of, centred, embed, mean_cosine
    from encoder.corpus import Corpus

    corpus = Corpus.open(options.corpus)
    if corpus.num_frames < 2:
        raise CentringError("expected a corpus of at least two frames, got one")
    device = "cpu" if options.cpu or not torch.cuda.is_available() else "cuda"
    model = checkpoint.load(options.checkpoint).to(device)
    console = Console(stderr=True)
    embeddings_FD = embed(model, track(corpus.videos, "embedding", console=console, transient=True))
    mean_D = centre_of(embeddings_FD)
    before, after = mean_cosine(embeddings_FD), mean_cosine(embeddings_FD - mean_D)
    checkpoint.save(centred(model.cpu(), mean_D), options.out)
    print(
        f"mean cosine of two frames of {len(corpus.videos)} videos: {before:.4f} before, {after:.4f} after; "
        f"written: {options.out}"
    )
