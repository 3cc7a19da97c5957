"""Exact retrieval against a full sort."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.retrieval import ExactIndex


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**31), st.data())
def test_it_agrees_with_a_full_sort(items: int, k: int, seed: int, data: st.DataObject) -> None:
    exclude = data.draw(st.lists(st.integers(-1, items - 1)))
    rng = np.random.default_rng(seed)
    table, user = rng.normal(size=(items, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    rows, scores = ExactIndex(table).search(user, k, exclude)
    expected = [row for row in np.argsort(-(table @ user)) if row not in exclude][:k]
    assert rows.tolist() == expected
    np.testing.assert_allclose(scores, (table @ user)[expected], rtol=1e-5, atol=1e-6)


def test_it_ignores_rows_nobody_knows() -> None:
    index = ExactIndex(np.eye(3, dtype=np.float32))
    rows, _ = index.search(np.array([3, 2, 1], np.float32), 3, [-1, -1, 0])
    assert rows.tolist() == [1, 2]


def test_it_returns_nothing_where_everything_is_excluded() -> None:
    rows, scores = ExactIndex(np.eye(3, dtype=np.float32)).search(np.ones(3, np.float32), 2, [0, 1, 2])
    assert len(rows) == len(scores) == 0
