"""What is drawn on a list is what was to be expected of it."""

from collections import Counter

import numpy as np
import pytest

from serving.traffic.appetite import Chances
from serving.traffic.look import Act, Look

ROUNDS = 20_000


@pytest.fixture
def chances() -> Chances:
    rng = np.random.default_rng(0)
    drawn = rng.uniform(0.05, 0.9, (5, 8)).astype(np.float32)
    after = {"like": drawn[1], "follow": drawn[2], "share": drawn[3]}
    return Chances(click=drawn[0], after=after, watched=drawn[4], seconds=np.linspace(5, 60, 8, dtype=np.float32))


def test_draws_come_out_as_expected(chances: Chances) -> None:
    look, rng = Look(patience=0.8, satisfied=0.3), np.random.default_rng(1)
    counts: Counter[str] = Counter()
    for _ in range(ROUNDS):
        for act in look.acts(rng, chances):
            counts[act.kind] += 1
            counts["watch_time"] += act.seconds or 0.0  # type: ignore[assignment]
    expected = look.expected(chances)
    assert counts["watch"] == counts["click"]
    for drawn, name in (("impression", "impressions"), ("click", "ctr"), ("like", "like"), ("follow", "follow")):
        assert counts[drawn] / ROUNDS == pytest.approx(expected[name], rel=0.02), name
    assert counts["watch_time"] / ROUNDS == pytest.approx(expected["watch_time"], rel=0.03)


def test_a_list_worked_by_hand() -> None:
    two = Chances(click=np.array([0.5, 0.2], np.float32), after={"like": np.array([0.1, 1.0], np.float32)})
    expected = Look(patience=0.8, satisfied=0.5).expected(two)
    seen = 0.8 * (1 - 0.5 * 0.5)
    by_hand = {"impressions": 1 + seen, "ctr": 0.5 + 0.2 * seen, "like": 0.05 + 0.2 * seen}
    assert expected == pytest.approx(by_hand)


def test_the_patient_see_all_and_the_satisfied_leave() -> None:
    rng = np.random.default_rng(0)
    none, sure = (Chances(click=np.full(4, value, np.float32), after={}) for value in (0.0, 1.0))
    assert list(Look(1.0, 1.0).acts(rng, none)) == [Act(place, "impression") for place in range(4)]
    assert list(Look(1.0, 1.0).acts(rng, sure)) == [Act(0, "impression"), Act(0, "click")]
    assert len(list(Look(0.0, 0.0).acts(rng, none))) == 1


def test_an_empty_list_shows_nothing() -> None:
    nothing = Chances(click=np.empty(0, np.float32), after={"like": np.empty(0, np.float32)})
    assert list(Look().acts(np.random.default_rng(0), nothing)) == []
    assert Look().expected(nothing) == {"impressions": 0.0, "ctr": 0.0, "like": 0.0}
