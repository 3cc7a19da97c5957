"""Judgements of versions: what is gathered, what is kept, and when it is stale."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import GateRefused
from contracts.experiment_rows import ExperimentReportRow
from contracts.manifest import read_manifest, seal
from contracts.platform import ShadowReportRow
from contracts.surfaces import PRIMARY_METRICS, Tag
from contracts.user_figures import USER_FIGURES, UserFigures
from registry.commands import models
from registry.evidence import Measurement
from registry.facts import Waiver
from registry.judging import Judgement, judge_version, latest_judgement, stale_because

SURFACE = "video-feed"
PRIMARY = PRIMARY_METRICS[SURFACE]


def judged(shelf, number: str, target: str = "champion", **more: Any) -> Judgement:
    version = shelf.store.get(SURFACE, number)
    more = {"replay": lambda _: None, "tell": lambda _: None, **more}
    return judge_version(shelf.settings, shelf.home, SURFACE, version, target, "tester", **more)


def outcomes(judgement: Judgement) -> dict[str, str]:
    return {verdict.gate: verdict.outcome for verdict in judgement.verdicts}


@pytest.fixture
def database(shelf):
    opened = Database(shelf.settings, shelf.home)
    yield opened
    opened.close()


def production(shelf, **shadow: Any) -> None:
    rules = "".join(f"{key} = {value}\n" for key, value in shadow.items())
    (shelf.home.root / "policy.toml").write_text(
        f'[every.moves.champion]\ngates = ["package", "shadow"]\napprovals = 1\n[every.shadow]\nrequests = 10\n{rules}'
    )


def test_a_judgement_is_kept_and_read_again(shelf, database: Database) -> None:
    shelf.judge()
    shelf.register("mf", 0.1)
    said: list[str] = []
    found = judged(shelf, "1", tell=said.append)
    assert found.passed
    assert set(outcomes(found).values()) == {"pass"}
    assert said == [
        "checking the package of video-feed version 1: hashes, then golden requests",
        "asking 6 gates of the move to champion",
    ]
    assert latest_judgement(database, SURFACE, "1", "champion") == found
    assert latest_judgement(database, SURFACE, "1", "shadow") is None
    assert latest_judgement(database, SURFACE, "2", "champion") is None
    json.dumps(found.as_dict(), default=str, allow_nan=False)
    again = judged(shelf, "1")
    assert latest_judgement(database, SURFACE, "1", "champion") == again != found
    assert (again.champion, again.actor, again.evidence["metric"]) == (None, "tester", PRIMARY)


def test_judging_moves_nothing_and_needs_no_lock(shelf) -> None:
    shelf.judge()
    shelf.register("mf", 0.1)
    with shelf.home.writing("somebody else"):
        assert judged(shelf, "1").passed
    assert shelf.states() == {"1": "registered"}


def test_a_version_from_before_the_gates_is_told_what_mends_it(shelf) -> None:
    shelf.judge()
    shelf.register("mf", 0.1)
    shelf.promote("1")
    shelf.register("lightgcn", 0.2, measured=False)
    found = judged(shelf, "2")
    lacking = {verdict.gate: verdict.sentence for verdict in found.refused}
    assert set(lacking) == {"offline-quality", "guardrails", "index-recall", "latency"}
    assert {outcome for gate, outcome in outcomes(found).items() if gate in lacking} == {"missing"}
    assert all("run `backbeat train lightgcn --force`" in sentence for sentence in lacking.values())


def test_a_champion_from_before_the_gates_is_measured_again(shelf) -> None:
    shelf.judge()
    shelf.register("mf", 0.1, measured=False)
    shelf.client.set_registered_model_alias(SURFACE, "champion", "1")
    shelf.register("lightgcn", 0.2)
    asked: list[tuple[Path, str]] = []

    def remeasure(_: object, package: Path, snapshot: str) -> Measurement:
        asked.append((package, snapshot))
        own = shelf.store.get(SURFACE, "2")
        figures = UserFigures.load(shelf.package("2") / USER_FIGURES)
        users = replace(figures, figures={PRIMARY: figures.figures[PRIMARY] - 0.1})
        return Measurement(own.protocol, {**own.metrics, PRIMARY: 0.1}, users)

    found = judged(shelf, "2", remeasure=remeasure)
    assert found.passed, found.refused
    assert asked == [(shelf.package("1"), "snap-1")]
    assert found.evidence["champion"]["measured_on"] == "snap-1"
    assert judged(shelf, "2", remeasure=lambda *_: "no such data").refused[0].outcome == "missing"


def test_a_metric_that_was_altered_in_mlflow_is_named(shelf) -> None:
    shelf.judge()
    number = shelf.register("mf", 0.1)
    package = shelf.package(number)
    manifest = read_manifest(package).model_copy(update={"metrics": {PRIMARY: 0.1, "other": 1.0}})
    sealed = seal(package, manifest)
    shelf.client.set_model_version_tag(SURFACE, number, Tag.PACKAGE_SHA256, sealed.package_sha256)
    assert judged(shelf, number).passed
    run = shelf.store.get(SURFACE, number).run_id
    shelf.client.log_metric(run, PRIMARY, 0.9, step=9)
    (altered, *_) = judged(shelf, number).refused
    assert altered.gate == "package"
    assert altered.sentence.startswith(f"{PRIMARY} is 0.9 in MLflow and 0.1 in the sealed package")


def test_a_scorer_answers_for_what_its_candidates_miss(shelf) -> None:
    shelf.judge()
    number = shelf.register("neumf", 0.1)
    package = shelf.package(number)
    shelf.client.log_metric(shelf.store.get(SURFACE, number).run_id, "index_recall_at_20", 0.9, step=9)
    for candidates, refused in ((0, []), (2_000, ["index-recall"])):
        changes = {"shape": "scorer", "candidates": candidates}
        sealed = seal(package, read_manifest(package).model_copy(update=changes))
        shelf.client.set_model_version_tag(SURFACE, number, Tag.PACKAGE_SHA256, sealed.package_sha256)
        assert [verdict.gate for verdict in judged(shelf, number).refused] == refused


def test_users_that_cannot_be_read_are_missing(shelf) -> None:
    shelf.judge()
    shelf.register("mf", 0.1)
    shelf.promote("1")
    number = shelf.register("mf", 0.2)
    package = shelf.package(number)
    (package / "validation_users.parquet").write_bytes(b"PAR1")
    sealed = seal(package, read_manifest(package))
    shelf.client.set_model_version_tag(SURFACE, number, Tag.PACKAGE_SHA256, sealed.package_sha256)
    assert [verdict.gate for verdict in judged(shelf, number).refused] == ["offline-quality"]


def test_a_judgement_grows_stale(shelf) -> None:
    shelf.judge()
    shelf.register("mf", 0.1)
    found = judged(shelf, "1")
    now = {"champion": None, "policy_digest": found.policy_digest, "package_sha256": found.package_sha256}
    assert found.package_sha256
    assert stale_because(found, **now) is None
    assert "version 4 is champion now, it was judged beside none" in str(
        stale_because(found, **now | {"champion": "4"})
    )
    assert "version none is champion now" in str(stale_because(replace(found, champion="3"), **now))
    assert "the policy is x now" in str(stale_because(found, **now | {"policy_digest": "x"}))
    assert "another package" in str(stale_because(found, **now | {"package_sha256": "x"}))


def compared(database: Database, shadow: str, champion: str, days: float = 0, **body: Any) -> None:
    facts = {"k": 10, "requests": 50, "errors": 0, "shadow_latency": {"p50_ms": 1.0, "p99_ms": 2.0}, "overlap@10": 0.9}
    with database.session() as session:
        row = ShadowReportRow(
            id=f"{champion}-{days}",
            at=utc_now() - timedelta(days=days),
            surface=SURFACE,
            champion=champion,
            shadow=shadow,
            body={**facts, "ranked_overlap@10": 0.5, **body},
        )
        session.add(row)


def test_shadow_evidence_is_that_beside_the_present_champion(shelf, database: Database) -> None:
    production(shelf)
    shelf.register("mf", 0.1)
    shelf.client.set_registered_model_alias(SURFACE, "champion", "1")
    shelf.register("mf", 0.2)
    approved = {"author": "ann", "approvers": ("bob",)}
    assert outcomes(judged(shelf, "2", **approved)) == {"package": "pass", "shadow": "missing", "approval": "pass"}
    compared(database, "2", "7")
    assert outcomes(judged(shelf, "2"))["shadow"] == "stale"
    compared(database, "2", "1", days=1)
    (_, shadow, _) = judged(shelf, "2", **approved).verdicts
    assert shadow.outcome == "pass"
    assert "overlap 0.500" in shadow.sentence, "of the lists that the model ranked"
    compared(database, "2", "1", **{"ranked_overlap@10": None})
    assert "overlap 0.900" in judged(shelf, "2").verdicts[1].sentence


def test_the_live_verdict_of_a_comparison_is_read(shelf, database: Database) -> None:
    production(shelf)
    shelf.register("mf", 0.1)
    shelf.client.set_registered_model_alias(SURFACE, "champion", "1")
    shelf.register("mf", 0.2)
    approved = {"author": "ann", "approvers": ("bob",)}
    verdict = {
        "decision": "reject",
        "reason": "guardrail_broken",
        "sentence": "Reject: errors +2.00% (+1.00% to +3.00%), beyond +0.50%.",
        "requests": 5000,
        "more_requests": 0,
        "findings": [],
        "split_p": None,
        "rule": {},
    }
    compared(database, "2", "1", days=1, verdict=verdict)
    (_, shadow, _) = judged(shelf, "2", **approved).verdicts
    assert shadow.outcome == "fail"
    assert "refused for live verdict reject" in shadow.sentence
    assert shadow.detail["live_verdict"]["sentence"] == verdict["sentence"]
    compared(database, "2", "1", verdict=verdict | {"decision": "perhaps"})
    (_, shadow, _) = judged(shelf, "2", **approved).verdicts
    assert shadow.outcome == "missing"
    assert "its live verdict cannot be read (decision: Input should be 'promote'" in shadow.sentence


@pytest.mark.parametrize("body", [{"requests": "50"}, {"requests": True}, {"shadow_latency": None}, {"errors": None}])
def test_a_comparison_that_lacks_something(shelf, database: Database, body: dict[str, Any]) -> None:
    production(shelf)
    shelf.register("mf", 0.1)
    shelf.client.set_registered_model_alias(SURFACE, "champion", "1")
    shelf.register("mf", 0.2)
    compared(database, "2", "1", **body)
    assert outcomes(judged(shelf, "2"))["shadow"] == "missing"


def test_waivers_are_applied(shelf) -> None:
    shelf.judge(success=False)
    shelf.register("mf", 0.1)
    waiver = Waiver("validation", "carol", "known fault", utc_now() + timedelta(days=1))
    found = judged(shelf, "1", waivers=[waiver])
    assert found.passed
    assert outcomes(found)["validation"] == "waived"


def test_the_command(shelf, capsys: pytest.CaptureFixture[str]) -> None:
    """The packages of these tests are no models; that the real check refuses them is what this one shows."""
    shelf.judge()
    shelf.register("mf", 0.1)
    home = ("--home", str(shelf.home.root))
    assert models(["judge", "best", *home], standalone_mode=False) == GateRefused.exit_code
    out = capsys.readouterr().out
    assert out.startswith("video-feed version 1 → champion: 1 of 6 gates refuse.\n  package: fail, ")
    assert "  latency: pass, score_latency_ms_p99 is 2.0 ms" in out
    models(["judge", "1", "--to", "shadow", "--json", *home], standalone_mode=False)
    document = json.loads(capsys.readouterr().out)
    assert document["passed"] is False
    assert len(document["verdicts"]) == 2
    assert shelf.states() == {"1": "registered"}


def live(decision: str, reason: str = "better") -> dict[str, Any]:
    return {
        "decision": decision,
        "reason": reason,
        "sentence": f"{decision.title()}: so it is.",
        "requests": 5000,
        "more_requests": 0,
        "findings": [],
        "split_p": None,
        "rule": {},
    }


def tried(database: Database, champion: str, challenger: str, days: float, verdict: Any) -> None:
    with database.session() as session:
        row = ExperimentReportRow(
            id=f"e-{champion}-{challenger}-{days}",
            at=utc_now() - timedelta(days=days),
            experiment="spring",
            surface=SURFACE,
            champion=champion,
            challenger=challenger,
            body={"experiment": "spring", "verdict": verdict},
        )
        session.add(row)


def test_the_newest_verdict_counts_whether_of_a_shadow_or_of_an_experiment(shelf, database: Database) -> None:
    production(shelf)
    shelf.register("mf", 0.1)
    shelf.client.set_registered_model_alias(SURFACE, "champion", "1")
    shelf.register("mf", 0.2)

    def sentence() -> str:
        return judged(shelf, "2", author="ann", approvers=("bob",)).verdicts[1].sentence

    compared(database, "2", "1", days=5, verdict=live("hold", "undecided"))
    tried(database, "7", "2", 1, live("reject"))
    assert sentence().endswith("live verdict hold"), "that experiment was about another champion"
    tried(database, "1", "2", 4, live("promote"))
    assert sentence().endswith("live verdict promote of experiment spring")
    compared(database, "2", "1", days=3, verdict=live("hold", "not_measured"))
    assert sentence().endswith("live verdict promote of experiment spring"), "a shadow that was not measured says less"
    compared(database, "2", "1", days=2, verdict=live("reject", "guardrail_broken"))
    assert sentence().endswith("refused for live verdict reject")
    tried(database, "1", "2", 1, live("maybe"))
    assert "its live verdict cannot be read (decision: Input should be 'promote'" in sentence()
