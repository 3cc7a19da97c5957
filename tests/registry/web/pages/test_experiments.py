from datetime import timedelta
from typing import Any

from contracts.clock import utc_now
from contracts.experiment_rows import ExperimentReportRow, ExperimentRow
from contracts.experiments import ArmReport, Experiment, Point, Preferred, Report, Split, default_rule
from contracts.platform import AuditRow, ResponseRow
from contracts.verdict import LiveVerdict
from tests.registry.conftest import SURFACE
from tests.registry.web.pages.conftest import HOSTILE, Stock

NOW = utc_now()


def trial(**values: Any) -> ExperimentRow:
    row = {
        "name": "spring",
        "surface": SURFACE,
        "mode": "ab",
        "champion": "1",
        "challenger": "2",
        "weight": 0.2,
        "rule": default_rule("ab").model_dump(mode="json"),
        "started_at": NOW,
        "started_by": "ada",
        "reason": HOSTILE,
        "running_on": SURFACE,
    }
    return ExperimentRow(**{**row, **values})


def arm(name: str, version: str) -> ArmReport:
    return ArmReport(
        arm=name,
        version=version,
        users=40,
        requests=300,
        errors=2,
        impressions=1_234,
        ctr=0.125,
        like=0.01,
        follow=None,
        watch_time=4.5,
        coverage=None,
        climbing={5: 3, 20: 1},
        p50_ms=2.0,
        p99_ms=7.5,
    )


def reported(at: Any = NOW, decision: Any = "hold", **values: Any) -> ExperimentReportRow:
    finding = {
        "metric": "ctr",
        "role": "objective",
        "threshold": 0.01,
        "value": 0.05,
        "low": -0.1,
        "high": 0.3,
        "p_value": 0.2,
        "state": "open",
        "traffic": 2.5,
    }
    verdict = LiveVerdict(
        decision=decision,
        reason="undecided",
        sentence="Hold: ctr not settled, about 3,000 more requests.",
        requests=300,
        more_requests=3_000,
        findings=(finding,),
        split_p=0.4,
        rule=default_rule("ab"),
    )
    facts = {
        "experiment": "spring",
        "mode": "ab",
        "surface": SURFACE,
        "champion": "1",
        "challenger": "2",
        "requests": 600,
        "users": 80,
        "arms": [arm("champion", "1"), arm("challenger", "2")],
        "split": Split(users={"champion": 40}, expected={"champion": 40.0}, always_valid_p=0.4, broken=False),
        "preference": None,
        "adjusted": {},
        "history": [
            Point(at=NOW, requests=300, metric="ctr", value=0.1, low=None, high=0.9),
            Point(at=NOW, requests=600, metric="ctr", value=0.05, low=-0.1, high=0.3),
        ],
        "verdict": verdict,
        "shadows": {},
    }
    found = Report(**facts | values)
    return ExperimentReportRow(
        id=f"{found.experiment}-{at.isoformat()}"[:32],
        at=at,
        experiment=found.experiment,
        surface=SURFACE,
        champion="1",
        challenger=found.challenger,
        body=found.model_dump(mode="json"),
    )


def served(number: int, user: str, arm: str) -> ResponseRow:
    return ResponseRow(
        id=f"r{number}",
        at=NOW,
        surface=SURFACE,
        version="1",
        user_id=user,
        items=[],
        latency_ms=1.0,
        experiment="spring",
        arm=arm,
    )


def test_a_running_experiment_with_its_arms_and_verdict(stock: Stock) -> None:
    stock.add(trial(), reported(), served(1, "a", "champion"), served(2, "a", "champion"), served(3, "b", "challenger"))
    (view,) = stock.browser().get("/api/shadow").json()["experiments"]
    assert [(each["arm"], each["share"], each["users"], each["requests"]) for each in view["arms"]] == [
        ("champion", 0.8, 1, 2),
        ("challenger", 0.2, 1, 1),
    ]
    assert view["report"]["verdict"]["more_requests"] == 3_000
    for path in ("/shadow", "/experiments/spring"):
        page = stock.browser().get(path).text
        for said in ("about 3,000 more requests", "80.00 %", "Change of the challenger", "as weighted", "12.50 %"):
            assert said in page, (path, said)
        assert "ctr as the traffic grew" in page
        assert page.count("<svg") >= 2
        assert HOSTILE not in page
        assert "3, 1" in page, "climbed to 5 and to 20"


def test_those_that_ended_are_a_table(stock: Stock) -> None:
    ended = {"running_on": None, "ended_at": NOW, "ended_by": "bob", "end_reason": "seen enough"}
    stock.add(trial(**ended), reported(NOW - timedelta(hours=2)), reported(NOW, "promote"))
    page = stock.browser("admin").get("/shadow").text
    assert "Experiments that ended" in page
    assert '<a href="/experiments/spring">' in page
    page = stock.browser("admin").get("/experiments/spring").text
    assert "Ended" in page
    assert "seen enough" in page
    assert "End it" not in page
    verdicts = stock.browser().get("/api/experiments/spring").json()["verdicts"]
    assert [each["decision"] for each in verdicts] == ["promote", "hold"]


def test_an_interleaving_and_an_exploration(stock: Stock) -> None:
    stock.add(
        trial(
            name="mixed",
            mode="interleaving",
            weight=None,
            rule=default_rule("interleaving").model_dump(mode="json"),
        ),
        trial(name="tried", running_on="music", mode="exploration", weight=None, challenger=None, epsilon=0.1, top=20),
    )
    preferred = Preferred(requests=50, champion_wins=9, challenger_wins=21, value=0.24, low=0.1, high=0.4)
    shadow = reported().body["verdict"]
    stock.add(
        reported(experiment="mixed", mode="interleaving", preference=preferred, split=None),
        reported(
            experiment="tried", mode="exploration", challenger=None, verdict=None, split=None, shadows={"7": shadow}
        ),
    )
    page = stock.browser().get("/shadow").text
    assert "21 wins against 9" in page
    assert "valued by what was explored" in page
    assert "90.00 %" in page, "of the lists are as they were ranked"


def test_without_a_report_it_says_how_to_make_one(stock: Stock) -> None:
    stock.add(trial())
    assert "backbeat ab report spring" in stock.browser().get("/shadow").text
    assert "backbeat ab report spring" in stock.browser().get("/experiments/spring").text


def test_a_report_that_cannot_be_read_is_said(stock: Stock) -> None:
    broken = reported()
    broken.body = {**broken.body, "requests": HOSTILE}
    stock.add(trial(), broken)
    (view,) = stock.browser().get("/api/shadow").json()["experiments"]
    assert view["report"] is None
    assert view["fault"].startswith("requests: Input should be")
    page = stock.browser().get("/shadow").text
    assert "cannot be read" in page
    assert HOSTILE not in page


def test_nobody_of_that_name(stock: Stock) -> None:
    assert stock.browser().get("/experiments/autumn").status_code == 404


def test_it_is_started_and_ended_by_who_may(stock: Stock) -> None:
    stock.hold("champion", "1")
    fields = {"name": "summer", "challenger": "2", "weight": "0.3", "reason": "looks better"}
    assert stock.browser("engineer").fill("/experiments", fields).status_code == 403
    assert "Start an experiment" not in stock.browser("engineer").get("/shadow").text
    approver = stock.browser("approver")
    assert "Start an experiment" in approver.get("/shadow").text
    done = approver.fill("/experiments", fields, page="/shadow")
    assert done.status_code == 303, done.text
    assert done.headers["location"] == "/experiments/summer"
    with stock.web.database.session() as session:
        row = session.get_one(ExperimentRow, "summer")
        assert (Experiment.of_row(row).weight, row.started_by, row.running_on) == (0.3, "approver", SURFACE)
    assert approver.fill("/experiments", fields | {"name": "other"}, page="/shadow").status_code == 409
    assert "End it" in approver.get("/experiments/summer").text
    assert stock.browser("engineer").fill("/experiments/summer/stop", {"reason": "x"}).status_code == 403
    done = approver.fill("/experiments/summer/stop", {"reason": "seen enough"}, page="/experiments/summer")
    assert done.status_code == 303
    with stock.web.database.session() as session:
        actions = [(row.actor, row.action) for row in session.query(AuditRow).order_by(AuditRow.id.desc()).limit(2)]
    assert actions == [("approver", "stop experiment"), ("approver", "start experiment")]
