from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from feature_repo.frame import TrainingFrame
from training.batches import PADDING, UserBatch
from training.models import knn
from training.models.knn import ItemKnn, ItemKnnConfig, UserKnn, UserKnnConfig
from training.recommender import Catalogue

SEEN = [{0, 1}, {0, 1, 2}, {1, 3}, {4}, set(), {0, 2, 3}]
"""Item rows of users 0 to 5."""


def matrix(frame: TrainingFrame) -> np.ndarray:
    ones = np.zeros((len(frame.users), len(frame.items)))
    ones[frame.train[:, 0], frame.train[:, 1]] = 1
    return ones


def fitted(model: type, frame: TrainingFrame, **options: Any) -> Any:
    """The plain cosine where nothing else is said."""
    cosine: dict[str, Any] = {"shrinkage": 0.0, "own_exponent": 0.5, "neighbour_exponent": 0.5, "popularity": 0.0}
    if model is ItemKnn:
        config: UserKnnConfig | ItemKnnConfig = ItemKnnConfig(**{**cosine, "activity_exponent": 0.0, **options})
    else:
        config = UserKnnConfig(**{**cosine, **options})
    recommender = model(config, Catalogue.of(frame))
    recommender.fit(frame, seed=0)
    return recommender


@pytest.fixture
def few(frame: TrainingFrame) -> TrainingFrame:
    pairs = np.array([(user, item) for user, items in enumerate(SEEN) for item in sorted(items)])
    history = np.full_like(frame.history, PADDING)
    return replace(frame, train=pairs, history=history, validation=np.array([[0, 2]]))


def test_user_knn_by_hand(few: TrainingFrame) -> None:
    model = fitted(UserKnn, few, neighbours=2, shrinkage=1.0)
    scores = model.score(UserBatch(torch.tensor([0]), torch.tensor([[PADDING]])))[0]
    # Of user 0: user 1 shares two of 2 and 3, user 2 one of 2 and 2, user 5 one of 2 and 3; the last is no neighbour.
    first, second = 2 / (6**0.5 + 1), 1 / (4**0.5 + 1)
    assert scores[:5].tolist() == pytest.approx([first, first + second, first, second, 0])


def test_item_knn_by_hand(few: TrainingFrame) -> None:
    model = fitted(ItemKnn, few, neighbours=2, shrinkage=1.0)
    scores = model.score(UserBatch(torch.tensor([PADDING]), torch.tensor([[0, PADDING]])))[0]
    # Item 0 was seen by three, items 1 and 2 with it by two, of three and of two; item 3 by one of its two.
    assert scores[:5].tolist() == pytest.approx([0, 2 / (3 + 1), 2 / (6**0.5 + 1), 0, 0])


def test_who_has_seen_much_says_less(few: TrainingFrame) -> None:
    model = fitted(ItemKnn, few, activity_exponent=1.0)
    scores = model.score(UserBatch(torch.tensor([PADDING]), torch.tensor([[0, PADDING]])))[0]
    # Item 1 shares with item 0 a user of two items and one of three; item 2 two users of three, item 3 one of them.
    assert scores[1:4].tolist() == pytest.approx([(1 / 2 + 1 / 3) / 3, (2 / 3) / 6**0.5, (1 / 3) / 6**0.5])


def test_exponents_of_either_side(few: TrainingFrame) -> None:
    model = fitted(ItemKnn, few, own_exponent=1.0, neighbour_exponent=0.0)
    scores = model.score(UserBatch(torch.tensor([PADDING]), torch.tensor([[2, PADDING]])))[0]
    assert scores[:4].tolist() == pytest.approx([2 / 2, 1 / 2, 0, 1 / 2])
    other = fitted(UserKnn, few, own_exponent=0.0, neighbour_exponent=1.0, neighbours=1)
    scores = other.score(UserBatch(torch.tensor([2]), torch.tensor([[PADDING]])))[0]
    # Of users 0, 1 and 5, who share one item with user 2, user 0 has seen least.
    assert scores[:4].tolist() == pytest.approx([1 / 2, 1 / 2, 0, 0])


@pytest.mark.parametrize("model", [UserKnn, ItemKnn])
def test_popularity_orders_what_no_neighbour_has(few: TrainingFrame, model: type) -> None:
    users = UserBatch(torch.tensor([3, PADDING]), torch.tensor([[PADDING], [PADDING]]))
    assert not fitted(model, few).score(users).any(), "nobody else has seen item 4"
    scores = fitted(model, few, popularity=0.5).score(users)
    greatest = 1 if model is UserKnn else 2 / 6**0.5
    views = torch.tensor([3.0, 3.0, 2.0, 2.0, 1.0])
    assert torch.allclose(scores[0, :5], 0.5 * greatest * views / 3)
    assert not scores[1].any(), "a user without a history"


@pytest.mark.parametrize("neighbours", [5, 1000])
def test_user_knn_over_all_users(frame: TrainingFrame, neighbours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, ones = fitted(UserKnn, frame, neighbours=neighbours, shrinkage=3.0), matrix(frame)
    counts = ones.sum(1)
    similarity = (ones @ ones.T / (np.sqrt(np.outer(counts, counts)) + 3)).astype(np.float32)
    np.fill_diagonal(similarity, 0)
    expected = np.zeros_like(ones)
    for user, row in enumerate(similarity):
        for other in sorted(range(len(row)), key=lambda v: (-row[v], v))[:neighbours]:
            expected[user] += row[other] * ones[other]
    users = UserBatch(torch.arange(len(ones)), torch.from_numpy(frame.history))
    every = model.score(users)
    assert torch.allclose(every, torch.from_numpy(expected).float(), atol=1e-4)
    monkeypatch.setattr(knn, "_CELLS", 1)
    assert torch.equal(model.score(UserBatch(users.rows, users.history)), every)


@pytest.mark.parametrize("neighbours", [5, 1000])
def test_item_knn_over_all_items(frame: TrainingFrame, neighbours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knn, "_ROWS", 10)
    model, ones = fitted(ItemKnn, frame, neighbours=neighbours, shrinkage=3.0), matrix(frame)
    counts = ones.sum(0)
    similarity = (ones.T @ ones / (np.sqrt(np.outer(counts, counts)) + 3)).astype(np.float32)
    np.fill_diagonal(similarity, 0)
    kept = np.zeros_like(similarity)
    for item, row in enumerate(similarity):
        best = sorted(range(len(row)), key=lambda v: (-row[v], v))[:neighbours]
        kept[item, best] = row[best]
    users = UserBatch(torch.arange(len(ones)), torch.from_numpy(frame.history))
    assert torch.allclose(model.score(users), torch.from_numpy(ones @ kept).float(), atol=1e-4)


@pytest.mark.parametrize("model", [UserKnn, ItemKnn])
def test_candidates_and_strangers(few: TrainingFrame, model: type) -> None:
    fresh = fitted(model, few)
    history = torch.tensor([[0, 1], [PADDING, PADDING], [9, PADDING]])
    strangers = UserBatch(torch.tensor([PADDING, PADDING, PADDING]), history)
    assert fresh.can_score(strangers).tolist() == [True, False, False]
    every = fresh.score(strangers)
    assert every[0].any()
    assert not every[1:].any()
    assert torch.equal(fresh.score(strangers, torch.tensor([2, 0])), every[:, [2, 0]])
    assert torch.equal(
        fresh.score(strangers, torch.tensor([[2], [0], [1]])), every.gather(1, torch.tensor([[2], [0], [1]]))
    )
    # A known user who brings nothing new is asked about by what is held.
    assert torch.equal(*fresh.score(UserBatch(torch.tensor([0, 0]), torch.tensor([[0, 1], [PADDING, PADDING]]))))


@pytest.mark.parametrize("model", [UserKnn, ItemKnn])
def test_no_answer_outlives_what_it_was_counted_from(few: TrainingFrame, model: type) -> None:
    users = UserBatch(torch.tensor([0]), torch.tensor([[0, 1]]))
    ours, other = fitted(model, few), fitted(model, replace(few, train=few.train[:-1]))
    before = ours.score(users)
    assert torch.equal(ours.score(users, torch.tensor([1, 2])), before[:, [1, 2]])
    ours.load_state(other.state())
    assert torch.equal(ours.score(users), other.score(users))
    assert not torch.equal(ours.score(users), before)
    ours.fit(few, seed=0)
    assert torch.equal(ours.score(users), before)
