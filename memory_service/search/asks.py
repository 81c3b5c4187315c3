"""A query made ready: its vector, its weights as they travel, its pinned frames; and its name in the log."""

from typing import NamedTuple

import numpy as np

from memory_service.select import TOP_K
from memory_service.types import Embeddings, Filter, Hit, Policy, Query

_PLAIN_POLICY = Policy()
_PLAIN_FILTER = Filter()


class Ask(NamedTuple):
    """A query of one video, ready for any: its vector float32 [D], its pinned hits and theirs."""

    query: Query
    vector: Embeddings
    pinned: tuple[Hit, ...] = ()
    pinned_vectors: tuple[Embeddings, ...] = ()

    @property
    def k(self) -> int:
        """Hits to be chosen among the candidates."""
        return self.query.k - len(self.pinned)

    @property
    def weights(self) -> list[float]:
        """Weights of the score's terms, the first one's first."""
        return [as_float32(self.query.weight), *(as_float32(term.weight) for term in self.query.terms)]

    @property
    def min_score(self) -> float:
        least = self.query.policy.min_score
        return -np.inf if least is None else as_float32(least)

    @property
    def mmr_lambda(self) -> float | None:
        given = self.query.policy.mmr_lambda
        return None if given is None else as_float32(given)


def as_float32(value: float) -> float:
    """The number as the wire carries it, so that a query means the same in process and over the wire."""
    return float(np.float32(value))


def is_plain(query: Query) -> bool:
    """Whether the answer is the k best by cosine: no policy, filter, terms or weight."""
    return (
        (query.policy is _PLAIN_POLICY or query.policy == _PLAIN_POLICY)
        and (query.filter is _PLAIN_FILTER or query.filter == _PLAIN_FILTER)
        and not query.terms
        and query.weight == 1.0
    )


def described(query: Query) -> str:
    """How candidates become hits, in words: "top-k", or e.g. "min-gap=4 mmr=0.5 pinned=2 terms=text:0.5"."""
    if is_plain(query):
        return TOP_K
    policy, words = query.policy, []
    if policy.min_gap_frames > 1:
        words.append(f"min-gap={policy.min_gap_frames}")
    if policy.mmr_lambda is not None:
        words.append(f"mmr={policy.mmr_lambda:g}")
    if policy.min_score is not None:
        words.append(f"min-score={policy.min_score:g}")
    if pinned := num_pinned(query):
        words.append(f"pinned={pinned}")
    words = words or [TOP_K]
    if query.weight != 1.0:
        words.append(f"weight={query.weight:g}")
    if query.terms:
        words.append("terms=" + ",".join(f"{term.name}:{term.weight:g}" for term in query.terms))
    if query.filter != _PLAIN_FILTER:
        words.append("filtered")
    return " ".join(words)


def num_pinned(query: Query) -> int:
    """How many of the k hits pinned frames take."""
    policy = query.policy
    most = query.k if policy.max_pinned is None else min(query.k, policy.max_pinned)
    return min(most, len(policy.pinned_frames))
