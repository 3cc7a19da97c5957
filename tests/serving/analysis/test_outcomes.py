"""Outcomes by arm, cold videos and climbers, by hand."""

from dataclasses import replace

import numpy as np
import pytest

from contracts.errors import BadInput
from serving.analysis.outcomes import Impressions, Outcomes, climbers, cold, estimate, outcomes

HOUR = 3_600.0

SHOWN = Impressions(
    arm=np.array([0, 0, 0, 0, 1]),
    user=np.array([0, 0, 0, 5, 7]),
    clicked=np.array([True, True, False, False, True]),
    liked=np.array([True, False, False, False, False]),
    followed=np.array([False, False, False, False, True]),
    watched_s=np.array([10.0, 2.0, 0.0, 0.0, 4.0]),
    cold=np.array([False, False, True, True, False]),
)


def test_means_of_the_impressions_of_an_arm() -> None:
    assert outcomes(SHOWN, 0) == Outcomes(4, 2, ctr=0.5, like=0.25, follow=0, watch_time=3, coverage=0.5)
    assert outcomes(SHOWN, 1) == Outcomes(1, 1, ctr=1, like=0, follow=1, watch_time=4, coverage=0)
    assert np.isnan(outcomes(SHOWN, 2).ctr)


def test_an_estimate_is_over_users() -> None:
    found, users = estimate(SHOWN, "ctr", 0)
    assert users.tolist() == [0, 5]
    assert found.value == 0.5
    # Clicks minus .5 of the impressions: 2 - 1.5 and 0 - .5, over 4 impressions.
    np.testing.assert_allclose(found.influence, [0.125, -0.125])
    assert found.standard_error == pytest.approx(np.sqrt(2 * 2 * 0.125**2))


def test_one_user_says_nothing_of_the_error() -> None:
    with pytest.raises(BadInput, match="1 units with a total of 1"):
        estimate(SHOWN, "ctr", 1)


def test_columns_of_two_lengths_are_refused() -> None:
    with pytest.raises(BadInput, match=r"arm 4, user 5.*one length"):
        replace(SHOWN, arm=SHOWN.arm[1:])


def test_a_video_is_cold_for_a_day_and_below_4000_views() -> None:
    age = np.array([24 * HOUR, 24 * HOUR + 1, 0, 0])
    assert cold(age, np.array([3_999, 0, 4_000, 0])).tolist() == [True, False, False, True]


def test_climbers_by_hand() -> None:
    # Video 0: its third exposure 48 hours after the first. 1: a second too late. 2: late at first, then quick, but no
    # longer from 0. 3: only two. 4: quick, but shown before.
    times = {
        0: [0, 1 * HOUR, 48 * HOUR],
        1: [0, 1 * HOUR, 48 * HOUR + 1],
        2: [0, 60 * HOUR, 61 * HOUR, 62 * HOUR],
        3: [0, 1],
        4: [0, 1, 2],
    }
    rows = np.array([(video, at) for video, instants in times.items() for at in instants])
    shuffled = np.random.default_rng(1).permutation(rows)
    video, at = shuffled[:, 0].astype(np.int64), shuffled[:, 1]
    known = np.array([False, False, False, False, True])
    assert climbers(video, at, 3, known=known).tolist() == [0]
    assert climbers(video, at, 3).tolist() == [0, 4]
    assert climbers(video, at, 2).tolist() == [0, 1, 3, 4]
    assert climbers(video, at, 5).tolist() == []
