"""Exact retrieval against a full sort."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.retrieval import ExactIndex


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


@settings(max_examples=60, deadline=None)
@given(st.integers(40, 300), st.integers(1, 20), st.integers(2, 12), st.integers(0, 2**31))
def test_equal_scores_are_found_in_the_order_of_the_table_whoever_else_is_asked(
    items: int, k: int, users: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    table = rng.integers(-1, 2, (items, 3)).astype(np.float32)
    vectors = rng.integers(-1, 2, (users, 3)).astype(np.float32)
    allowed = None if seed % 2 else rng.random(items) < 0.8
    excludes = [rng.integers(-1, items, rng.integers(0, 9)) for _ in range(users)]
    index = ExactIndex(table)
    together = index.search_all(vectors, k, excludes, allowed)
    for user, exclude, (rows, scores) in zip(vectors, excludes, together, strict=True):
        order = np.lexsort((np.arange(items), -(table @ user)))
        expected = [row for row in order if row not in exclude and (allowed is None or allowed[row])][:k]
        assert rows.tolist() == expected
        alone = index.search(user, k, exclude, allowed)
        assert alone[0].tolist() == expected
        assert alone[1].tobytes() == scores.tobytes()
