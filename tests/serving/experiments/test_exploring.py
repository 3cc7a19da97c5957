"""What is shuffled is shuffled as the logged chances say."""

from collections import Counter

import numpy as np
import pytest
from scipy.stats import binomtest, chisquare

from serving.experiments.exploring import explore

RANKED = ["a", "b", "c", "d"]


def draws(count: int, k: int, epsilon: float) -> list[tuple[tuple[str, ...], tuple[float, ...], bool]]:
    found = [explore(RANKED, k, epsilon, "spring", f"r{number}") for number in range(count)]
    return [(each.items, each.propensities, each.shuffled) for each in found]


def test_items_stand_in_their_places_as_often_as_their_propensities_say() -> None:
    count = 20_000
    shown: Counter[tuple[int, str]] = Counter()
    said: dict[tuple[int, str], float] = {}
    for items, propensities, _ in draws(count, 3, 0.3):
        for place, (item, chance) in enumerate(zip(items, propensities, strict=True)):
            shown[place, item] += 1
            assert said.setdefault((place, item), chance) == chance
    assert len(said) == 12
    for at, chance in said.items():
        # Twelve tests at 1 in 10,000 of hashes that never change.
        assert binomtest(shown[at], count, chance).pvalue > 1e-4, at


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_the_chances_of_a_place_sum_to_one(epsilon: float) -> None:
    of_place: dict[int, dict[str, float]] = {}
    for items, propensities, _ in draws(500, 4, epsilon):
        for place, (item, chance) in enumerate(zip(items, propensities, strict=True)):
            of_place.setdefault(place, {})[item] = chance
    assert [round(sum(chances.values()), 12) for chances in of_place.values()] == [1.0] * 4


def test_every_order_is_equally_likely_among_the_shuffled() -> None:
    orders = Counter(items for items, _, shuffled in draws(12_000, 2, 1.0) if shuffled)
    assert len(orders) == 12
    assert chisquare(list(orders.values())).pvalue > 1e-3


def test_so_many_are_shuffled_as_epsilon_says() -> None:
    shuffled = sum(each for *_, each in draws(20_000, 4, 0.05))
    assert binomtest(shuffled, 20_000, 0.05).pvalue > 1e-3
    assert not any(each for *_, each in draws(1_000, 4, 0.0))


def test_the_same_request_is_shown_the_same() -> None:
    assert draws(50, 3, 0.5) == draws(50, 3, 0.5)
    other = [explore(RANKED, 3, 0.5, "summer", f"r{number}").items for number in range(50)]
    assert [items for items, *_ in draws(50, 3, 0.5)] != other


def test_a_list_shorter_than_it_was_asked_for() -> None:
    found = explore(["a", "b"], 5, 0.5, "spring", "r")
    assert sorted(found.items) == ["a", "b"]
    assert np.isclose(found.propensities, 0.5 * (found.items == ("a", "b")) + 0.25).all()
    assert explore([], 5, 0.5, "spring", "r").items == ()
