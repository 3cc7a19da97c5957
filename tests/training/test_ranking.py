"""Ties, sampled candidates, lists of events: by hand and against plain loops."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from contracts.errors import BadInput
from feature_repo.frame import TrainingFrame
from training.batches import UserBatch
from training.candidates import drawn_candidates
from training.config import RecommenderConfig
from training.evaluation import evaluate, evaluate_users, shown_of
from training.protocols import FULL_20, HeldOut, Protocol
from training.ranking import stand
from training.recommender import Catalogue, FitReport, Recommender, TwoTower

Rows = npt.NDArray[np.int64]

SAMPLED = Protocol(cutoffs=(1, 5), negatives=9, stopping="hr_at_5", seed=4)


class Table(Recommender):
    """A scorer whose scores are given; a context, where there is one, is added to each user's first item."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__(RecommenderConfig(), Catalogue(*scores.shape, {}))
        self.register_buffer("scores", scores)

    def fit(self, frame: object, **_: object) -> FitReport:
        raise AssertionError("never fitted")

    def score(self, batch: UserBatch, items: Tensor | None = None) -> Tensor:
        scores = self.scores[batch.rows]
        if "boost" in batch.context:
            scores = scores + batch.context["boost"]
        if items is None:
            return scores
        return scores[:, items] if items.dim() == 1 else scores.gather(1, items)

    def can_score(self, batch: UserBatch) -> Tensor:
        return batch.rows % 7 != 3


class Towers(Table, TwoTower):
    """The same as inner products of users' scores and unit vectors."""

    shape = "two-tower"

    def user_vectors(self, batch: UserBatch) -> Tensor:
        return self.scores[batch.rows] + batch.context.get("boost", 0)

    def item_vectors(self) -> Tensor:
        return torch.eye(self.scores.shape[1])


def shown(model: Recommender, frame: TrainingFrame, held: HeldOut, protocol: Protocol) -> dict[str, float]:
    standing = stand(model, empty(frame), held, protocol)
    return shown_of(standing, empty(frame), held.candidates)


def empty(frame: TrainingFrame) -> TrainingFrame:
    """Nobody has seen anything but item 63."""
    train = np.stack([np.arange(96), np.full(96, 63)], axis=1)
    return replace(frame, train=train, validation=train[:0])


def scores(seed: int, levels: int = 10_000) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(levels, size=(96, 64)).astype(np.float32))


def held_pairs(seed: int, count: int = 150) -> Rows:
    cells = np.random.default_rng(seed).choice(96 * 63, count, replace=False)
    return np.stack(np.divmod(cells, 63), axis=1)


@pytest.mark.parametrize("kind", [Table, Towers])
@pytest.mark.parametrize("depth", [2, 64])
def test_ties_by_hand(frame: TrainingFrame, kind: type[Table], depth: int) -> None:
    # User 0: one better, then the held-out item tied with three others: on average the third of places 2 to 5.
    # User 1: two held-out items tied with one other at the top: 4/3 and 8/3 on average over the three orders.
    # User 2: all 63 candidates alike, one held out: the 32nd.
    given = torch.zeros(96, 64)
    given[0, :5] = torch.tensor([9.0, 5, 5, 5, 5])
    given[1, :3] = 1
    pairs = np.array([[2, 8], [1, 0], [0, 3], [1, 2]])
    found = stand(kind(given), empty(frame), HeldOut(pairs), replace(FULL_20, cutoffs=(1, depth)))
    assert found.users.tolist() == [0, 1, 2]
    assert found.pairs.tolist() == [[0, 3], [1, 0], [1, 2], [2, 8]]
    assert found.ranks.rank.tolist() == pytest.approx([3.5, 4 / 3, 8 / 3, 32])


@pytest.mark.parametrize("kind", [Table, Towers])
def test_ranks_are_the_mean_over_random_orders_of_ties(frame: TrainingFrame, kind: type[Table]) -> None:
    given, pairs = scores(0, levels=5), held_pairs(1)
    found = stand(kind(given), empty(frame), HeldOut(pairs), replace(FULL_20, cutoffs=(64,)))
    rng = np.random.default_rng(2)
    for number, user in enumerate(found.users.tolist()):
        wanted = pairs[pairs[:, 0] == user, 1]
        ours = np.sort(found.ranks.rank[found.ranks.place == number])
        if user % 7 == 3:
            assert np.isinf(ours).all()
            continue
        order = np.lexsort((rng.random((400, 63)), np.broadcast_to(-given[user, :63].numpy(), (400, 63))), axis=1)
        standing = np.nonzero(np.isin(order, wanted))[1].reshape(400, -1) + 1
        # At most 25 tied: a standard deviation of 8, of the mean 0.4.
        assert ours == pytest.approx(standing.mean(axis=0), abs=1.8)


@pytest.mark.parametrize("kind", [Table, Towers])
def test_a_hit_is_never_counted_beyond_the_places(frame: TrainingFrame, kind: type[Table]) -> None:
    pairs = np.array([[0, item] for item in range(5)])
    found = evaluate(kind(torch.zeros(96, 64)), empty(frame), pairs, replace(FULL_20, cutoffs=(40, 63)))
    assert found["precision_at_63"] == pytest.approx(5 / 63)
    assert 0 < found["ndcg_at_63"] < 1
    assert found["recall_at_40"] == 0.6  # Expected at 64/6 = 10.7, 21.3, 32, 42.7 and 53.3.


@pytest.mark.parametrize("kind", [Table, Towers])
def test_small_blocks_change_nothing(frame: TrainingFrame, kind: type[Table], monkeypatch: pytest.MonkeyPatch) -> None:
    held, model = HeldOut(held_pairs(3)), kind(scores(4, levels=9))
    whole = [evaluate(model, frame, held, protocol) for protocol in (FULL_20, SAMPLED)]
    for name, size in (("_CHUNK", 7), ("_CELLS", 300), ("_SCORER_ITEMS", 5), ("_SCORER_CELLS", 20)):
        monkeypatch.setattr(f"training.ranking.{name}", size)
    assert [evaluate(model, frame, held, protocol) for protocol in (FULL_20, SAMPLED)] == whole


@pytest.mark.parametrize("kind", [Table, Towers])
def test_sampled_ranking_by_a_plain_loop(frame: TrainingFrame, kind: type[Table]) -> None:
    given, pairs = scores(5), held_pairs(6)
    found = evaluate_users(kind(given), frame, HeldOut(pairs[::-1]), SAMPLED)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    drawn = drawn_candidates(frame, pairs, None, 9, seed=4)
    hits = {
        (user, item): user % 7 != 3 and sum(float(given[user, other]) > float(given[user, item]) for other in row) < 5
        for (user, item), row in zip(pairs.tolist(), drawn.tolist(), strict=True)
    }
    assert found.means["hr_at_5"] == found.means["recall_at_5"] == pytest.approx(np.mean(list(hits.values())))
    assert found.users.tolist() == sorted({user for user, _ in hits})
    assert found.lists.tolist() == np.unique(pairs[:, 0], return_counts=True)[1].tolist()
    for user, value in zip(found.users.tolist(), found.per_user["hr_at_5"], strict=True):
        assert value == pytest.approx(np.mean([hit for (u, _), hit in hits.items() if u == user]))
    for name, values in found.per_user.items():
        assert np.average(values, weights=found.lists) == pytest.approx(found.means[name])


def test_candidates_are_distinct_and_strangers_to_the_user(frame: TrainingFrame) -> None:
    pairs = held_pairs(7)
    drawn = drawn_candidates(frame, pairs, None, 20, seed=0)
    known = {tuple(pair) for pair in np.concatenate([frame.train, frame.validation, pairs]).tolist()}
    for (user, _), row in zip(pairs.tolist(), drawn.tolist(), strict=True):
        assert len(set(row)) == 20
        assert not known & {(user, item) for item in row}
    assert np.array_equal(drawn, drawn_candidates(frame, pairs, None, 20, seed=0))
    assert not np.array_equal(drawn, drawn_candidates(frame, pairs, None, 20, seed=1))


def test_every_stranger_is_drawn_as_often(frame: TrainingFrame) -> None:
    # User 0 has seen 63 and holds out 0; of the other 62 items, those from 10 to 29 are ranked: 5 of 20 each time.
    pairs = np.zeros((4_000, 2), np.int64)
    drawn = drawn_candidates(empty(frame), pairs, np.arange(29, 9, -1), 5, seed=3)
    counts = np.bincount(drawn.ravel(), minlength=64)
    assert counts[:10].sum() == counts[30:].sum() == 0
    assert counts[10:30] == pytest.approx([1_000] * 20, abs=4.5 * 27.4)  # Binomial: sqrt(4,000 * 0.25 * 0.75) = 27.4.
    assert sorted(drawn_candidates(empty(frame), pairs[:1], np.arange(5, 10), 5, seed=0)[0]) == [5, 6, 7, 8, 9]


def test_too_few_candidates_are_refused(frame: TrainingFrame) -> None:
    with pytest.raises(BadInput, match="user row 0: found 62 items without an interaction; expected at least the 63"):
        evaluate(Table(scores(0)), empty(frame), np.array([[0, 0]]), replace(SAMPLED, negatives=63))


@pytest.mark.parametrize("kind", [Table, Towers])
def test_each_event_with_a_context_has_a_list_of_its_own(frame: TrainingFrame, kind: type[Table]) -> None:
    # User 0 likes item 1 best; the second context lifts item 2 above it. Item 5 was trained on, and comes again.
    given = torch.zeros(96, 64)
    given[0, 1], given[0, 2], given[0, 5] = 3, 2, 1
    boost = np.zeros((3, 64), np.float32)
    boost[1, 2], boost[2, 5] = 5, 9
    frame = empty(frame)
    train = np.concatenate([frame.train, [[0, 5], [0, 1]]])
    frame = replace(frame, train=train, contexts={"boost": boost})
    held = HeldOut(np.array([[0, 2], [0, 2], [0, 5], [0, 9]]), context=np.array([1, 0, 2, 1]))
    found = stand(kind(given), frame, held, FULL_20)
    assert found.users.tolist() == [0, 0, 0, 0]
    assert found.pairs.tolist() == [[0, 2], [0, 2], [0, 5], [0, 9]]
    # Seen items 1, 5 and 63 are no candidates but for an event with them; item 9 is tied with 59 others behind item 2.
    assert found.ranks.rank.tolist() == [1, 1, 1, 31.5]
    everything = stand(kind(given), frame, held, replace(FULL_20, exclude_seen=False))
    assert everything.ranks.rank.tolist() == [2, 1, 1, 34]
    means = evaluate_users(kind(given), frame, held)
    assert (means.users.tolist(), means.lists.tolist()) == ([0], [4])
    assert means.means["hr_at_20"] == means.per_user["hr_at_20"].item() == 0.75


@pytest.mark.parametrize("kind", [Table, Towers])
def test_only_the_candidates_of_a_cold_start_are_ranked(frame: TrainingFrame, kind: type[Table]) -> None:
    given = torch.arange(64).float().expand(96, 64)
    held = HeldOut(np.array([[0, 40], [1, 50]]), candidates=np.array([63, 50, 40, 30]))
    found = stand(kind(given), empty(frame), held, FULL_20)
    assert found.ranks.rank.tolist() == [2, 1]  # Item 63 was seen.
    with pytest.raises(BadInput, match="found item row 41, which is no candidate; expected items among the 4 cand"):
        evaluate(kind(given), empty(frame), replace(held, pairs=np.array([[0, 41]])))


@pytest.mark.parametrize("kind", [Table, Towers])
def test_what_lists_show_by_hand(frame: TrainingFrame, kind: type[Table]) -> None:
    # Users 0 and 1 are shown items 0 and 1, user 3 cannot be scored; 63 is seen by all 96, the others by nobody.
    given = torch.zeros(96, 64)
    given[:, :2] = torch.tensor([2.0, 1.0])
    at_2 = replace(FULL_20, cutoffs=(1, 2))
    found = shown(kind(given), frame, HeldOut(np.array([[0, 9], [1, 9], [3, 9]])), at_2)
    assert found["coverage_at_1"] == 1 / 64
    assert found["coverage_at_2"] == 2 / 64
    assert found["gini_at_2"] == pytest.approx(1 - 2 / 64)
    assert found["novelty_at_2"] == pytest.approx(np.log2(96))
    assert found["popularity_lift_at_2"] == 0
    again = replace(at_2, exclude_seen=False)
    assert shown(kind(given.roll(62, 1)), frame, HeldOut(np.array([[0, 9]])), again)["popularity_lift_at_2"] == 0.5
    assert shown(kind(given), frame, HeldOut(np.array([[3, 9]])), at_2) == {}
    assert shown(kind(given), frame, HeldOut(np.array([[0, 9]])), replace(SAMPLED, negatives=5)) == {}
    some = HeldOut(np.array([[0, 9], [1, 9]]), candidates=np.array([63, 9, 1, 8]))
    assert shown(kind(given), frame, some, replace(at_2, cutoffs=(1,))) == {
        "coverage_at_1": 1 / 4,
        "gini_at_1": pytest.approx(3 / 4),
        "novelty_at_1": pytest.approx(np.log2(96)),
        "popularity_lift_at_1": 0,
    }


def test_lists_end_where_the_candidates_do(frame: TrainingFrame) -> None:
    found = shown(Table(scores(1)), frame, HeldOut(np.array([[0, 9]])), replace(FULL_20, cutoffs=(64,)))
    assert found["coverage_at_64"] == 63 / 64


def test_ranks_are_exact_as_deep_as_is_asked(frame: TrainingFrame) -> None:
    model, held = Table(torch.arange(64).float().expand(96, 64)), HeldOut(np.array([[0, 10]]))
    assert stand(model, empty(frame), held, FULL_20).ranks.rank[0] > 20
    assert stand(model, empty(frame), held, FULL_20, depth=60).ranks.rank.tolist() == [53]  # Item 63 was seen.
