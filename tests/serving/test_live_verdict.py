"""The verdict on a shadow, from stored rows whose truth is known."""

from datetime import timedelta

import numpy as np
import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.platform import ResponseRow, ShadowRow
from contracts.serving_rows import FeedbackRow
from contracts.verdict import LiveVerdict, Rule
from serving.live_verdict import shadow_findings, shadow_verdict

VIDEOS = ["v0", "v1", "v2", "v3"]
TASTE = [0.4, 0.1, 0.1, 0.1]
"""Chance of a click on each video: .175 for who shows all equally often."""

START = utc_now()


def items(*videos: str) -> list[dict[str, object]]:
    return [{"item_id": video, "score": 1.0, "step": "model"} for video in videos]


def event(
    response: str, kind: str, item: str, event_id: str | None = None, seconds: float | None = None
) -> FeedbackRow:
    return FeedbackRow(
        response_id=response,
        event_id=event_id or kind,
        item_id=item,
        kind=kind,
        seconds=seconds,
        at=START,
        received_at=START,
        late=False,
    )


def pair(
    number: int,
    shown: str,
    aside: str,
    propensity: float | None = 0.25,
    users: int = 500,
    error: str | None = None,
) -> tuple[ResponseRow, ShadowRow]:
    response = ResponseRow(
        id=f"r{number}",
        at=START + timedelta(seconds=number),
        surface="video-feed",
        version="1",
        user_id=f"u{number % users}",
        items=items(shown),
        latency_ms=2.0 + number % 10 / 100,
        propensities=None if propensity is None else [propensity],
    )
    shadow = ShadowRow(
        response_id=response.id,
        version="2",
        at=START,
        items=items(aside),
        latency_ms=2.0 + number % 10 / 100,
        error=error,
    )
    return response, shadow


def exploring(database: Database, aside: str, requests: int = 4_000, kind: str = "click") -> LiveVerdict:
    """A champion that shows each video with the same chance, beside a shadow that always shows one."""
    random = np.random.default_rng(7)
    rows = []
    for number in range(requests):
        choice = int(random.integers(4))
        rows += [*pair(number, VIDEOS[choice], aside), event(f"r{number}", "impression", VIDEOS[choice])]
        if random.random() < TASTE[choice]:
            rows.append(event(f"r{number}", kind, VIDEOS[choice], seconds=9.0 if kind == "watch" else None))
    with database.session() as session:
        session.add_all(rows)
    objective = "watch_time" if kind == "watch" else "ctr"
    return shadow_verdict(database, "video-feed", "1", "2", Rule(objective=objective, minimum_effect=0.1))


def test_a_better_shadow_is_promoted(database: Database) -> None:
    verdict = exploring(database, "v0")
    assert (verdict.decision, verdict.reason, verdict.requests) == ("promote", "better", 4_000)
    lift = verdict.findings[0]
    assert lift.low is not None
    assert lift.high is not None
    assert lift.low < 0.4 / 0.175 - 1 < lift.high
    assert [finding.state for finding in verdict.findings] == ["better", "kept", "kept"]


def test_a_worse_shadow_is_rejected(database: Database) -> None:
    verdict = exploring(database, "v1")
    assert (verdict.decision, verdict.reason) == ("reject", "no_relevant_gain")
    assert verdict.findings[0].value == pytest.approx(0.1 / 0.175 - 1, abs=0.1)


def test_little_traffic_holds_and_says_how_much_more(database: Database) -> None:
    verdict = exploring(database, "v0", requests=400)
    assert (verdict.decision, verdict.reason, verdict.more_requests) == ("hold", "too_few_requests", 600)


def test_the_time_watched_can_be_the_objective(database: Database) -> None:
    verdict = exploring(database, "v0", kind="watch")
    assert verdict.findings[0].metric == "watch_time"
    assert verdict.findings[0].value == pytest.approx(0.4 / 0.175 - 1, abs=0.25)


def held(database: Database, *rows: object) -> LiveVerdict:
    with database.session() as session:
        session.add_all(rows)
    verdict = shadow_verdict(database, "video-feed", "1", "2")
    assert (verdict.decision, verdict.reason) == ("hold", "not_measured")
    return verdict


def test_without_feedback_nothing_is_decided(database: Database) -> None:
    verdict = held(database, *pair(1, "v0", "v1"), *pair(2, "v0", "", error="RuntimeError: x"))
    assert verdict.sentence == (
        "Hold: ctr not measured: there is no feedback on these requests; send events to POST /feedback."
    )
    errors = next(finding for finding in verdict.findings if finding.metric == "errors")
    assert errors.value == 0.5


def test_feedback_on_lists_without_propensities_is_not_guessed_at(database: Database) -> None:
    rows = [*pair(1, "v0", "v0", propensity=None), event("r1", "click", "v0"), event("r1", "like", "v0")]
    assert "none of the 2 events is on a list with propensities" in held(database, *rows).sentence


def test_a_shadow_whose_lists_were_never_shown(database: Database) -> None:
    rows = [*pair(1, "v0", "v1"), event("r1", "click", "v0")]
    assert "none of which the other policy would have shown" in held(database, *rows).sentence


def test_a_champion_that_tries_too_little(database: Database) -> None:
    rows = [row for number in range(4) for row in pair(number, "v0", VIDEOS[number % 2], propensity=1.0)]
    clicks = [event(f"r{number}", "click", "v0") for number in range(4)]
    assert "only 50% of what the shadow would show was ever tried" in held(database, *rows, *clicks).sentence


def test_events_of_one_impression_count_once(database: Database) -> None:
    rows = [row for number in range(2) for row in pair(number, "v0", "v0", propensity=1.0)]
    events = [event("r0", "click", "v0", "a"), event("r0", "click", "v0", "b"), event("r1", "impression", "v0")]
    events += [event("r0", "watch", "v0", "c", 3.0), event("r0", "watch", "v0", "d", 9.0)]
    with database.session() as session:
        session.add_all([*rows, *events])
    rule = Rule(objective="watch_time", minimum_requests=1, minimum_users=2)
    # Champion and shadow show the same, so that the lift is 0 without an error, of which nothing can be said.
    assert "a standard error of 0 over 2 units" in shadow_verdict(database, "video-feed", "1", "2", rule).sentence


def test_shuffled_lists_value_a_shadow_and_interleaved_ones_do_not(database: Database) -> None:
    arms = ("shuffled", "champion", "interleaved", None)
    for number, arm in enumerate(arms):
        response, shadow = pair(number, "v0", "v0")
        response.arm = arm
        with database.session() as session:
            session.add_all([response, shadow, event(f"r{number}", "click", "v0")])
    assert shadow_verdict(database, "video-feed", "1", "2").requests == 3


def test_both_off_policy_values_are_near_the_truth(database: Database) -> None:
    exploring(database, "v0")
    _, values = shadow_findings(database, "video-feed", "1", "2")
    assert values is not None
    assert (values.objective, values.places) == ("ctr", 4_000)
    for value, low, high in (values.snips, values.doubly_robust):
        assert low < 0.4 < high
        assert value == pytest.approx(0.4, abs=0.04)
    assert values.served == pytest.approx(0.175, abs=0.02)
    assert values.mean_weight == pytest.approx(1.0, abs=0.1)
    assert 800 < values.effective_size < 1_200
    assert shadow_findings(database, "video-feed", "1", "9")[1] is None
