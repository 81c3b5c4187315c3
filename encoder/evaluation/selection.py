"""Which k of the scored frames are taken: the k best, k that lie apart in time, or k unlike each other.

All are greedy; of equal values the older frame wins. They choose what the memory service chooses.

    top-k    the k best scores.
    gap=g    next is the best c with |c - s| >= g for every chosen s (non-maximum suppression in time).
    mmr=l    next is argmax_c l * score(c) - (1 - l) * max_s cosine(c, s); before the first choice the maximum
             counts 0 (Carbonell & Goldstein, "The Use of MMR, Diversity-Based Reranking", SIGIR 1998).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOP_K = "top-k"
WRITTEN = re.compile(r"(?:gap=(\d+))?(?:(?:^|(?<=\d),)mmr=(\d*\.?\d+))?")


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A policy; without any field set, the k best."""

    min_gap_frames: int = 0
    mmr_lambda: float | None = None

    def __post_init__(self) -> None:
        if self.min_gap_frames < 0:
            raise ValueError(f"min_gap_frames must be at least 0, got {self.min_gap_frames}")
        if self.mmr_lambda is not None and not 0 <= self.mmr_lambda <= 1:
            raise ValueError(f"mmr_lambda must be in [0, 1], got {self.mmr_lambda}")

    @staticmethod
    def parse(text: str) -> Selection:
        """The policy that is written `top-k`, `gap=FRAMES`, `mmr=LAMBDA` or `gap=FRAMES,mmr=LAMBDA`.

        Raises ValueError.
        """
        if text == TOP_K:
            return Selection()
        written = WRITTEN.fullmatch(text)
        if written is None or not text:
            raise ValueError(
                f"{text!r} is no policy: expected {TOP_K}, gap=FRAMES, mmr=LAMBDA or gap=F,mmr=L"
            )
        gap, mmr = written.groups()
        return Selection(min_gap_frames=int(gap or 0), mmr_lambda=None if mmr is None else float(mmr))

    def __str__(self) -> str:
        gap = [f"gap={self.min_gap_frames}"] if self.min_gap_frames else []
        mmr = [f"mmr={self.mmr_lambda:g}"] if self.mmr_lambda is not None else []
        return ",".join([*gap, *mmr]) or TOP_K

    def choose(
        self, cosines: NDArray[np.float32], query: int, eligible: Iterable[int], k: int
    ) -> tuple[int, ...]:
        """Up to k eligible frames, in the order of choice. `cosines` [T, T] of every two frames."""
        frames = np.sort(np.fromiter(eligible, np.int64))
        scores = cosines[query, frames].astype(np.float64)
        like = np.zeros(len(frames))
        free = np.ones(len(frames), bool)
        share = 1.0 if self.mmr_lambda is None else self.mmr_lambda
        chosen: list[int] = []
        while len(chosen) < k and free.any():
            value = np.where(free, share * scores - (1 - share) * like, -np.inf)
            frame = int(frames[value.argmax()])
            alike = cosines[frame, frames].astype(np.float64)
            like = np.maximum(like, alike) if chosen else alike
            free &= (frames != frame) & (np.abs(frames - frame) >= self.min_gap_frames)
            chosen.append(frame)
        return tuple(chosen)


def cosine_matrix(embeddings_TD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosine of every two rows, [T, T], summed in float64 and rounded once; a zero row is like no other.

    Numpy's own sums depend on a row's values alone, so equal rows score equal; BLAS promises no such thing.
    """
    rows = embeddings_TD.astype(np.float64)
    norms = np.sqrt((rows * rows).sum(axis=1))
    safe = np.where(norms > 0, norms, 1.0)
    cosines = np.stack([(rows * row).sum(axis=1) / safe / n for row, n in zip(rows, safe, strict=True)])
    return cosines.clip(-1.0, 1.0).astype(np.float32)
