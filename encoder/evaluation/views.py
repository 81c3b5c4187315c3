"""What each frame of a video truly shows, where the camera's place is known.

The world is a line of columns, one cell each; a frame at place p shows the columns [p, p + V). T frames,
N columns. Definitions:

    same place   two views overlap by half at least: |p - q| <= V / 2. Less overlap would call every neighbour
                 true, more would refuse frames that show most of what the query shows.
    return       a frame whose place was seen before and had left the view entirely in between: an earlier
                 frame shows the same place, and between the two some frame shares no column with it.
    needed       columns of the next block that neither sink nor local frames show and some eligible frame
                 does. Columns that were never seen are no memory's business.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from encoder.evaluation.window import Step


class Views:
    """The views of one video."""

    def __init__(self, places: NDArray[np.int64], view_cells: int) -> None:
        """`places` [T] in cells; `view_cells` is V. Raises ValueError."""
        if view_cells < 1 or places.ndim != 1 or not len(places):
            raise ValueError(
                f"expected places [T] and view_cells >= 1, got places {places.shape} and {view_cells}"
            )
        self.places = places
        self.view_cells = view_cells
        left = places - places.min()
        columns = np.arange(left.max() + view_cells)
        self.columns: NDArray[np.bool_] = (columns >= left[:, None]) & (columns < left[:, None] + view_cells)
        """[T, N]: whether the frame shows the column."""

    def __len__(self) -> int:
        return len(self.places)

    def overlap(self, one: int, frames: Iterable[int]) -> NDArray[np.float64]:
        """Share of a frame's view that each of the others shows too."""
        apart = np.abs(self.places[list(frames)] - self.places[one])
        return np.maximum(0, self.view_cells - apart) / self.view_cells

    def same_place(self, query: int, frames: Iterable[int]) -> frozenset[int]:
        """Those of `frames` whose view overlaps the query's by half at least."""
        candidates = list(frames)
        same = self.overlap(query, candidates) >= 0.5
        return frozenset(frame for frame, is_same in zip(candidates, same, strict=True) if is_same)

    def is_return(self, query: int, eligible: range) -> bool:
        """Whether the query's place was seen in `eligible` and had left the view since."""
        same = self.same_place(query, eligible)
        if not same:
            return False
        return not self.overlap(query, range(min(same), query)).all()

    def needed(self, step: Step) -> NDArray[np.bool_]:
        """[N] columns that a retrieval for this block can add to its context."""
        wanted = self._any(step.block) & ~self._any(step.shown)
        return wanted & self._any(step.eligible)

    def covered(self, step: Step, chosen: Iterable[int]) -> float | None:
        """Share of the needed columns that some chosen frame shows; None where nothing is needed."""
        needed = self.needed(step)
        if not needed.any():
            return None
        return float((needed & self._any(chosen)).sum() / needed.sum())

    def _any(self, frames: Iterable[int]) -> NDArray[np.bool_]:
        return self.columns[list(frames)].any(axis=0)
