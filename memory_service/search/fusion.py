"""Scores of several embeddings as one: the weighted sum of their cosines.

Fusion by a linear combination of scores (CombSUM with weights: Fox & Shaw, "Combination of Multiple
Searches", TREC-2, 1994). Cosines share one scale, so nothing is normalised first. The weights are the
request's: generators that recall by several cues (time, pose, vision, sound, the next prompt) learn how much
each counts. A negative weight pushes away.
"""

from collections.abc import Sequence

import numpy as np

from memory_service.select import Scores


def fused(cosines: Sequence[Scores], weights: Sequence[float]) -> Scores:
    """score = sum_t weight_t * cosine_t: float64 sums in the order of the terms, rounded once to float32 [n].

    `cosines` are float32 [n] each. A single term of weight 1 is its cosine, bit by bit.
    """
    total = np.zeros(len(cosines[0]), np.float64)
    for cosine, weight in zip(cosines, weights, strict=True):
        total += weight * cosine.astype(np.float64)
    return total.astype(np.float32)
