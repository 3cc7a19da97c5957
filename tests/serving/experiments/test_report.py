"""Reports on experiments, from stored rows whose truth is known."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.experiment_rows import ExperimentReportRow
from contracts.experiments import Experiment, Report, default_rule, latest_report
from contracts.home import Home
from contracts.platform import ResponseRow, ShadowRow
from contracts.serving_rows import FeedbackRow
from contracts.settings import load_settings
from contracts.verdict import Guardrail, Rule
from serving.analysis.assignment import Assignment
from serving.analysis.interleaving import team_draft
from serving.experiments.exploring import explore
from serving.experiments.novelties import Releases
from serving.experiments.report import experiment_report, store_report
from serving.experiments.wording import reported

START = utc_now() - timedelta(days=3)

EAGER = Rule(
    minimum_effect=0.05,
    minimum_requests=200,
    minimum_users=50,
    guardrails=(Guardrail(metric="errors", margin=0.05, harm="higher"),),
)


def experiment(mode: Any = "ab", rule: Rule | None = None, **values: Any) -> Experiment:
    own = {"ab": {"weight": 0.5}, "interleaving": {}, "exploration": {"epsilon": 1.0, "top": 4}}[mode]
    return Experiment(
        **{
            "name": "spring",
            "surface": "video-feed",
            "mode": mode,
            "champion": "1",
            "challenger": None if mode == "exploration" else "2",
            "rule": rule or default_rule(mode),
            "started_at": START,
            "started_by": "ada",
            "reason": "why not",
            **own,
            **values,
        }
    )


class Log:
    """What a service would have written."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.rows: list[Any] = []
        self.count = 0

    def response(self, user: str, items: list[str], after_s: float, **values: Any) -> str:
        self.count += 1
        facts = {"version": "1", "experiment": "spring", "arm": "champion", "latency_ms": 2.0, **values}
        self.rows.append(
            ResponseRow(
                id=f"r{self.count}",
                at=START + timedelta(seconds=after_s),
                surface="video-feed",
                user_id=user,
                items=[{"item_id": item, "score": 1.0, "step": "model"} for item in items],
                **facts,
            )
        )
        return f"r{self.count}"

    def event(self, response: str, item: str, kind: str, seconds: float | None = None) -> None:
        self.rows.append(
            FeedbackRow(
                response_id=response,
                event_id=f"{item}-{kind}-{len(self.rows)}",
                item_id=item,
                kind=kind,
                seconds=seconds,
                at=START,
                received_at=START,
                late=False,
            )
        )

    def write(self) -> None:
        with self.database.session() as session:
            session.add_all(self.rows)
        self.rows = []


@pytest.fixture
def log(database: Database) -> Log:
    return Log(database)


@pytest.fixture
def log_on_postgres(new_postgres: Any, home: Home) -> Iterator[Log]:
    with new_postgres() as url:
        settings = load_settings(home=home.root, profile="production", database_url=url)
        database = Database(settings, home)
        yield Log(database)
        database.close()


def split_traffic(
    log: Log, running: Experiment, ctr: dict[str, float], users: int = 400, visits: int = 4, broken: bool = False
) -> None:
    """Users of both arms who click on each of three items with the chance of their arm."""
    random = np.random.default_rng(3)
    assignment = Assignment(running.name, running.weights)
    for visit in range(visits):
        for number in range(users):
            arm = assignment.arm(f"u{number}")
            if broken and arm == "challenger" and number % 3:
                continue
            version = {"champion": "1", "challenger": "2"}[arm]
            items = [f"v{number % 7}", f"v{number % 7 + 1}", f"v{number % 7 + 2}"]
            response = log.response(f"u{number}", items, visit * users + number, arm=arm, version=version)
            for item in items:
                log.event(response, item, "impression")
                if random.random() < ctr[arm]:
                    log.event(response, item, "click")
                    log.event(response, item, "watch", 5.0)
    log.write()


def test_a_better_challenger_is_promoted(log: Log) -> None:
    running = experiment(rule=EAGER)
    split_traffic(log, running, {"champion": 0.2, "challenger": 0.35})
    found = experiment_report(log.database, running)
    assert found.verdict is not None
    assert (found.verdict.decision, found.verdict.reason) == ("promote", "better")
    champion, challenger = found.arms
    assert (champion.arm, champion.version, challenger.version) == ("champion", "1", "2")
    assert (found.requests, found.users) == (1_600, 400)
    assert champion.users + challenger.users == 400
    assert champion.ctr == pytest.approx(0.2, abs=0.03)
    assert challenger.ctr == pytest.approx(0.35, abs=0.03)
    assert challenger.watch_time == pytest.approx(5 * (challenger.ctr or 0))
    assert champion.impressions == 3 * champion.requests
    assert champion.coverage is None
    assert found.split is not None
    assert not found.split.broken
    assert found.verdict.split_p == found.split.always_valid_p


def test_the_history_ends_with_what_is_known_now(log: Log) -> None:
    running = experiment(rule=EAGER)
    split_traffic(log, running, {"champion": 0.2, "challenger": 0.35})
    found = experiment_report(log.database, running)
    assert found.verdict is not None
    line = [point for point in found.history if point.metric == "ctr"]
    assert len(line) == 16
    assert [point.requests for point in line] == [100 * look for look in range(1, 17)]
    now = found.verdict.findings[0]
    assert (line[-1].value, line[-1].low, line[-1].high) == (now.value, now.low, now.high)
    first, last = ((point.high or 0) - (point.low or 0) for point in (line[2], line[-1]))
    assert last < first, "bounds close with the traffic"


def test_equal_versions_are_held_and_more_traffic_is_asked_for(log: Log) -> None:
    running = experiment(rule=EAGER)
    split_traffic(log, running, {"champion": 0.2, "challenger": 0.21})
    verdict = experiment_report(log.database, running).verdict
    assert verdict is not None
    assert (verdict.decision, verdict.reason) == ("hold", "undecided")
    assert verdict.more_requests is None or verdict.more_requests > 0


def test_an_arm_that_loses_users_is_found_out(log: Log) -> None:
    running = experiment(rule=EAGER)
    split_traffic(log, running, {"champion": 0.2, "challenger": 0.9}, broken=True)
    found = experiment_report(log.database, running)
    assert found.split is not None
    assert found.verdict is not None
    assert (found.split.broken, found.verdict.reason) == (True, "broken_split")


def test_failures_count_against_whom_they_belong_to(log: Log) -> None:
    running = experiment(rule=EAGER)
    for number in range(40):
        arm = Assignment("spring", running.weights).arm(f"u{number}")
        log.response(f"u{number}", ["v1"], number, arm=arm, version="1", latency_ms=1.0 + number)
    log.write()
    champion, challenger = experiment_report(log.database, running).arms
    assert (champion.errors, challenger.errors) == (0, challenger.requests)
    assert challenger.requests > 0
    assert challenger.p99_ms is None
    assert champion.p99_ms is not None


def test_before_anything_was_served(log: Log) -> None:
    found = experiment_report(log.database, experiment())
    assert found.verdict is not None
    assert (found.verdict.decision, found.requests, found.split, found.history) == ("hold", 0, None, [])
    assert [arm.ctr for arm in found.arms] == [None, None]
    assert "0 requests of 0 users" in reported(found)


def test_what_users_did_before_takes_noise_away(log: Log) -> None:
    """Users differ much from each other and stay as they are."""
    running = experiment(rule=EAGER)
    random = np.random.default_rng(5)
    taste = random.choice([0.05, 0.6], 300)
    assignment = Assignment("spring", running.weights)
    for number, own in enumerate(taste):
        arm = assignment.arm(f"u{number}")
        for at, facts in (
            (-86_400.0, {"experiment": None, "arm": None}),
            (60.0, {"arm": arm, "version": {"champion": "1", "challenger": "2"}[arm]}),
        ):
            items = [f"v{place}" for place in range(10)]
            response = log.response(f"u{number}", items, at + number, **facts)
            for item in items:
                log.event(response, item, "impression")
                if random.random() < own:
                    log.event(response, item, "click")
    log.write()
    found = experiment_report(log.database, running)
    assert set(found.adjusted) == {"ctr"}
    assert found.adjusted["ctr"] < 0.4
    assert found.requests == 300, "what was before is no part of it"
    assert "variance left     ctr" in reported(found)


def test_interleaving_prefers_whose_items_are_clicked(log: Log) -> None:
    running = experiment("interleaving", Rule(**default_rule("interleaving").model_dump() | {"minimum_requests": 200}))
    random = np.random.default_rng(4)
    mine, theirs = [f"a{number}" for number in range(6)], [f"b{number}" for number in range(6)]
    for number in range(800):
        draft = team_draft(mine, theirs, 4, "spring", f"r{number + 1}")
        failed = number % 200 == 0
        response = log.response(
            f"u{number % 300}",
            mine[:4] if failed else list(draft.items),
            number,
            arm="interleaved",
            teams=None if failed else list(draft.teams),
        )
        for item in [] if failed else draft.items:
            log.event(response, item, "impression")
            if random.random() < (0.35 if item in theirs else 0.2):
                log.event(response, item, "click")
    log.write()
    found = experiment_report(log.database, running)
    assert found.preference is not None
    assert found.preference.requests == 796
    assert found.preference.challenger_wins > found.preference.champion_wins
    assert found.preference.low > 0
    assert found.verdict is not None
    objective, errors = found.verdict.findings
    assert (objective.metric, objective.state) == ("preference", "better")
    assert errors.metric == "errors"
    assert errors.value == pytest.approx(4 / 800)
    assert found.split is None
    assert "challenger" in reported(found)
    assert {point.metric for point in found.history} == {"preference", "errors"}


def test_an_exploration_values_the_shadows_beside_it(log: Log) -> None:
    running = experiment("exploration", rule=Rule(minimum_effect=0.1))
    random = np.random.default_rng(6)
    ranked = ["v1", "v2", "v3", "v0"]
    for number in range(4_000):
        name = f"r{number + 1}"
        shown = explore(ranked, 1, 1.0, "spring", name)
        log.response(
            f"u{number % 500}", list(shown.items), number, arm="shuffled", propensities=list(shown.propensities)
        )
        item = {"item_id": "v0", "score": 1.0, "step": "model"}
        log.rows.append(ShadowRow(response_id=name, version="5", at=START, items=[item], latency_ms=2.0, error=None))
        log.event(name, shown.items[0], "impression")
        if random.random() < (0.4 if shown.items[0] == "v0" else 0.1):
            log.event(name, shown.items[0], "click")
    log.write()
    found = experiment_report(log.database, running)
    assert found.verdict is None
    assert found.shadows["5"].decision == "promote"
    lift = found.shadows["5"].findings[0]
    assert lift.low is not None
    assert lift.high is not None
    assert lift.low < 0.4 / 0.175 - 1 < lift.high
    assert [arm.arm for arm in found.arms] == ["champion", "shuffled"]
    assert "shadow 5" in reported(found)


def test_without_a_shadow_an_exploration_says_what_it_is_for(log: Log) -> None:
    log.response("u1", ["v1"], 1.0, arm="shuffled", propensities=[0.25])
    log.write()
    assert "no shadow has answered" in reported(experiment_report(log.database, experiment("exploration")))


def test_cold_items_and_how_they_climb(log: Log) -> None:
    """A new video climbs to five impressions in one arm; an old one, one much viewed and one seen before do not."""
    earlier = log.response("u0", ["seen"], -3_600.0, experiment=None, arm=None)
    log.event(earlier, "seen", "impression")
    items = ["new", "old", "viewed", "seen"]
    for number in range(6):
        arm = "challenger" if number == 5 else "champion"
        response = log.response(f"u{number}", items, 60.0 * number, arm=arm, version="2" if number == 5 else "1")
        for item in items:
            log.event(response, item, "impression")
    log.write()
    born = START.timestamp() - 3_600
    releases = Releases(
        {"new": born, "viewed": born, "seen": born, "old": born - 2 * 86_400}, {"viewed": 4_000, "seen": 3_997}
    )
    champion, challenger = experiment_report(log.database, experiment(), releases).arms
    # "new" always, "seen" until its three views more make 4,000: 5 + 3 of 20, and 1 of 4 later.
    assert champion.coverage == pytest.approx(8 / 20)
    assert challenger.coverage == pytest.approx(1 / 4)
    assert champion.climbing == {5: 3, 20: 0, 100: 0}
    assert challenger.climbing == {5: 0, 20: 0, 100: 0}


def test_a_report_is_kept_and_the_newest_is_found(log: Log) -> None:
    running = experiment(rule=EAGER)
    found = experiment_report(log.database, running)
    store_report(log.database, found)
    split_traffic(log, running, {"champion": 0.2, "challenger": 0.35})
    newer = experiment_report(log.database, running)
    store_report(log.database, newer)
    with log.database.session() as session:
        assert session.query(ExperimentReportRow).count() == 2
        newest = latest_report(session, surface="video-feed", champion="1", challenger="2")
        assert latest_report(session, experiment="other") is None
    assert newest is not None
    assert Report.model_validate(newest[1]) == newer


@pytest.mark.service
@pytest.mark.parametrize(
    "judged",
    [
        test_a_better_challenger_is_promoted,
        test_before_anything_was_served,
        test_what_users_did_before_takes_noise_away,
        test_interleaving_prefers_whose_items_are_clicked,
        test_an_exploration_values_the_shadows_beside_it,
        test_cold_items_and_how_they_climb,
        test_a_report_is_kept_and_the_newest_is_found,
    ],
)
def test_so_it_is_on_postgres(judged: Callable[[Log], None], log_on_postgres: Log) -> None:
    judged(log_on_postgres)
