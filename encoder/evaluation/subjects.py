"""What is evaluated: the videos of folders and files, and the embeddings by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from encoder import checkpoint
from encoder.checkpoint import CheckpointError
from encoder.corpus import Corpus, CorpusError, CorpusVideo
from encoder.evaluation import video_file
from encoder.evaluation.retrievers import CONTROLS
from encoder.evaluation.video_file import PixelVideo
from encoder.evaluation.views import Views
from encoder.latent_file import Shape
from encoder.model import Encoder, LatentAE
from encoder.pooling import pool_named
from encoder.untrained import UNTRAINED

VIEW_CELLS = "view_cells"

Video = CorpusVideo | PixelVideo


def open_videos(paths: Sequence[Path]) -> tuple[Video, ...]:
    """Videos of one latent shape, by name. Raises CorpusError."""
    files = [path for path in paths if path.suffix.lower() in video_file.SUFFIXES]
    latents = [path for path in paths if path not in files]
    pixels = [video_file.read(path) for path in files]
    videos: list[Video] = [*pixels, *(Corpus.open(latents).videos if latents else ())]
    if not videos:
        raise CorpusError("expected at least one corpus, got none")
    shapes = {video.latent_shape: video.name for video in videos}
    if len(shapes) > 1:
        told = ", ".join(f"{list(shape)} ({name})" for shape, name in shapes.items())
        raise CorpusError(f"expected frames of one shape, got {told}; evaluate them one after the other")
    names = [video.name for video in videos]
    if len(set(names)) < len(names):
        raise CorpusError(f"two videos have one name: {', '.join(sorted(names))}")
    return tuple(sorted(videos, key=lambda video: video.name))


def views_of(video: Video) -> Views | None:
    """The truth about a video, where its corpus has it. Raises CorpusError."""
    places = video.places()
    if places is None:
        return None
    told = video.metadata.get(VIEW_CELLS, "")
    if not told.isdecimal() or int(told) < 1:
        raise CorpusError(
            f"video {video.name!r} has places and {VIEW_CELLS} = {told!r}; expected the view's width in "
            "cells, at least 1"
        )
    return Views(places.numpy().astype(np.int64), int(told))


def encoders(told: Sequence[str], latent_shape: Shape) -> Mapping[str, Encoder]:
    """The embeddings of `NAME=WHAT`, in order; WHAT is of UNTRAINED or a checkpoint, and the name if alone.

    Raises CheckpointError, also where one does not fit the latents; FileNotFoundError; ValueError where two
    rows would have one name.
    """
    found: dict[str, Encoder] = {}
    for text in told:
        name, _, what = text.rpartition("=")
        name = name or (what if what in UNTRAINED else Path(what).stem)
        if name in found or name in CONTROLS:
            raise ValueError(f"two rows would be named {name!r}; expected a name of its own for {what}")
        found[name] = _encoder(what, latent_shape)
    return found


def _encoder(what: str, latent_shape: Shape) -> Encoder:
    if what in UNTRAINED:
        return pool_named(what, latent_shape)
    model: LatentAE = checkpoint.load(what)
    reads = model.config.latent_shape
    if reads != latent_shape:
        raise CheckpointError(f"{what} reads latents of {list(reads)}, the corpus has {list(latent_shape)}")
    return model
