import numpy as np
import pytest

from generator.records.revisit import Return, RevisitScore, edge_energy, first_visits, mean, returns, score

THERE_AND_BACK = [*range(12), *range(10, -1, -1)]


def world(cells, seed=0, width=4):
    """A random strip seen through a window of `width` columns."""
    strip = np.random.default_rng(seed).integers(0, 256, (8, 40, 3), dtype=np.uint8)
    return np.stack([strip[:, cell : cell + width] for cell in cells])


def test_first_visit_of_each_frame():
    assert first_visits([0, 1, 2, 1, 0, 5]) == [0, 1, 2, 1, 0, 5]


def test_only_places_that_had_left_the_view_are_returned_to():
    found = returns(THERE_AND_BACK, view_cells=4)
    assert Return(frame=22, first=0) in found
    assert {r.frame for r in found} == set(range(15, 23))


def test_a_camera_that_stands_still_returns_nowhere():
    assert returns([3] * 50) == []
    assert score(world([3] * 50), [3] * 50) is None


def test_a_world_that_stays_scores_high_and_one_that_changes_gains_nothing():
    kept = score(world(THERE_AND_BACK), THERE_AND_BACK, view_cells=4)
    frames = np.concatenate([world(THERE_AND_BACK[:12]), world(THERE_AND_BACK[12:], seed=1)])
    lost = score(frames, THERE_AND_BACK, view_cells=4)
    assert kept.psnr_db > 90
    assert kept.detail_ratio == pytest.approx(1)
    assert kept.num_frames == lost.num_frames == 8
    assert abs(lost.gain_db) < 1 < kept.gain_db


def test_psnr_is_that_of_the_pixels():
    frames = world(THERE_AND_BACK).astype(np.int64).clip(0, 245)
    frames[12:] += 10
    got = score(frames.astype(np.uint8), THERE_AND_BACK, view_cells=4)
    assert got.psnr_db == pytest.approx(20 * np.log10(255 / 10), abs=1e-6)


def test_blank_returns_lose_their_detail():
    frames = world(THERE_AND_BACK)
    frames[12:] = 128
    assert score(frames, THERE_AND_BACK, view_cells=4).detail_ratio == 0


def test_edge_energy_of_a_checkerboard():
    board = np.zeros((4, 4, 3), np.uint8)
    board[::2, ::2] = board[1::2, 1::2] = 100
    assert edge_energy(board) == pytest.approx(100)


def test_the_mean_weighs_frames():
    one = RevisitScore(num_frames=1, psnr_db=10, elsewhere_db=10, detail_ratio=1)
    three = RevisitScore(num_frames=3, psnr_db=20, elsewhere_db=10, detail_ratio=0.5)
    both = mean([one, three])
    assert (both.num_frames, both.psnr_db, both.gain_db) == (4, 17.5, 7.5)
