"""How the embeddings of one video lie: do neighbours collapse, and how many directions are used.

T frames, D embedding dimension.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_LAG = 64
FAR_LAG = 24
"""Six seconds of Wan or of the toy: far beyond the window, and rarely the same view."""


def cosine_by_lag(cosines_TT: NDArray[np.float32], max_lag: int = MAX_LAG) -> NDArray[np.float64]:
    """Mean cosine of frames that are 1, 2, ... max_lag apart, [max_lag]; NaN where the video is too short."""
    short = min(max_lag, len(cosines_TT) - 1)
    curve = np.full(max_lag, np.nan)
    curve[:short] = [np.diagonal(cosines_TT, lag).astype(np.float64).mean() for lag in range(1, short + 1)]
    return curve


def effective_rank(embeddings_TD: NDArray[np.float32]) -> float:
    """exp of the entropy of the covariance's eigenvalues as shares of their sum; 1 where nothing varies.

    Roy & Vetterli, "The effective rank", EUSIPCO 2007, on the covariance. At most min(T - 1, D).
    """
    centred = embeddings_TD.astype(np.float64)
    centred -= centred.mean(axis=0)
    # Both products have the same eigenvalues but zeros; those of the smaller one cost less.
    wide = centred.shape[0] < centred.shape[1]
    variances = np.linalg.eigvalsh(centred @ centred.T if wide else centred.T @ centred).clip(0)
    # Rounding leaves some variance in embeddings that are all the same.
    if variances.sum() <= 1e-12 * max(1.0, float((embeddings_TD.astype(np.float64) ** 2).sum())):
        return 1.0
    shares = variances / variances.sum()
    shares = shares[shares > 0]
    return float(np.exp(-(shares * np.log(shares)).sum()))


def geometry(embeddings_TD: NDArray[np.float32], curve: NDArray[np.float64]) -> dict[str, float | None]:
    """The numbers of one video by name; None where the video is too short."""
    at = {lag: float(curve[lag - 1]) for lag in (1, 2, 3, FAR_LAG)}
    numbers = {f"cosine_lag_{lag}": at[lag] for lag in (1, 2, 3)}
    numbers[f"drop_to_lag_{FAR_LAG}"] = at[1] - at[FAR_LAG]
    numbers["effective_rank"] = effective_rank(embeddings_TD)
    return {name: None if np.isnan(number) else number for name, number in numbers.items()}
