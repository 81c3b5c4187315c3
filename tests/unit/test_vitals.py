"""How alike frames are that were chosen together."""

from itertools import combinations

import numpy as np
import pytest

from memory_service.vitals import redundancy


@pytest.mark.parametrize("m", [2, 3, 6, 64])
def test_it_is_the_mean_cosine_of_all_pairs(m: int) -> None:
    rows = np.random.default_rng(m).standard_normal((m, 16), np.float32) * np.float32(7)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    expected = np.mean([float(a @ b) for a, b in combinations(unit, 2)])
    assert redundancy(rows) == pytest.approx(expected, abs=1e-6)


def test_its_ends() -> None:
    row = np.ones((1, 4), np.float32)
    assert redundancy(np.repeat(row, 5, axis=0)) == pytest.approx(1.0)
    assert redundancy(np.concatenate([row, -row])) == pytest.approx(-1.0)
    tiny = np.full((2, 4), 1e-30, np.float32)
    assert redundancy(tiny) == pytest.approx(1.0), "norms in float64"
