"""Ways of choosing k frames other than the k best: apart in time, unlike each other, good enough, or pinned.

n candidates, ascending in tie order: of equal values the first wins. All ways are greedy and exact over all
candidates: rough scores only tell which candidates need not be scored exactly.

    minimum gap   next is the best candidate c with |frame(c) - frame(s)| >= min_gap for every chosen s of
                  the same video. Greedy non-maximum suppression with a window in time (Neubeck & Van Gool,
                  "Efficient Non-Maximum Suppression", ICPR 2006); VMem (arXiv 2506.18903) suppresses views
                  so, and Context-as-Memory (arXiv 2506.03141) gains by leaving out neighbours.
    MMR           next is argmax_c lambda * score(c) - (1 - lambda) * max_s cosine(c, s) over the chosen s,
                  pinned ones too; before the first choice the maximum counts 0. Maximal marginal relevance
                  (Carbonell & Goldstein, "The Use of MMR, Diversity-Based Reranking", SIGIR 1998).
    min_score     candidates below it are never chosen.
    pinned        frames that take slots of the k before any candidate does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from memory_service import cancellation
from memory_service.search.candidates import CandidateSet, Estimates, Numbers
from memory_service.select import MAX_RUNNERS_UP, coarse_error
from memory_service.types import Embeddings

_FIRST_BATCH, _LAST_BATCH = 16, 256
"""Candidates scored exactly at first when they are taken in order; batches double up to the last."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Candidates by number and their exact scores: chosen in this order, and the best that were not."""

    chosen: list[tuple[int, float]]
    runners_up: list[tuple[int, float]]


def in_order(scores: Estimates, barred: NDArray[np.bool_] | None = None) -> Iterator[tuple[int, float]]:
    """Candidates and exact scores, best first, equal ones in tie order; scored as they are needed.

    `barred` bool [n] are passed over without being scored; it may grow between one candidate and the next.
    """
    order, most = scores.order, scores.most
    best: list[tuple[float, int]] = []
    at, batch = 0, _FIRST_BATCH
    while True:
        bound = most[order[at]] if at < len(order) else -np.inf
        while best and -best[0][0] > bound:
            score, number = heappop(best)
            if barred is None or not barred[number]:
                yield number, -score
        if at >= len(order):
            return
        some = order[at : at + batch]
        if barred is not None:
            some = some[~barred[some]]
        for number, score in zip(some.tolist(), scores.settle(some).tolist(), strict=True):
            heappush(best, (-score, number))
        at, batch = at + batch, min(2 * batch, _LAST_BATCH)


def best_apart(
    scores: Estimates,
    frames: Numbers,
    k: int,
    *,
    min_gap: int = 0,
    min_score: float = -np.inf,
    pinned: Sequence[int] = (),
) -> Choice:
    """The k best candidates of one video, `min_gap` frames from each other and from the `pinned` frames."""
    farthest = max([0, *frames[-1:].tolist(), *pinned])
    gap = min(min_gap, farthest + 1)
    barred = np.zeros(len(frames), bool)

    def bar(frame: int) -> None:
        start, stop = np.searchsorted(frames, [frame - gap + 1, frame + gap])
        barred[start:stop] = True

    for frame in pinned:
        bar(frame)
    chosen: list[tuple[int, float]] = []
    for number, score in in_order(scores, barred) if k else ():
        if score < min_score:
            break
        chosen.append((number, score))
        if len(chosen) == k:
            break
        bar(int(frames[number]))
    return Choice(chosen, _runners_up(scores, chosen))


def _runners_up(scores: Estimates, chosen: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    taken = np.zeros(len(scores.most), bool)
    taken[[number for number, _ in chosen]] = True
    return list(islice(in_order(scores, taken), MAX_RUNNERS_UP))


class _Likeness:
    """The greatest cosine of each candidate with those chosen so far: between `low` and `high`, [n]."""

    def __init__(self, candidates: CandidateSet) -> None:
        n = len(candidates.frames)
        self._candidates = candidates
        self._chosen: list[Embeddings] = []
        self._seen = np.zeros(n, np.int64)
        self._exact = np.full(n, -np.inf)
        self._low, self._high = np.full(n, -np.inf), np.full(n, -np.inf)

    @property
    def low(self) -> NDArray[np.float64]:
        return self._low if self._chosen else np.zeros_like(self._low)

    @property
    def high(self) -> NDArray[np.float64]:
        return self._high if self._chosen else np.zeros_like(self._high)

    def add(self, vector: Embeddings) -> None:
        """One more is chosen."""
        self._chosen.append(vector)
        rough, error = self._candidates.rough(vector), coarse_error(len(vector))
        np.maximum(self._low, rough - error, out=self._low)
        np.maximum(self._high, rough + error, out=self._high)

    def settle(self, which: Numbers) -> NDArray[np.float64]:
        """Exact values of some candidates."""
        if not self._chosen:
            return np.zeros(len(which))
        for i in range(int(self._seen[which].min()), len(self._chosen)):
            new = which[self._seen[which] <= i]
            cosines = self._candidates.cosines(new, self._chosen[i])
            self._exact[new] = np.maximum(self._exact[new], cosines)
        self._seen[which] = len(self._chosen)
        self._low[which] = self._high[which] = self._exact[which]
        return self._exact[which]


class Apart:
    """Where n candidates of several videos lie, and which of them are `min_gap` frames apart."""

    def __init__(
        self, videos: Sequence[int], frames: Numbers, min_gap: int, pinned: Sequence[tuple[int, int]] = ()
    ) -> None:
        """`videos` [n] and `frames` int64 [n] are of the candidates, `pinned` those of pinned frames."""
        self._videos = np.asarray(videos)
        self._frames = frames
        self._min_gap = min_gap
        self._pinned = pinned

    @property
    def from_pinned(self) -> NDArray[np.bool_]:
        """bool [n]: apart from all pinned frames."""
        free = np.ones(len(self._frames), bool)
        for video, frame in self._pinned:
            free &= self._apart(video, frame)
        return free

    def from_candidate(self, number: int) -> NDArray[np.bool_]:
        """bool [n]: apart from a candidate."""
        return self._apart(self._videos[number], int(self._frames[number]))

    def _apart(self, video: int, frame: int) -> NDArray[np.bool_]:
        apart: NDArray[np.bool_] = (self._videos != video) | (np.abs(self._frames - frame) >= self._min_gap)
        return apart


def best_unlike(
    scores: Estimates,
    candidates: CandidateSet,
    k: int,
    *,
    mmr_lambda: float,
    apart: Apart,
    min_score: float = -np.inf,
    pinned: Sequence[Embeddings] = (),
) -> Choice:
    """k candidates by maximal marginal relevance, in the order in which they were chosen.

    `apart` says where they lie; `pinned` are the embeddings float32 [D] of pinned frames.
    """
    free = _good_enough(scores, min_score) & apart.from_pinned
    like = _Likeness(candidates)
    for vector in pinned:
        like.add(vector)
    chosen: list[tuple[int, float]] = []
    while len(chosen) < k and free.any():
        cancellation.check()
        number, score = _most_marginal(scores, like, free, mmr_lambda)
        chosen.append((number, score))
        free &= apart.from_candidate(number)
        free[number] = False
        if len(chosen) < k:
            like.add(candidates.vector(number))
    return Choice(chosen, _runners_up(scores, chosen))


def _most_marginal(
    scores: Estimates, like: _Likeness, free: NDArray[np.bool_], mmr_lambda: float
) -> tuple[int, float]:
    """The free candidate of the greatest marginal relevance, and its score.

    Rounding is monotone: values computed from bounds by the same steps bound the exact value.
    """
    unlike = 1.0 - mmr_lambda
    least = (mmr_lambda * scores.low - unlike * like.high)[free].max()
    open_still = np.flatnonzero(free & (mmr_lambda * scores.high - unlike * like.low >= least))
    exact = scores.settle(open_still)
    marginal = mmr_lambda * exact - unlike * like.settle(open_still)
    best = int(marginal.argmax())
    return int(open_still[best]), float(exact[best])


def _good_enough(scores: Estimates, min_score: float) -> NDArray[np.bool_]:
    unsure = np.flatnonzero((scores.low < min_score) & (scores.high >= min_score))
    scores.settle(unsure)
    enough: NDArray[np.bool_] = scores.low >= min_score
    return enough
