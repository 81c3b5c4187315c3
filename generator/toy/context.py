"""Which frames each block of a training clip attends to, and at which temporal positions.

The same layouts as in rollouts: window 12 = sink 1 + retrieved 6 + local 5 (longlive_rag), or
sink 1 + local 11 (relative, native). Frames are counted within the clip, which starts at its sink.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from generator.toy.prompts import BLOCK_FRAMES

WINDOW, RETRIEVED = 12, 6
CONTEXT_FRAMES = WINDOW - BLOCK_FRAMES
LOCAL = WINDOW - BLOCK_FRAMES - RETRIEVED - 1
"""Past frames that a block which retrieves has in its window, beside the sink."""
GUARD = 5
"""Frames behind the window that rollouts keep from retrieval as well."""
NOT_ELIGIBLE = WINDOW - 1 + GUARD
"""Newest frames that rollouts do not retrieve: as many as the window holds beside the sink, whether they are
attended or not, and the guard."""
MAX_NATIVE_GAP = 240
FEWEST_SAME_WAY = 3
"""Frames of an earlier move without which it is not worth recalling alone."""


@dataclass(frozen=True)
class Layout:
    """Context of one block: frames [n] with their positions [n], and positions of the block [3]."""

    frames: np.ndarray
    positions: np.ndarray
    block_positions: np.ndarray


def layout(method: str, start: int, retrieved: np.ndarray, gap: int = 0) -> Layout:
    """Context of the block that starts at frame `start`; `gap` ages the sink in `native`."""
    occupied = min(start + BLOCK_FRAMES, WINDOW)
    block = np.arange(occupied - BLOCK_FRAMES, occupied)
    num_past = min(start, LOCAL if method == "longlive_rag" else CONTEXT_FRAMES - 1)
    past = np.arange(start - num_past, start)
    past_slots = block[0] - start + past
    if start == 0:
        return Layout(past, past, block)
    past, past_slots = past[past > 0], past_slots[past > 0]
    frames = np.concatenate([[0], retrieved, past])
    slots = np.concatenate([np.zeros(1 + len(retrieved), int), past_slots])
    if method == "native":
        return Layout(frames, np.where(frames > 0, frames + gap, 0), np.arange(3) + start + gap)
    return Layout(frames, slots, block)


def choose_retrieved(
    cells: np.ndarray,
    start: int,
    rng: np.random.Generator,
    alike: np.ndarray | None = None,
    alike_share: float = 0.0,
    early_share: float = 0.0,
    same_way_share: float = 0.0,
    guard_share: float = 0.0,
) -> np.ndarray:
    """Imitate what retrieval finds: mostly views near the last one, duplicates included.

    cells are camera cells of the clip's frames. In `alike_share` of the blocks, all or half of the frames
    are those that look most like the last one, wherever they are, by cosines `alike` [frames, frames].
    Clips are short, and without a guard most blocks after a turn have something to recall; only
    `guard_share` of the blocks keep the newest frames out, as rollouts do. But what was seen last was mostly
    seen the other way round, and a place must be known from both: `early_share` of the blocks recall nothing
    after some earlier frame, `same_way_share` only earlier moves in the direction of the coming one, if any.
    """
    newest = NOT_ELIGIBLE if guard_share and rng.random() < guard_share else LOCAL
    eligible = np.arange(1, max(start - newest, 1))
    budget = RETRIEVED if rng.random() < 0.85 else int(rng.integers(0, RETRIEVED))
    if len(eligible) > RETRIEVED and rng.random() < early_share:
        eligible = eligible[: int(rng.integers(RETRIEVED, len(eligible)))]
    if rng.random() < same_way_share and cells[start] != cells[start - 1]:
        same_way = _passed_the_same_way(cells, start, eligible)
        eligible = same_way if len(same_way) >= FEWEST_SAME_WAY else eligible
    if len(eligible) <= budget:
        return eligible[:budget]
    if rng.random() < alike_share:
        by_looks = eligible[np.argsort(-alike[start - 1, eligible], kind="stable")]
        near = eligible[np.argsort(np.abs(cells[eligible] - cells[start - 1]), kind="stable")]
        count = int(rng.choice((budget, budget // 2)))
        return np.array(list(dict.fromkeys([*by_looks[:count], *near]))[:budget], int)
    kind = rng.choice(3, p=(0.6, 0.25, 0.15))
    if kind == 2:
        return rng.choice(eligible, budget, replace=False)
    target = cells[start - 1] if kind == 0 else cells[start + 1]
    distance = np.abs(cells[eligible] - target) + rng.uniform(0, rng.choice((0.1, 3.0)), len(eligible))
    return eligible[np.argsort(distance, kind="stable")[:budget]]


def _passed_the_same_way(cells: np.ndarray, start: int, frames: np.ndarray) -> np.ndarray:
    """Those of `frames` in which the camera moved as it will, before the move that it is in."""
    steps = np.diff(cells, prepend=cells[0])
    otherwise = np.flatnonzero(steps[1:start] != steps[start]) + 1
    before = otherwise[-1] if len(otherwise) else 0
    return frames[(steps[frames] == steps[start]) & (frames < before)]
