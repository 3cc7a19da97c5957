import math
from collections.abc import Mapping

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from scipy.stats import chisquare
from torch import Tensor

from contracts.errors import BadInput
from feature_repo.frame import TrainingFrame
from training.negatives import (
    SAMPLERS,
    HardNegatives,
    InBatchNegatives,
    NegativesAmong,
    PopularityNegatives,
    UniformNegatives,
)

SEEN = [[1, 4], [0, 1, 2, 3, 4], [], [5]]
PAIRS = torch.tensor([(user, item) for user, row in enumerate(SEEN) for item in row])
VIEWS = [1, 2, 1, 1, 2, 1]  # What PAIRS make of six items.


def likes_high_rows(users: Tensor, items: Tensor, context: Mapping[str, Tensor]) -> Tensor:
    return items.float()


@pytest.mark.parametrize("name", SAMPLERS)
def test_no_negative_is_a_known_positive(name: str, frame: TrainingFrame) -> None:
    pairs = torch.from_numpy(frame.train)
    sampler = SAMPLERS[name](pairs, len(frame.users), len(frame.items), likes_high_rows)
    some = pairs.repeat(5, 1)
    items, log_probabilities = sampler.sample(
        some[:, 0], 4, torch.Generator().manual_seed(0), positives=some[:, 1], context={}
    )
    assert items.shape == log_probabilities.shape == (len(some), 4)
    assert log_probabilities.dtype == torch.float32
    positives = set(map(tuple, frame.train.tolist()))
    drawn = {(int(user), int(item)) for user, row in zip(some[:, 0], items, strict=True) for item in row}
    assert not drawn & positives
    assert int(items.min()) >= 0
    assert int(items.max()) < len(frame.items)


@settings(deadline=None)
@given(st.integers(1, 5), st.integers(2, 7), st.sampled_from(["uniform", "popularity"]), st.data())
def test_every_unseen_item_is_drawn_and_no_other(users: int, items: int, name: str, data: st.DataObject) -> None:
    seen = [
        sorted(data.draw(st.sets(st.integers(0, items - 1), max_size=items - 1), label=f"user {u}"))
        for u in range(users)
    ]
    pairs = torch.tensor([(u, i) for u, row in enumerate(seen) for i in row], dtype=torch.int64).reshape(-1, 2)
    shuffled = pairs[torch.randperm(len(pairs), generator=torch.Generator().manual_seed(1))]
    sampler = SAMPLERS[name](shuffled, users, items, likes_high_rows)
    asked = torch.arange(users)
    drawn, log_probability = sampler.sample(
        asked, 400, torch.Generator().manual_seed(2), positives=torch.zeros(users), context={}
    )
    views = np.maximum(np.bincount(pairs[:, 1].numpy(), minlength=items), 1)
    for user in range(users):
        unseen = sorted(set(range(items)) - set(seen[user]))
        assert sorted(set(drawn[user].tolist())) == unseen
        weights = {item: views[item] ** (0.75 if name == "popularity" else 0) for item in unseen}
        expected = [math.log(weights[item] / sum(weights.values())) for item in drawn[user].tolist()]
        assert log_probability[user].tolist() == pytest.approx(expected, abs=1e-6)


@settings(deadline=None)
@given(st.integers(2, 5), st.integers(3, 7), st.data())
def test_in_batch_negatives_are_others_positives_where_there_are_any(
    users: int, items: int, data: st.DataObject
) -> None:
    seen = [data.draw(st.sets(st.integers(0, items - 1), min_size=1, max_size=items - 1)) for _ in range(users)]
    pairs = torch.tensor([(u, i) for u, row in enumerate(seen) for i in sorted(row)])
    chosen = sorted(data.draw(st.sets(st.integers(0, len(pairs) - 1), min_size=1)))
    batch = pairs[chosen]
    sampler = InBatchNegatives(pairs, users, items)
    drawn, _ = sampler.sample(batch[:, 0], 200, torch.Generator().manual_seed(0), positives=batch[:, 1])
    for user, row in zip(batch[:, 0].tolist(), drawn, strict=True):
        others = set(batch[:, 1].tolist()) - seen[user]
        assert set(row.tolist()) == (others or set(range(items)) - seen[user])


@pytest.mark.parametrize(("power", "user"), [(0.0, 0), (0.75, 0), (1.0, 2), (2.0, 3)])
def test_draws_by_popularity_follow_their_log_probabilities(power: float, user: int) -> None:
    sampler = PopularityNegatives(PAIRS, users=4, items=6, power=power)
    unseen = [item for item in range(6) if item not in SEEN[user]]
    drawn, found = sampler.sample(torch.tensor([user]), 40_000, torch.Generator().manual_seed(0))
    weights = np.array([VIEWS[item] ** power for item in unseen])
    expected = weights / weights.sum()
    said = {int(item): float(value) for item, value in zip(drawn[0], found[0].exp(), strict=True)}
    assert [said[item] for item in unseen] == pytest.approx(expected, abs=1e-6)
    counts = np.bincount(drawn[0].numpy(), minlength=6)[unseen]
    assert chisquare(counts, expected * 40_000).pvalue > 0.001


def test_uniform_draws_follow_their_log_probability() -> None:
    drawn, found = UniformNegatives(PAIRS, users=4, items=6).sample(
        torch.tensor([0]), 40_000, torch.Generator().manual_seed(0)
    )
    assert found.exp().unique().tolist() == pytest.approx([0.25])
    assert chisquare(np.bincount(drawn[0].numpy(), minlength=6)[[0, 2, 3, 5]]).pvalue > 0.001


def test_in_batch_draws_follow_the_batch_and_are_corrected_by_views() -> None:
    users, positives = torch.tensor([2, 0, 0, 3, 1]), torch.tensor([0, 1, 4, 5, 0])
    drawn, found = InBatchNegatives(PAIRS, users=4, items=6).sample(
        users, 30_000, torch.Generator().manual_seed(0), positives=positives
    )
    # User 2 has seen nothing: row 0 of the batch offers it items 0, 1, 4, 5, of which 0 twice.
    counts = np.bincount(drawn[0].numpy(), minlength=6)
    assert counts[[2, 3]].tolist() == [0, 0]
    assert chisquare(counts[[0, 1, 4, 5]], np.array([2, 1, 1, 1]) / 5 * 30_000).pvalue > 0.001
    # Of all eight views two are of item 1; user 1, who has seen all but item 5, can be drawn nothing else.
    assert found[0][drawn[0] == 1][0].exp().item() == pytest.approx(2 / 8, abs=1e-6)
    assert set(drawn[4].tolist()) == {5}
    assert found[4][0].exp().item() == pytest.approx(1.0, abs=1e-6)


def test_in_batch_falls_back_to_draws_by_views() -> None:
    # A batch of one offers its user nothing.
    drawn, found = InBatchNegatives(PAIRS, users=4, items=6).sample(
        torch.tensor([0]), 20_000, torch.Generator().manual_seed(0), positives=torch.tensor([1])
    )
    assert sorted(set(drawn[0].tolist())) == [0, 2, 3, 5]
    assert found.exp().unique().tolist() == pytest.approx([0.25])


def test_hard_negatives_are_the_best_of_each_pool() -> None:
    asked: list[Tensor] = []

    def scores(users: Tensor, items: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        asked.append(items)
        return context["sign"].unsqueeze(1) * items.float()

    sampler = HardNegatives(PAIRS, 4, 6, scores, pool=3)
    context = {"sign": torch.tensor([1.0, -1.0])}
    drawn, found = sampler.sample(torch.tensor([0, 2]), 5, torch.Generator().manual_seed(0), context=context)
    pools = asked[0].view(2, 5, 3)
    assert torch.equal(drawn[0], pools[0].amax(1))
    assert torch.equal(drawn[1], pools[1].amin(1))
    assert found.exp()[:, 0].tolist() == pytest.approx([1 / 4, 1 / 6])


@pytest.mark.parametrize("name", SAMPLERS)
def test_same_generator_same_draws(name: str) -> None:
    sampler = SAMPLERS[name](PAIRS, 4, 6, likes_high_rows)
    users, positives = PAIRS.T
    first, second = (
        sampler.sample(users, 3, torch.Generator().manual_seed(7), positives=positives, context={}) for _ in range(2)
    )
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


def test_a_pair_that_comes_twice_is_one_item_and_two_views() -> None:
    twice = torch.tensor([[0, 1], [0, 1], [1, 0]])
    drawn, found = PopularityNegatives(twice, users=2, items=3, power=1.0).sample(
        torch.tensor([1]), 300, torch.Generator().manual_seed(0)
    )
    assert sorted(set(drawn[0].tolist())) == [1, 2]
    assert found[drawn == 1][0].exp().item() == pytest.approx(2 / 3, abs=1e-6)
    drawn, _ = UniformNegatives(twice, users=2, items=3).sample(
        torch.tensor([0]), 300, torch.Generator().manual_seed(0)
    )
    assert sorted(set(drawn[0].tolist())) == [0, 2]


@pytest.mark.parametrize("name", SAMPLERS)
def test_draws_among_candidates_are_those_of_a_catalogue_of_them_alone(name: str) -> None:
    candidates = torch.tensor([2, 3, 5, 8, 13, 21])
    users, places = PAIRS.T
    pairs = torch.stack([users, candidates[places]], dim=1)
    among = NegativesAmong(SAMPLERS[name], pairs, 4, candidates, likes_high_rows)
    alone = SAMPLERS[name](PAIRS, 4, 6, likes_high_rows)
    found, expected = (
        sampler.sample(users, 3, torch.Generator().manual_seed(7), positives=positives, context={})
        for sampler, positives in ((among, pairs[:, 1]), (alone, places))
    )
    assert torch.equal(found[0], candidates[expected[0]])
    assert torch.equal(found[1], expected[1])


def test_a_model_scores_candidates_by_their_rows() -> None:
    asked = []

    def scores(users: Tensor, items: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        asked.append(items)
        return items.float()

    sampler = NegativesAmong(SAMPLERS["hard"], torch.tensor([[0, 7]]), 1, torch.tensor([4, 7, 90]), scores)
    zero = torch.tensor([0])
    drawn, _ = sampler.sample(zero, 40, torch.Generator().manual_seed(0), positives=torch.tensor([7]), context={})
    assert set(asked[0].flatten().tolist()) == {4, 90}
    assert drawn.max() == 90


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_user_who_has_seen_everything_is_refused(name: str) -> None:
    pairs = torch.tensor([[0, 0], [1, 0], [1, 1], [1, 2]])
    with pytest.raises(BadInput, match="training pairs of user row 1: found all 3 items seen"):
        SAMPLERS[name](pairs, 2, 3, likes_high_rows)


def test_a_million_users_and_items_take_no_table_of_both() -> None:
    pairs = torch.stack([torch.arange(1_000_000), torch.arange(1_000_000) ** 2 % 999_983], dim=1)
    sampler = PopularityNegatives(pairs, 1_000_000, 1_000_000)
    users = pairs[-1000:, 0]
    drawn, found = sampler.sample(users, 2, torch.Generator().manual_seed(0))
    assert not (drawn == pairs[-1000:, 1:]).any()
    assert found.isfinite().all()
