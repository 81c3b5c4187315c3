"""How good the frames are that a retriever chose over one video.

    recall_at_k       at returns: share of the chosen frames that show the query's place, of the most that
                      could: chosen ones that do, over min(K, eligible ones that do).
    hit_rate          share of returns with at least one such frame.
    coverage          mean share of the needed columns (see `views`) that the chosen frames show.
    spread_frames     standard deviation of the chosen frames' numbers.
    extent_frames     newest less oldest chosen frame.
    redundancy        mean cosine of the chosen frames' latents, two by two.
    near_duplicates   share of chosen frames whose latent has a cosine of 0.9 or more with one chosen before.

Likeness is measured on the latents, the same for every retriever; an embedding's own cosines could not be
compared with another's. What any two frames of the corpus have in common shows in the row of random frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from encoder.evaluation.views import Views
from encoder.evaluation.window import Step

ALIKE = 0.9
"""Cosine of near-duplicates. In the toy world only frames of one place reach it, in real video neighbours."""

Numbers = dict[str, float | None]


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen for a step."""

    step: Step
    frames: tuple[int, ...]


def latent_likeness(latents_TX: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine [T, T] of flat latents of X numbers each."""
    norms = np.linalg.norm(latents_TX, axis=1, keepdims=True)
    unit = latents_TX / np.where(norms > 0, norms, 1.0)
    return unit @ unit.T


def found(choices: Sequence[Choice], views: Views, k: int) -> Numbers:
    """Recall, hit rate and coverage of one video; None where it has no return, or needs nothing."""
    recalls, hits = [], []
    for choice in choices:
        query, eligible = choice.step.query, choice.step.eligible
        if views.is_return(query, eligible):
            same = views.same_place(query, eligible)
            right = len(same.intersection(choice.frames))
            recalls.append(right / min(k, len(same)))
            hits.append(float(right > 0))
    covered = [views.covered(choice.step, choice.frames) for choice in choices]
    return {
        "recall_at_k": _mean(recalls),
        "hit_rate": _mean(hits),
        "coverage": _mean([share for share in covered if share is not None]),
    }


def variety(choices: Sequence[Choice], likeness_TT: NDArray[np.float32]) -> Numbers:
    """Spread and redundancy of one video, over choices of two frames or more."""
    several = [choice.frames for choice in choices if len(choice.frames) > 1]
    pairs = [[float(likeness_TT[a, b]) for a, b in combinations(frames, 2)] for frames in several]
    return {
        "spread_frames": _mean([float(np.std(frames)) for frames in several]),
        "extent_frames": _mean([float(max(frames) - min(frames)) for frames in several]),
        "redundancy": _mean([float(np.mean(cosines)) for cosines in pairs]),
        "near_duplicates": _mean([_repeated(frames, likeness_TT) for frames in several]),
    }


def _repeated(frames: Sequence[int], likeness_TT: NDArray[np.float32]) -> float:
    repeats = [
        likeness_TT[frame, frames[:place]].max() >= ALIKE for place, frame in enumerate(frames) if place
    ]
    return sum(repeats) / len(frames)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
