"""Team drafts by hand, and how soon they find what an A/B test finds."""

import numpy as np
import pytest

from contracts.errors import BadInput
from serving.analysis.interleaving import CHALLENGER, CHAMPION, NOBODY, credits, preference, team_draft
from serving.analysis.sequences import half_width

K = 10


def test_a_draft_takes_turns_by_the_coins() -> None:
    drafts = {team_draft("abcd", "bxya", 4, "spring", str(n)) for n in range(200)}
    seen = {("".join(draft.items), draft.teams) for draft in drafts}
    # Two rounds, and who begins each is drawn: written out from the algorithm.
    assert seen == {
        ("abcx", (0, 1, 0, 1)),
        ("abxc", (0, 1, 1, 0)),
        ("bacx", (1, 0, 0, 1)),
        ("baxc", (1, 0, 1, 0)),
    }


def test_a_replay_makes_the_same_list() -> None:
    first, second = "abcdefgh", "hgfedcba"
    assert team_draft(first, second, 8, "spring", "r1") == team_draft(first, second, 8, "spring", "r1")
    assert len({team_draft(first, second, 8, "spring", f"r{n}") for n in range(50)}) > 5
    assert team_draft(first, second, 8, "spring", "r1") != team_draft(first, second, 8, "summer", "r1")


def test_teams_are_even_and_begin_as_often() -> None:
    champion, challenger = [f"a{i}" for i in range(500)], [f"b{i}" for i in range(500)]
    assert sum(team_draft(champion, challenger, 500, "spring", "r").teams) == 250
    began = [team_draft(champion, challenger, 1, "spring", str(n)).teams[0] for n in range(2_000)]
    assert np.mean(began) == pytest.approx(0.5, abs=0.04)


def test_items_after_one_has_run_out_are_nobodys() -> None:
    draft = team_draft("ab", "a", 5, "spring", "r")
    assert draft.items == ("a", "b")
    assert draft.teams[1] == NOBODY
    assert team_draft("ab", "", 5, "spring", "r").teams == (NOBODY, NOBODY)
    assert team_draft("", "", 5, "spring", "r").items == ()
    same = "abc"
    assert team_draft(same, same, 3, "spring", "r").items == ("a", "b", "c")


def test_credit_and_preference_by_hand() -> None:
    teams = np.array([[0, 1, 1], [0, 1, -1], [1, 0, -1], [0, 1, 0]])
    credit = credits(teams, np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0.5, 0]]))
    assert credit.tolist() == [[0, 2], [1, 0], [1, 1], [0, 0.5]]
    found = preference(credit, np.array([0, 0, 1, 2]))
    assert (found.requests, found.champion_wins, found.challenger_wins) == (4, 1, 2)
    assert found.p_value == 1
    assert found.interval.value == 0.25
    assert found.interval.units == 3
    with pytest.raises(BadInput, match="4 requests, all ties"):
        preference(np.zeros((4, 2)), np.arange(4))


def known_difference(users: int, requests: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users who are more or less lively ask several times; the challenger's lists are a little worse.

    Each request has ten good items and ten poor ones, which are clicked half as often. The champion shows the good
    ones; in the challenger's list one in five of them gives way to a poor one.

    Returns:
        For each user the clicks there would have been on either version's lists, and the sum of the signs by which
        interleaving judges them, ``[users]`` each.
    """
    generator = np.random.default_rng(seed)
    lively = generator.gamma(0.5, 2.0, users)
    champion_clicks, challenger_clicks, signs = (np.zeros(users) for _ in range(3))
    for number in range(users * requests):
        user = number // requests
        poor = generator.random(K) < 0.2
        champion = generator.permutation(K).tolist()
        challenger = np.where(poor, K + np.arange(K), generator.permutation(K)).tolist()
        chance = np.minimum(1, lively[user] * np.where(np.arange(2 * K) < K, 0.10, 0.05))
        clicked = generator.random(2 * K) < chance
        champion_clicks[user] += clicked[champion].sum()
        challenger_clicks[user] += clicked[challenger].sum()
        draft = team_draft(champion, challenger, K, "spring", str(number))
        worth, teams = clicked[list(draft.items)], np.array(draft.teams)
        signs[user] += np.sign(worth[teams == CHALLENGER].sum() - worth[teams == CHAMPION].sum())
    return champion_clicks, challenger_clicks, signs


def first_look(values: np.ndarray, errors: np.ndarray, looks: np.ndarray) -> np.ndarray:
    """The look at which the bounds first leave 0 out, of each run; the last look where they never do."""
    found = values + half_width(errors, 0.05, 0.05) < 0
    found[:, -1] = True
    return looks[found.argmax(1)]


def test_interleaving_finds_a_known_difference_with_a_tenth_of_the_requests() -> None:
    """Both are judged over users by the same sequence, with effects in its scale, and looked at as users come in."""
    requests = 8
    champion, challenger, signs = known_difference(1_500, requests, seed=0)
    generator = np.random.default_rng(1)
    runs, looks = 40, np.unique(np.geomspace(40, 40_000, 80).astype(int) // 2 * 2)
    drawn = generator.integers(0, len(signs), (runs, looks[-1]))
    preferred = (signs / requests)[drawn].cumsum(1)[:, looks - 1] / looks
    interleaved = first_look(preferred, (signs / requests).std() / np.sqrt(looks), looks)
    half = looks // 2
    sides = (champion[drawn[:, ::2]], challenger[drawn[:, 1::2]])
    a, b = (clicks.cumsum(1)[:, half - 1] / half for clicks in sides)
    split = first_look(b / a - 1, np.hypot(champion.std(), challenger.std()) / np.sqrt(half) / a, looks)
    assert np.median(split) >= 10 * np.median(interleaved)
    assert interleaved.max() < looks[-1]
