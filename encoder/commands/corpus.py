"""reverie-encoder corpus: collects latents in a folder, one file per video, and says what is there.

Where latents come from is a plug-in, a function of the entry-point group `encoder.corpora` that adds a
subcommand: the encoder knows neither the generator nor the memory.
"""

from __future__ import annotations

import argparse
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from rich.console import Console

Commands = Any
"""What `add_subparsers` returns; argparse has no public name for it."""

GROUP = "encoder.corpora"
OF_THE_GENERATOR = ("rollouts", "pool", "painted")
"""Sources that are there wherever the generator is installed."""


def add(commands: Commands) -> None:
    parser = commands.add_parser("corpus", help="collect latents to train on", description=__doc__)
    sources = parser.add_subparsers(title="sources", metavar="SOURCE", required=True)
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    for name in sorted(found.keys() | set(OF_THE_GENERATOR)):
        _add_source(sources, name, found.get(name))
    listing = sources.add_parser("list", help="say what lies in folders", description=list_videos.__doc__)
    listing.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="or a file of latents")
    listing.set_defaults(execute=list_videos)


def list_videos(options: argparse.Namespace) -> int:
    """A line per video, and the sum; the videos of all folders must be of one latent shape."""
    from encoder.corpus import Corpus, CorpusError

    try:
        corpus = Corpus.open(options.folders)
    except CorpusError as error:
        return fail(error)
    console = Console(highlight=False, soft_wrap=True)
    for video in corpus.videos:
        dtype = str(video.dtype).removeprefix("torch.")
        known = ", places" if video.has_places else ""
        console.print(f"{video.name}: {video.num_frames} frames, {dtype}{known}", markup=False)
    num_bytes = sum(video.num_bytes for video in corpus.videos)
    num_places = sum(video.has_places for video in corpus.videos)
    shape = " x ".join(map(str, corpus.latent_shape))
    console.print(
        f"{len(corpus.videos)} videos, {num_places} with places, {corpus.num_frames} frames of {shape}, "
        f"{num_bytes:,} bytes"
    )
    return 0


def add_corpus(parser: argparse.ArgumentParser, what: str) -> None:
    """The option by which other commands take a corpus."""
    parser.add_argument(
        "--corpus",
        action="append",
        type=Path,
        required=True,
        metavar="PATH",
        help=f"{what}; may be repeated",
    )


def fail(error: object) -> int:
    """Say why a command cannot go on; its exit code."""
    Console(stderr=True, style="red", highlight=False, markup=False, soft_wrap=True).print(
        f"reverie-encoder: {error}"
    )
    return 1


def _add_source(sources: Commands, name: str, entry: EntryPoint | None) -> None:
    """A source, or in its place what says why it is not there."""
    if entry is None:
        _add_missing(sources, name, "it comes with the generator, which is not installed here")
        return
    try:
        add_source = entry.load()
    except ImportError as error:
        _add_missing(sources, name, f"{entry.value} cannot be loaded: {error}")
        return
    add_source(sources)


def _add_missing(sources: Commands, name: str, reason: str) -> None:
    # Options are taken as words, whatever they are: what is wrong is not the command line.
    missing = sources.add_parser(name, help="not installed", add_help=False, prefix_chars="\0")
    missing.add_argument("words", nargs="*")
    missing.set_defaults(execute=lambda _: fail(f"no source {name!r}: {reason}"))
