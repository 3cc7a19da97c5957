"""Tests of the regression of items on items."""

import numpy as np
import pytest

from contracts.errors import BadInput
from training.ridge import RIDGE_LIMIT, ridge_similarities

SEEN = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0]], dtype=np.float64)
PAIRS = np.argwhere(SEEN).astype(np.int64)


@pytest.mark.parametrize("exponent", [0.0, 0.5])
def test_each_column_is_a_ridge_regression_on_the_other_items(exponent: float) -> None:
    similarities = ridge_similarities(PAIRS, SEEN.shape, penalty=2.0, activity_exponent=exponent)
    weights = SEEN.sum(1) ** -exponent
    for item in range(3):
        others = [other for other in range(4) if other != item]
        rest = SEEN[:, others]
        expected = np.linalg.solve(
            rest.T @ (weights[:, None] * rest) + 2 * np.eye(3), rest.T @ (weights * SEEN[:, item])
        )
        assert similarities[others, item] == pytest.approx(expected, abs=1e-6)
        assert similarities[item, item] == 0


def test_what_nobody_saw_says_nothing() -> None:
    similarities = ridge_similarities(PAIRS, SEEN.shape, penalty=2.0, activity_exponent=0.5)
    assert not similarities[3].any()
    assert not similarities[:, 3].any()
    assert np.isfinite(similarities).all()


def test_too_many_items_are_refused() -> None:
    with pytest.raises(BadInput, match=r"similarities of items by ridge regression: found 20,001 items"):
        ridge_similarities(PAIRS, (5, RIDGE_LIMIT + 1), penalty=2.0, activity_exponent=0.5)
