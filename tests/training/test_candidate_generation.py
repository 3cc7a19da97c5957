"""Which items a scorer is asked about: the most viewed, and what people with the same history had."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from training.candidate_generation import Candidates, candidate_vectors
from training.hnsw import HnswIndex
from training.retrieval import ExactIndex, Index

Rows = npt.NDArray[np.int64]
NOBODY = np.zeros(0, np.int64)


def rows(*numbers: int) -> Rows:
    return np.array(numbers, np.int64)


def candidates(vectors: npt.ArrayLike, views: npt.ArrayLike, count: int, kind: type[Any] = ExactIndex) -> Candidates:
    table = np.asarray(vectors, np.float32)
    index: Index = kind(table)
    return Candidates(table, index, np.asarray(views, np.int64), count)


def world(items: int = 200, count: int = 30, kind: type[Any] = ExactIndex) -> Candidates:
    generator = np.random.default_rng(0)
    return candidates(generator.normal(size=(items, 8)), generator.integers(0, 50, items), count, kind)


def test_products_say_how_many_people_had_both_of_two_items() -> None:
    seen = np.array([[1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [0, 0, 1, 1, 0], [1, 0, 0, 1, 0]])
    pairs = np.argwhere(seen)
    vectors = candidate_vectors(np.concatenate([pairs, pairs[:3]]), seen.shape)
    expected = seen.T @ (seen / seen.sum(axis=1, keepdims=True))
    assert (vectors.dtype, vectors.shape) == (np.float32, (5, 4))
    assert vectors @ vectors.T == pytest.approx(expected, abs=1e-5)
    assert not vectors[4].any(), "nobody had it"


def test_groups_that_share_nothing_are_told_apart() -> None:
    """All leading factors are equally strong then, and there are more of them than are kept."""
    users = np.arange(600)
    pairs = np.stack([np.repeat(users, 2), (2 * users[:, np.newaxis] + [0, 1]).ravel()], axis=1)
    vectors = candidate_vectors(pairs, (600, 1_200))
    assert vectors.shape == (1_200, 128)
    assert np.isfinite(vectors).all()
    assert vectors[::2] == pytest.approx(vectors[1::2], abs=1e-5), "both items of a user are alike"


def test_the_same_interactions_have_the_same_vectors() -> None:
    pairs = np.random.default_rng(1).integers(0, 300, (4_000, 2))
    assert candidate_vectors(pairs, (300, 300)).tobytes() == candidate_vectors(pairs[::-1], (300, 300)).tobytes()


def test_half_are_the_most_viewed_and_half_are_near_the_history() -> None:
    found = candidates([[1, 0], [0.9, 0], [0.8, 0], [0.7, 0], [0, 1], [0, 1]], [0, 1, 0, 0, 8, 9], 4)
    assert found.of(rows(0), 0, rows(0)).tolist() == [1, 2, 4, 5]


def test_an_item_that_is_both_most_viewed_and_near_leaves_room_for_another() -> None:
    found = candidates([[1, 0], [0.9, 0], [0.8, 0], [0.7, 0], [0, 1], [0, 1]], [0, 9, 0, 0, 8, 0], 4)
    assert found.of(rows(0), 0, rows(0)).tolist() == [1, 2, 3, 4]


def test_an_item_of_a_history_counts_once_and_padding_is_nobody_s() -> None:
    found = world()
    assert found.user_vector(rows(3, 7, 3, -1, -1)).tolist() == found.user_vector(rows(7, 3)).tolist()
    assert found.user_vector(rows(3, 7)) == pytest.approx(found.vectors[[3, 7]].sum(axis=0))


@pytest.mark.parametrize("kind", [ExactIndex, HnswIndex])
@pytest.mark.parametrize("share", [None, 0.9, 0.05, 0.0])
def test_what_may_not_be_returned_is_no_candidate(kind: type[Any], share: float | None) -> None:
    found, generator = world(kind=kind), np.random.default_rng(2)
    for _ in range(20):
        banned = np.concatenate([generator.integers(0, 200, 40), [-1]])
        allowed = None if share is None else generator.random(200) < share
        mine = found.of(generator.integers(0, 200, 9), 0, banned, allowed)
        left = np.setdiff1d(np.arange(200) if allowed is None else np.flatnonzero(allowed), banned)
        assert set(mine) <= set(left.tolist())
        assert len(mine) == min(30, len(left))
        assert (np.diff(mine) > 0).all()


def test_a_longer_list_has_as_many_candidates() -> None:
    assert len(world().of(rows(1, 2), 70, NOBODY)) == 70
    assert world().of(rows(1, 2), 500, rows(9)).tolist() == [row for row in range(200) if row != 9]


@pytest.mark.parametrize("history", [NOBODY, rows(-1, -1), rows(199)])
def test_without_a_history_that_says_anything_they_are_the_most_viewed(history: Rows) -> None:
    vectors = np.random.default_rng(0).normal(size=(200, 8))
    vectors[199] = 0
    views = np.random.default_rng(3).permutation(200)
    mine = candidates(vectors, views, 30).of(history, 0, rows(int(views.argmax())))
    assert sorted(views[mine], reverse=True) == list(range(198, 168, -1))


def test_where_a_graph_finds_too_few_they_are_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    found = world()
    monkeypatch.setattr(found.index, "search", lambda *_: (rows(11, 12), np.zeros(2, np.float32)))
    mine = found.of(rows(1), 0, NOBODY)
    assert len(mine) == 30
    assert {11, 12} <= set(mine.tolist())
