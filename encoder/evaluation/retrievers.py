"""Who chooses the frames: an embedding with a policy, or one of the controls that need no embedding."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from encoder.evaluation.selection import Selection
from encoder.evaluation.views import Views
from encoder.evaluation.window import Window

RANDOM, RECENT, NEAREST_PLACE, ORACLE = CONTROLS = ("random", "recent", "nearest-place", "oracle")
"""Rows that need no embedding."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One video as retrievers see it."""

    name: str

    cosines: dict[str, NDArray[np.float32]]
    """Embedding's name -> cosine of every two frames [T, T]."""

    views: Views | None
    """The truth, where it is known."""


class Retriever(Protocol):
    """Chooses frames for the block after `query_frame`. Must not depend on what it was asked before."""

    def choose(self, video: Measured, query_frame: int, eligible: range, k: int) -> Sequence[int]:
        """Up to k different eligible frames, in order of preference."""


@dataclass(frozen=True)
class ByEmbedding:
    """The frames nearest to the query, by a policy."""

    embedding: str
    selection: Selection

    def choose(self, video: Measured, query_frame: int, eligible: range, k: int) -> Sequence[int]:
        return self.selection.choose(video.cosines[self.embedding], query_frame, eligible, k)


@dataclass(frozen=True)
class Randomly:
    """Any eligible frames, uniformly; the same ones in every run."""

    seed: int = 0

    def choose(self, video: Measured, query_frame: int, eligible: range, k: int) -> Sequence[int]:
        chance = random.Random(f"{self.seed}/{video.name}/{query_frame}")
        return chance.sample(eligible, min(k, len(eligible)))


class Newest:
    """The newest eligible frames."""

    def choose(self, video: Measured, query_frame: int, eligible: range, k: int) -> Sequence[int]:
        del video, query_frame
        return eligible[::-1][:k]


class NearestPlace:
    """Frames by their true distance to the query's place, older first: the best ranking by a query there is.

    Raises ValueError where the truth is not known.
    """

    def choose(self, video: Measured, query_frame: int, eligible: range, k: int) -> Sequence[int]:
        places = _truth(video).places
        return sorted(eligible, key=lambda frame: (abs(places[frame] - places[query_frame]), frame))[:k]


@dataclass(frozen=True)
class Oracle:
    """Knows where the camera goes next: covers the next block's needed columns with as few frames as it can.

    Greedy set cover; between frames that add as much, and when all is covered, the one that overlaps the
    block's last view most, then the older. Raises ValueError where the truth is not known.
    """

    window: Window

    def choose(self, video: Measured, query_frame: int, eligible: range, k: int) -> Sequence[int]:
        views, step = _truth(video), self.window.step(query_frame + 1)
        open_still = views.needed(step)
        overlap = views.overlap(step.block[-1], eligible)
        frames = np.asarray(eligible)
        free = np.ones(len(frames), bool)
        chosen: list[int] = []
        while len(chosen) < k and free.any():
            adds = (views.columns[frames] & open_still).sum(axis=1)
            # Overlap is below 2, so that one column more always counts for more.
            best = int(np.where(free, 2.0 * adds + overlap, -np.inf).argmax())
            free[best] = False
            open_still &= ~views.columns[frames[best]]
            chosen.append(int(frames[best]))
        return chosen


def _truth(video: Measured) -> Views:
    if video.views is None:
        raise ValueError(f"video {video.name!r} has no places")
    return video.views
