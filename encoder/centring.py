"""Centring: moves the origin of an embedding to the mean of a corpus.

Cosines are taken from the origin. An embedding whose frames all lie far off on one side of it, as smoothness
leaves them, has cosines near 1 throughout, whose size tells nothing. The bias of the encoder's last layer
takes the mean off, that of the decoder's first layer adds what it was worth there, so that reconstructions
stay as they were. Shapes: F frames, D embedding dimension.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from encoder.corpus import CorpusVideo
from encoder.model import LatentAE

BATCH = 256
"""Frames embedded at once."""

SMALLEST_SPREAD = 1e-5
"""Of embeddings around their mean, over its length; float32 rounds at 1e-7, and convolutions add to that."""


class CentringError(Exception):
    """What cannot be centred, or its result not be kept where it was asked for; the message says why."""


@torch.inference_mode()
def embed(model: LatentAE, videos: Iterable[CorpusVideo]) -> Tensor:
    """Embeddings [F, D] float32 of all frames, not normalised, on the CPU: 4 D bytes a frame.

    Raises CorpusError; CentringError for frames of a shape that the model does not take.
    """
    weight, embedded = model.encoder.fc.weight, []
    for video in videos:
        if video.latent_shape != model.config.latent_shape:
            raise CentringError(
                f"{video.path} has frames of {list(video.latent_shape)}, the encoder reads "
                f"{list(model.config.latent_shape)}"
            )
        for start in range(0, video.num_frames, BATCH):
            latents_FCHW = video.latents(start, min(start + BATCH, video.num_frames))
            embedded.append(model.encoder(latents_FCHW.to(weight.device, weight.dtype)).float().cpu())
    return torch.cat(embedded)


def centre_of(embeddings_FD: Tensor) -> Tensor:
    """Their mean [D] float64.

    Raises CentringError where they are not finite, or all one point, which no origin tells apart.
    """
    embeddings_FD = embeddings_FD.double()
    mean_D = embeddings_FD.mean(0)
    if not mean_D.isfinite().all():
        raise CentringError("embeddings of the corpus are not finite")
    spread, length = float((embeddings_FD - mean_D).norm(dim=-1).mean()), float(mean_D.norm())
    if spread <= SMALLEST_SPREAD * length:
        raise CentringError(
            f"embeddings of the corpus are all one point: {spread:.3g} from their mean, {length:.3g} long"
        )
    return mean_D


def mean_cosine(embeddings_FD: Tensor) -> float:
    """Over all pairs of two of the F >= 2 frames."""
    frames = len(embeddings_FD)
    total_D = F.normalize(embeddings_FD.double(), dim=-1).sum(0)
    # |sum of unit vectors|^2 is the sum of all cosines; a frame's own, 1, is no pair.
    return float((total_D @ total_D - frames) / (frames * (frames - 1)))


def centred(model: LatentAE, mean_D: Tensor) -> LatentAE:
    """A copy whose embeddings are v - mean, with the same reconstructions but for rounding.

    Distances of embeddings stay, cosines do not, nor quite their order; it has another encoder_id.
    """
    moved = copy.deepcopy(model)
    into, mean_D = moved.decoder.fc[0], mean_D.to(moved.encoder.fc.bias.device)
    with torch.no_grad():
        moved.encoder.fc.bias.copy_(moved.encoder.fc.bias.double() - mean_D)
        into.bias.copy_(into.bias.double() + into.weight.double() @ mean_D)
    return moved
