"""Centring: moves the origin of an embedding to the mean of a corpus.

Cosines are taken from the origin. An embedding whose frames all lie far off on one side of it, as smoothness
leaves them, has cosines near 1 throughout: their order tells places apart, their size tells nothing.
The bias of the encoder's last layer takes the mean off, that of the decoder's first layer adds what it was
worth there, so that reconstructions stay as they were. Shapes: F frames, D embedding dimension.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from encoder.corpus import Corpus
from encoder.model import LatentAE

BATCH = 256
"""Frames embedded at once."""


@dataclass(frozen=True)
class Centre:
    """Where a corpus lies in an embedding."""

    mean: Tensor
    """[D] float64, of embeddings that are not normalised."""
    cosine: float
    """Mean over all pairs of two frames of the corpus."""


@torch.inference_mode()
def find_centre(model: LatentAE, corpus: Corpus) -> Centre:
    """Embed every frame of a corpus. Raises CorpusError; ValueError for one alone or another shape."""
    shape = (model.config.in_channels, model.config.height, model.config.width)
    if corpus.latent_shape != shape:
        raise ValueError(f"the corpus has frames of {corpus.latent_shape}, the encoder takes {shape}")
    if corpus.num_frames < 2:
        raise ValueError("expected a corpus of at least two frames, got one")
    total, directions = (torch.zeros(model.embedding_dim, dtype=torch.float64) for _ in range(2))
    for latents in _batches(corpus):
        embeddings_FD = model.encoder(latents.float()).double()
        total += embeddings_FD.sum(0)
        directions += F.normalize(embeddings_FD, dim=-1).sum(0)
    frames = corpus.num_frames
    # |sum of unit vectors|^2 is the sum of all cosines; a frame's own, 1, is no pair.
    cosine = float((directions @ directions - frames) / (frames * (frames - 1)))
    return Centre(total / frames, cosine)


def centred(model: LatentAE, mean_D: Tensor) -> LatentAE:
    """A copy whose embeddings are v - mean, with the same reconstructions but for rounding."""
    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved.encoder.fc.bias.copy_(model.encoder.fc.bias.double() - mean_D)
        into = model.decoder.fc[0]
        moved.decoder.fc[0].bias.copy_(into.bias.double() + into.weight.double() @ mean_D)
    return moved


def _batches(corpus: Corpus) -> Iterator[Tensor]:
    for video in corpus.videos:
        yield from video.latents().split(BATCH)
