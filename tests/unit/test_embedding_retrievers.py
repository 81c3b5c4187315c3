"""Who chooses the frames: as the memory service does, as the controls say, and as well as can be."""

from itertools import combinations

import numpy as np
import pytest
from samples import select_slowly

from encoder.evaluation.retrievers import ByEmbedding, Measured, NearestPlace, Newest, Oracle, Randomly
from encoder.evaluation.selection import Selection, cosine_matrix
from encoder.evaluation.views import Views
from encoder.evaluation.window import Window
from memory_service.engine import MemoryEngine
from memory_service.types import Block, Policy, Query, Span, VideoKey, VideoSpec

KEY = VideoKey("pool", "video")
SELECTIONS = [
    *(Selection(min_gap_frames=gap) for gap in (0, 2, 4, 9)),
    *(Selection(mmr_lambda=share) for share in (0.0, 0.3, 0.5, 0.7, 1.0)),
    Selection(min_gap_frames=3, mmr_lambda=0.5),
]


def history(seed: int, num_frames: int = 60, dim: int = 12) -> np.ndarray:
    """A walk on the sphere that comes back to places, some of them exactly: scores tie."""
    rng = np.random.default_rng(seed)
    rows = np.cumsum(rng.standard_normal((num_frames, dim)), axis=0).astype(np.float32)
    rows[30:40] = rows[10:20]
    rows[45] = rows[5] * 2
    return rows


@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_a_selection_is_the_memory_services(selection: Selection, seed: int, memory: MemoryEngine) -> None:
    rows = history(seed)
    spec = VideoSpec(embedding_dim=rows.shape[1], latent_dtype="float16", latent_shape=(1,), encoder_id="e")
    memory.create_video(KEY, spec)
    memory.append(KEY, Block(0, rows, {"latent": [bytes(2)] * len(rows)}))
    policy = Policy(min_gap_frames=selection.min_gap_frames, mmr_lambda=selection.mmr_lambda)
    matrix = cosine_matrix(rows)
    for query in range(20, 60, 3):
        eligible = range(1, query - 6)
        asked = Query(6, Span(eligible.start, eligible.stop), frame=query, policy=policy)
        (hits,) = memory.search(KEY, [asked]).hits
        assert selection.choose(matrix, query, eligible, 6) == tuple(hit.handle.frame for hit in hits)


@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
def test_a_selection_is_the_obvious_one(selection: Selection) -> None:
    matrix, query, eligible = cosine_matrix(history(7)), 50, range(1, 44)
    slowly = select_slowly(
        matrix[query, 1:44].astype(float).tolist(),
        [("video", frame) for frame in eligible],
        lambda one, other: float(matrix[one + 1, other + 1]),
        6,
        min_gap=selection.min_gap_frames,
        mmr_lambda=selection.mmr_lambda,
    )
    assert selection.choose(matrix, query, eligible, 6) == tuple(number + 1 for number in slowly)


@pytest.mark.parametrize("text", ["top-k", "gap=3", "mmr=0.5", "gap=2,mmr=0.7"])
def test_a_policy_is_written_as_it_is_read(text: str) -> None:
    assert str(Selection.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "gap", "gap=x", "gap=-1", "mmr=2", "mmr=nan", "top-k=3", "newest", ",", ",mmr=0.5", "gap=3mmr=0.5"],
)
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no policy|mmr_lambda must be"):
        Selection.parse(text)


def subject(places: list[int], name: str = "video") -> Measured:
    return Measured(name=name, cosines={}, views=Views(np.array(places), view_cells=8))


def test_newest_are_newest_first() -> None:
    assert list(Newest().choose(subject([0] * 40), 30, range(1, 14), 3)) == [13, 12, 11]


def test_random_is_uniform_and_the_same_every_time() -> None:
    video, eligible = subject([0] * 400), range(1, 21)
    chosen = [Randomly(0).choose(video, query, eligible, 5) for query in range(30, 400)]
    assert chosen == [Randomly(0).choose(video, query, eligible, 5) for query in range(30, 400)]
    assert all(len(set(frames)) == 5 for frames in chosen)
    counts = np.bincount(np.concatenate(chosen), minlength=21)[1:]
    assert abs(counts - counts.mean()).max() < 5 * np.sqrt(counts.mean())
    assert chosen != [Randomly(1).choose(video, query, eligible, 5) for query in range(30, 400)]
    other = subject([0] * 400, "other")
    assert chosen != [Randomly(0).choose(other, query, eligible, 5) for query in range(30, 400)]
    assert sorted(Randomly().choose(video, 30, range(1, 4), 6)) == [1, 2, 3]


def test_nearest_place_ranks_by_the_true_distance() -> None:
    video = subject([*range(30), *range(28, -1, -1)])
    assert list(NearestPlace().choose(video, 48, range(1, 30), 5)) == [10, 9, 11, 8, 12]


@pytest.mark.parametrize("seed", range(6))
def test_no_other_choice_covers_more_than_the_oracles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    window = Window(window_frames=8, sink_frames=1, top_k=3, guard_frames=1)
    video = subject(np.cumsum(rng.integers(-3, 4, 33)).tolist())
    assert video.views is not None
    compared = 0
    for step in window.steps(33):
        chosen = Oracle(window).choose(video, step.query, step.eligible, 3)
        best = video.views.covered(step, chosen)
        assert len(set(chosen)) == min(3, len(step.eligible))
        assert set(chosen) <= set(step.eligible)
        if best is not None and len(step.eligible) <= 20:
            compared += 1
            others = combinations(step.eligible, min(3, len(step.eligible)))
            assert best == max(video.views.covered(step, other) for other in others)
    assert compared


def test_the_oracle_looks_for_what_is_not_covered_yet() -> None:
    """The block shows columns 0 to 15, and no frame shows all of them."""
    window = Window(window_frames=5, sink_frames=0, top_k=2, guard_frames=0)
    video = subject([0, 0, 8, 8, 0, 0, 0, *[100] * 5, 0, 4, 8])
    assert Oracle(window).choose(video, 11, window.step(12).eligible, 2) == [2, 0]


def test_an_embedding_that_knows_the_place_finds_it() -> None:
    places = np.array([*range(30), *range(28, -1, -1)])
    bumps = np.exp(-((np.arange(30) - places[:, None]) ** 2) / 8.0).astype(np.float32)
    video = Measured(name="video", cosines={"true": cosine_matrix(bumps)}, views=None)
    assert set(ByEmbedding("true", Selection()).choose(video, 48, range(1, 30), 3)) == {9, 10, 11}


@pytest.mark.parametrize("retriever", [NearestPlace(), Oracle(Window())])
def test_truth_that_nobody_knows_is_asked_in_vain(retriever: NearestPlace | Oracle) -> None:
    with pytest.raises(ValueError, match="no places"):
        retriever.choose(Measured(name="video", cosines={}, views=None), 30, range(1, 14), 3)
