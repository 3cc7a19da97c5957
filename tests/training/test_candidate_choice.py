"""How many candidates scorers get: recall against all items, and doubling until it suffices."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from contracts.settings import load_settings
from feature_repo.frame import TrainingFrame
from training.batches import UserBatch
from training.candidate_choice import Choice, candidate_recall, chosen_candidates
from training.candidate_generation import Candidates
from training.counting import CountingRecommender
from training.models.mf import MfConfig
from training.recommender import Catalogue, Recommender
from training.retrieval import ExactIndex

Scores = npt.NDArray[np.float32]


class Given(CountingRecommender):
    """A scorer whose scores are given, ``[U, N]``, and that remembers what it was asked."""

    def __init__(self, frame: TrainingFrame, scores: Scores, able: bool = True) -> None:
        super().__init__(MfConfig(), Catalogue.of(frame))
        self.register_buffer("scores", torch.from_numpy(scores))
        self.scores: Tensor
        self._able = able
        self.asked: list[UserBatch] = []

    def count(self, frame: TrainingFrame) -> None:
        """There is nothing to learn."""

    def can_score(self, batch: UserBatch) -> Tensor:
        return torch.full((len(batch),), self._able)

    def score(self, batch: UserBatch, items: Tensor | None = None) -> Tensor:
        assert items is not None
        self.asked.append(batch)
        return self.scores[batch.rows][:, items]


def choose(model: Recommender, frame: TrainingFrame, count: int, *, exclude_seen: bool = True) -> Choice | None:
    settings = load_settings(device="cpu", scorer_candidates=count)
    return chosen_candidates(settings, model, frame, exclude_seen=exclude_seen, depths=(10, 50))


def in_order(frame: TrainingFrame, order: npt.NDArray[np.int64]) -> Given:
    """Everybody's best items are the first of an order."""
    scores = np.zeros((len(frame.users), len(frame.items)), np.float32)
    scores[:, order] = -np.arange(len(order))
    return Given(frame, scores)


def shares_by_hand(candidates: Candidates, scores: Scores, histories: npt.NDArray[np.int64], k: int) -> list[float]:
    """By sets, of scores without ties."""
    shares = []
    for of_user, history in zip(scores, histories, strict=True):
        seen = set(history[history >= 0].tolist())
        best = [row for row in np.argsort(-of_user).tolist() if row not in seen][:k]
        mine = candidates.of(history, 0, np.array(sorted(seen), np.int64))
        shares.append(len(set(best) & set(mine.tolist())) / k)
    return shares


def test_recall_is_the_share_of_the_best_items_that_are_candidates() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(120, 4)).astype(np.float32)
    candidates = Candidates(vectors, ExactIndex(vectors), generator.integers(0, 9, 120), 40)
    scores = generator.normal(size=(15, 120)).astype(np.float32)
    histories = np.where(generator.random((15, 6)) < 0.7, generator.integers(0, 120, (15, 6)), -1)
    found = candidate_recall(candidates, scores, histories, exclude_seen=True, depths={20, 5})
    assert list(found) == [5, 20]
    for k, share in found.items():
        assert share == pytest.approx(np.mean(shares_by_hand(candidates, scores, histories, k)))
    assert 0.1 < found[20] < 0.9


def test_what_users_have_had_is_wanted_where_they_choose_it_again() -> None:
    vectors = np.eye(6, dtype=np.float32)
    candidates = Candidates(vectors, ExactIndex(vectors), np.array([0, 0, 0, 0, 5, 9]), 2)
    scores = np.array([[9, 1, 2, 3, 4, 5]], np.float32)
    histories = np.array([[0, -1]])
    again = candidate_recall(candidates, scores, histories, exclude_seen=False, depths={1})
    once = candidate_recall(candidates, scores, histories, exclude_seen=True, depths={1, 2})
    assert (again, once) == ({1: 1.0}, {1: 1.0, 2: 0.5})


def test_ties_with_the_last_of_the_best_are_as_good() -> None:
    vectors = np.zeros((50, 2), np.float32)
    candidates = Candidates(vectors, ExactIndex(vectors), np.arange(50), 25)
    found = candidate_recall(
        candidates, np.zeros((1, 50), np.float32), np.full((1, 3), -1), exclude_seen=True, depths={20}
    )
    assert found == {20: 1.0}


def test_enough_at_once(frame: TrainingFrame, capsys: pytest.CaptureFixture[str]) -> None:
    choice = choose(in_order(frame, np.argsort(-frame.popularity, kind="stable")), frame, 60)
    assert choice is not None
    assert (choice.candidates.count, sorted(choice.recall)) == (60, [10, 20, 50])
    assert choice.recall[20] >= 0.95
    assert "60 of 64 items are ranked for a request" in capsys.readouterr().err


def test_candidates_are_doubled_until_they_suffice(frame: TrainingFrame, capsys: pytest.CaptureFixture[str]) -> None:
    model = in_order(frame, np.argsort(-frame.popularity, kind="stable"))
    choice = choose(model, frame, 15)
    assert choice is not None
    narrower = Candidates(choice.candidates.vectors, choice.candidates.index, frame.popularity, 30)
    rows = model.asked[0].rows.numpy()
    told = candidate_recall(narrower, model.scores.numpy()[rows], frame.history[rows], exclude_seen=True, depths={20})
    assert choice.candidates.count == 60
    assert told[20] < 0.95 <= choice.recall[20]
    assert "60 of 64 items" in capsys.readouterr().err


def test_where_nothing_suffices_every_item_is_ranked(frame: TrainingFrame, capsys: pytest.CaptureFixture[str]) -> None:
    assert choose(in_order(frame, np.argsort(frame.popularity, kind="stable")), frame, 8) is None
    assert "of users' best 20, less than 95%; each item will be ranked" in capsys.readouterr().err


def test_a_catalogue_as_large_as_the_setting_is_ranked_whole(frame: TrainingFrame) -> None:
    model = in_order(frame, np.arange(64))
    assert choose(model, frame, 64) is None
    assert not model.asked


def test_a_two_tower_model_has_an_index_instead(fit: Callable[..., Recommender], frame: TrainingFrame) -> None:
    assert choose(fit(frame, "popularity"), frame, 8) is None


def test_a_model_that_can_score_nobody_is_not_measured(
    frame: TrainingFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Given(frame, np.zeros((len(frame.users), 64), np.float32), able=False)
    assert choose(model, frame, 8) is None
    assert "can score none of 64 users" in capsys.readouterr().err


def test_users_ask_by_the_events_that_bring_something(frame: TrainingFrame) -> None:
    events = np.arange(len(frame.train))
    bringing = replace(
        frame, contexts={"video": events[:, np.newaxis].astype(np.float32)}, train_context=events[::-1].copy()
    )
    model = in_order(frame, np.argsort(-frame.popularity, kind="stable"))
    assert choose(model, bringing, 60) is not None
    batch = model.asked[0]
    asked = np.linspace(0, len(events) - 1, 64).astype(np.int64)
    assert batch.rows.tolist() == frame.train[asked, 0].tolist()
    assert batch.context["video"][:, 0].tolist() == (len(events) - 1 - asked).tolist()
    assert batch.history.numpy().tolist() == frame.history[frame.train[asked, 0]].tolist()
