"""What one block asks of the memory, where frames may count less than others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from memory_service.types import Hit, Policy, Query


@dataclass(frozen=True)
class Search:
    """Nothing, one query, or one for each scene, the present one first.

    A hit of a scene of weight w counts with w (1 + score) - 1, which is its score for w = 1 and falls with w
    whatever its sign. All frames of a scene have one weight, so the best k of all scenes are among the best k
    of each: the choice is exact.
    """

    query: Query | None = None
    older: tuple[Query, ...] = ()
    weights: tuple[float, ...] = ()
    """Of the scenes of `older`."""

    def choosing(self, policy: Policy) -> Search:
        """The same, with the memory choosing by `policy` among the frames of each scene."""
        return replace(
            self,
            query=self.query and replace(self.query, policy=policy),
            older=tuple(replace(query, policy=policy) for query in self.older),
        )

    def best(self, found: Sequence[Sequence[Hit]]) -> tuple[Hit, ...]:
        """The best k hits of all queries by what they count, older first where they count the same."""
        if not self.older:
            return tuple(hit for hits in found for hit in hits)
        present = () if self.query is None else (1.0,)
        weighted = [
            (weight, hit)
            for weight, hits in zip((*present, *self.weights), found, strict=True)
            for hit in hits
        ]
        weighted.sort(key=lambda pair: (-pair[0] * (1 + pair[1].score), pair[1].handle.frame))
        return tuple(hit for _, hit in weighted[: self.older[0].k])


NO_SEARCH = Search()
