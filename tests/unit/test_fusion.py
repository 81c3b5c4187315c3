"""Scores of several terms: sums in the terms' order, rounded once."""

import numpy as np

from memory_service.search.fusion import fused

ONE = np.array([0.1, -0.7, 1.0], np.float32)
TWO = np.array([0.9, 0.3, -1.0], np.float32)


def test_one_term_of_weight_one_is_its_cosine() -> None:
    np.testing.assert_array_equal(fused([ONE], [1.0]), ONE)


def test_terms_are_weighed_and_summed_in_float64() -> None:
    expected = np.float32(0.3 * np.float64(ONE[0]) - 2.0 * np.float64(TWO[0]))
    assert fused([ONE, TWO], [0.3, -2.0])[0] == expected
    assert fused([ONE, TWO], [0.3, -2.0]).dtype == np.float32


def test_terms_that_cancel_leave_nothing() -> None:
    np.testing.assert_array_equal(fused([ONE, ONE], [1e6, -1e6]), np.zeros(3, np.float32))
