"""Team-draft interleaving: two versions fill one list, and clicks say whose items the user preferred."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest

from contracts.errors import BadInput
from serving.analysis.estimates import Contrast, ratio, totals
from serving.analysis.sequences import Interval, normal_sequence

__all__ = ["CHALLENGER", "CHAMPION", "NOBODY", "Draft", "Preference", "credits", "preference", "team_draft"]

CHAMPION = 0
"""A team, as the next two."""

CHALLENGER = 1

NOBODY = -1
"""Of the items that fill the list when the other version has run out: they tell nothing."""

Item = TypeVar("Item", bound=Hashable)
Rows = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Draft(Generic[Item]):
    """One interleaved list."""

    items: tuple[Item, ...]
    teams: tuple[int, ...]
    """Team of each item."""


@dataclass(frozen=True)
class Preference:
    """How the clicks of interleaved lists were shared."""

    requests: int
    champion_wins: int
    challenger_wins: int
    """Requests in which the challenger's items had more credit; what is left over are ties."""
    p_value: float
    """Sign test of the requests that are no ties; right for one look, if each is by another user."""
    interval: Interval
    """Challenger's wins minus the champion's per request, -1 to 1, over users; right at any look."""


def team_draft(champion: Sequence[Item], challenger: Sequence[Item], k: int, salt: str, request: str) -> Draft[Item]:
    """Interleave two lists (Radlinski, Kurup and Joachims 2008, algorithm 2).

    In each round both teams pick their best item that is not yet in the list; a coin says who begins. The coins
    are a hash of salt and request, so that a replay makes the same list.

    Args:
        champion: Its list, best first.
        challenger: Likewise.
        k: Length of the interleaved list at most.
        salt: Name of the experiment.
        request: Response id.

    Returns:
        A list as long as the two can fill; items after one version ran out are nobody's.
    """
    sides = (champion, challenger)
    coins = hashlib.shake_128(f"{len(salt)}:{salt}:{request}".encode()).digest(k // 8 + 1)
    items: dict[Item, int] = {}
    after = [0, 0]
    drawn, order = 0, (CHAMPION, CHALLENGER)
    while len(items) < k:
        if drawn % 2 == 0:
            heads = coins[drawn // 16] >> (drawn // 2 % 8) & 1
            order = (CHALLENGER, CHAMPION) if heads else (CHAMPION, CHALLENGER)
        for team, side in enumerate(sides):
            while after[team] < len(side) and side[after[team]] in items:
                after[team] += 1
        left = [team for team in (CHAMPION, CHALLENGER) if after[team] < len(sides[team])]
        if not left:
            break
        team = order[drawn % 2] if len(left) == 2 else left[0]
        items[sides[team][after[team]]] = team if len(left) == 2 else NOBODY
        drawn += 1
    return Draft(tuple(items), tuple(items.values()))


def credits(teams: Rows, outcome: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Outcomes of each team's items, champion then challenger, ``[R, 2]``.

    Args:
        teams: Team of each place, -1 where it is nobody's or the list has ended, ``[R, k]``.
        outcome: Clicks, likes or seconds of each place, ``[R, k]``.
    """
    worth = np.asarray(outcome, dtype=np.float64)
    return np.stack([np.where(teams == team, worth, 0.0).sum(1) for team in (CHAMPION, CHALLENGER)], axis=1)


def preference(credit: npt.NDArray[np.float64], user: Rows, alpha: float = 0.05, scale: float = 0.02) -> Preference:
    """Which version users prefer.

    Args:
        credit: As :func:`credits` gives it, ``[R, 2]``.
        user: Number of each request's user, from 0 without a gap, ``[R]``.
        alpha: Chance that the interval ever misses the true preference.
        scale: Preference for which the interval is made; see :func:`serving.analysis.sequences.half_width`.

    Raises:
        BadInput: There are fewer than two users, or every request is a tie.
    """
    sign = np.sign(credit[:, CHALLENGER] - credit[:, CHAMPION])
    champion, challenger = int((sign < 0).sum()), int((sign > 0).sum())
    if not champion + challenger:
        raise BadInput(
            "preference of interleaved lists",
            found=f"{len(sign)} requests, all ties",
            expected="clicks on items of either team",
            next_step="wait until more interleaved lists were clicked, then ask again",
        )
    users = int(user.max()) + 1
    estimate = ratio(totals(sign, user, users), totals(np.ones(len(sign)), user, users))
    return Preference(
        requests=len(sign),
        champion_wins=champion,
        challenger_wins=challenger,
        p_value=float(binomtest(challenger, champion + challenger).pvalue),
        interval=normal_sequence(Contrast(estimate.value, estimate.standard_error, users), scale, alpha),
    )
