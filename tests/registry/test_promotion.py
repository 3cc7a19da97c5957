"""Moves through real MLflow and the platform's tables: gates, audit, undo, rollback."""

import math
import shutil
from types import SimpleNamespace

import pytest
from mlflow.tracking import MlflowClient
from sqlalchemy import event
from sqlalchemy.orm import Session

from contracts.errors import BadInput, Conflict, GateRefused, NotFound
from contracts.platform import AuditRow
from contracts.surfaces import Tag
from registry.audit import audit_log
from registry.promotion import retire

SURFACE = "video-feed"


@pytest.fixture
def judged(shelf):
    """A registry whose data passed validation."""
    shelf.judge()
    return shelf


def _audit(shelf) -> list[SimpleNamespace]:
    return [SimpleNamespace(**row) for row in audit_log(shelf.settings, shelf.home, SURFACE)]


def test_the_first_champion_needs_no_rival(judged) -> None:
    judged.register("mf", 0.1)
    done = judged.promote("best", reason="first")
    assert (done.version, done.outcome, done.before, done.after, done.displaced) == (
        "1",
        "moved",
        "registered",
        "champion",
        None,
    )
    assert [v.outcome for v in done.verdicts] == ["pass"] * 6
    assert judged.states() == {"1": "champion"}
    assert judged.client.get_model_version(SURFACE, "1").tags[Tag.STATE] == "champion"
    (row,) = _audit(judged)
    assert (row.action, row.actor, row.version, row.before, row.after, row.displaced, row.reason) == (
        "promote",
        "tester",
        "1",
        "registered",
        "champion",
        None,
        "first",
    )
    assert [verdict["gate"] for verdict in row.verdicts] == [
        "package",
        "validation",
        "offline-quality",
        "guardrails",
        "index-recall",
        "latency",
    ]


def test_a_better_version_retires_the_champion_and_the_worse_one_becomes_shadow(judged) -> None:
    judged.register("mf", 0.1)
    judged.promote("1")
    judged.register("lightgcn", 0.2)
    judged.register("vbpr", 0.05)
    done = judged.promote("best")
    assert (done.version, done.displaced) == ("2", "1")
    shadow = judged.promote("runner-up", to="shadow")
    assert (shadow.version, shadow.after) == ("3", "shadow")
    assert judged.states() == {"1": "retired", "2": "champion", "3": "shadow"}


def test_promoting_what_holds_the_alias_changes_nothing(judged) -> None:
    judged.register()
    judged.promote("1")
    done = judged.promote("best")
    assert (done.outcome, done.verdicts) == ("unchanged", ())
    assert len(_audit(judged)) == 1


def test_a_new_shadow_makes_the_old_one_a_candidate(judged) -> None:
    judged.register()
    judged.register()
    judged.promote("1", to="shadow")
    assert judged.promote("2", to="shadow").displaced == "1"
    assert judged.states() == {"1": "candidate", "2": "shadow"}


def test_a_shadow_that_becomes_champion_is_no_shadow_any_more(judged) -> None:
    judged.register()
    judged.promote("1", to="shadow")
    judged.promote("1")
    assert judged.states() == {"1": "champion"}
    assert judged.store.by_alias(SURFACE, "shadow") is None


def test_the_champion_cannot_be_shadow(judged) -> None:
    judged.register()
    judged.promote("1")
    with pytest.raises(Conflict, match="version 1 → shadow: found state champion; expected a move to retired"):
        judged.promote("champion", to="shadow")
    assert judged.states() == {"1": "champion"}
    assert _audit(judged)[0].action == "promote refused"


def test_all_refusing_gates_are_named_at_once_and_audited(shelf) -> None:
    shelf.register(metric=math.nan)
    with pytest.raises(GateRefused, match="3 of 6 gates refuse") as caught:
        shelf.promote("1", fault="golden request 4 answered otherwise")
    for part in ("golden request 4", "no validation report on snapshot snap-1", "is nan, not a number"):
        assert part in str(caught.value)
    assert shelf.states() == {"1": "registered"}
    (row,) = _audit(shelf)
    assert (row.action, row.before, row.after) == ("promote refused", "registered", "registered")
    assert [verdict["outcome"] for verdict in row.verdicts] == ["fail", "missing", "fail", "pass", "pass", "pass"]


def test_a_worse_version_is_refused_as_champion_and_welcome_as_shadow(judged) -> None:
    judged.register("lightgcn", 0.2)
    judged.promote("1")
    judged.register("mf", 0.1)
    with pytest.raises(
        GateRefused, match=r"offline-quality: validation_recall_at_20 is 0\.1000, champion 1 has 0\.2000: .*; worse"
    ):
        judged.promote("2")
    assert judged.promote("2", to="shadow").outcome == "moved"


def test_a_newer_failed_report_refuses(judged) -> None:
    judged.register()
    report = judged.judge(success=False)
    with pytest.raises(GateRefused, match=f"validation: report {report} on snapshot snap-1 failed"):
        judged.promote("1")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda package: (package / "weights.safetensors").write_bytes(b"x"), "weights.safetensors: found SHA-256"),
        (lambda package: (package / "golden.json").unlink(), "golden.json: found no file"),
        (lambda package: (package / "extra.py").write_text("x"), "no such file in the package"),
        (lambda package: (package / "manifest.json").unlink(), "found no manifest"),
    ],
)
def test_a_damaged_package_is_refused_before_it_is_loaded(judged, damage, said: str) -> None:
    judged.register()
    damage(judged.package("1"))
    with pytest.raises(GateRefused, match="1 of 6 gates refuse: package") as caught:
        judged.promote("1")
    assert said in str(caught.value)


def test_a_package_sealed_anew_is_not_the_registered_one(judged) -> None:
    from contracts.manifest import read_manifest, seal

    judged.register()
    package = judged.package("1")
    (package / "weights.safetensors").write_bytes(b"other weights")
    seal(package, read_manifest(package))
    with pytest.raises(GateRefused, match="the version was registered with"):
        judged.promote("1")


@pytest.fixture
def on_new_data(shelf):
    """A registry with champion 1, an mf of 0.5 on older data, and the current snap-2."""
    shelf.judge(snapshot="snap-1")
    shelf.judge(snapshot="snap-2")
    shelf.register("mf", 0.5)
    shelf.promote("1")
    shelf.point_at("snap-2")
    return shelf


@pytest.mark.parametrize("model", ["mf", "lightgcn"])
def test_a_champion_of_other_data_is_measured_again_on_the_versions(on_new_data, model: str) -> None:
    on_new_data.register(model, 0.1, snapshot="snap-2")
    with pytest.raises(
        GateRefused, match=r"is 0\.1000, champion 1 has 0\.1200 when measured on snapshot snap-2: .*; worse"
    ):
        on_new_data.promote("best", again=0.12)
    assert on_new_data.states() == {"1": "champion", "2": "registered"}
    done = on_new_data.promote("best", again=0.0031)
    assert done.verdicts[2].sentence == (
        "validation_recall_at_20 is 0.1000, champion 1 has 0.0031 when measured on snapshot snap-2: "
        "difference +0.0969, 95 % interval +0.0969 to +0.0969 over 120 users; better"
    )
    assert on_new_data.states() == {"1": "retired", "2": "champion"}
    assert on_new_data.measured == [(on_new_data.package("1"), "snap-2")] * 2


def test_newer_versions_of_the_champions_model_do_not_speak_for_it(on_new_data) -> None:
    on_new_data.register("mf", 0.001, snapshot="snap-2")
    on_new_data.register("mf", 0.002, snapshot="snap-2")
    for version in ("2", "3"):
        with pytest.raises(GateRefused, match=r"champion 1 has 0\.4000"):
            on_new_data.promote(version, again=0.4)


def test_a_champion_that_cannot_be_measured_again_stays(on_new_data) -> None:
    on_new_data.register("mf", 0.9, snapshot="snap-2")
    with pytest.raises(GateRefused, match="champion 1 could not be measured on snapshot snap-2: no such data"):
        on_new_data.promote("2", again="no such data")
    assert _audit(on_new_data)[0].verdicts[2]["outcome"] == "missing"
    shutil.rmtree(on_new_data.package("1"))
    with pytest.raises(GateRefused, match="could not be measured on snapshot snap-2: package of video-feed version 1"):
        on_new_data.promote("2", again=0.1)


def test_only_a_promotion_to_champion_measures_the_champion_again(on_new_data) -> None:
    on_new_data.register("mf", 0.1, snapshot="snap-2")
    on_new_data.promote("2", to="shadow", again=None)
    on_new_data.promote("2", again=0.1)
    assert on_new_data.rollback().version == "1"


@pytest.mark.parametrize("to", ["registered", "retired", "champoin"])
def test_only_targets_can_be_asked_for(judged, to: str) -> None:
    judged.register()
    with pytest.raises(NotFound, match=f"promotion target '{to}'"):
        judged.promote("1", to=to)


def test_a_move_needs_a_reason(judged) -> None:
    judged.register()
    with pytest.raises(BadInput, match="reason of a move: found nothing"):
        judged.promote("1", reason=" ")


def test_an_unknown_version(judged) -> None:
    with pytest.raises(NotFound, match="video-feed version '9'"):
        judged.promote("9")


class _Broken(Exception):
    """Stands for whatever a database may say."""


@pytest.fixture(params=["before_flush", "before_commit"])
def no_audit(request: pytest.FixtureRequest):
    """Switches on a fault of the platform's database while it inserts the audit row, or when it commits it."""

    def at_flush(session: Session, *_: object) -> None:
        audits = any(isinstance(row, AuditRow) for row in session.new)
        session.info["audits"] = audits or session.info.get("audits", False)
        if audits and request.param == "before_flush":
            raise _Broken

    def at_commit(session: Session) -> None:
        if session.info.get("audits"):
            raise _Broken

    def switch_on() -> None:
        event.listen(Session, "before_flush", at_flush)
        event.listen(Session, "before_commit", at_commit)

    yield switch_on
    event.remove(Session, "before_flush", at_flush)
    event.remove(Session, "before_commit", at_commit)


def test_an_audit_that_cannot_be_written_puts_the_alias_back(judged, no_audit) -> None:
    judged.register("mf", 0.1)
    judged.promote("1")
    judged.register("lightgcn", 0.2)
    judged.promote("2", to="shadow")
    before, rows = judged.states(), len(_audit(judged))
    no_audit()
    with pytest.raises(_Broken):
        judged.promote("2")
    assert judged.states() == before
    assert judged.store.by_alias(SURFACE, "shadow").version == "2"
    assert {v.version: v.tags[Tag.STATE] for v in judged.store.versions(SURFACE)} == before
    assert len(_audit(judged)) == rows


@pytest.mark.parametrize("failure", [_Broken, KeyboardInterrupt])
def test_a_move_that_stops_half_way_in_mlflow_is_undone_and_not_audited(
    judged, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]
) -> None:
    judged.register("mf", 0.1)
    judged.promote("1")
    judged.register("lightgcn", 0.2)
    before = judged.states()
    true, calls = MlflowClient.set_model_version_tag, []

    def once(self: MlflowClient, *arguments: str) -> None:
        calls.append(arguments)
        if len(calls) == 1:
            raise failure
        true(self, *arguments)

    monkeypatch.setattr(MlflowClient, "set_model_version_tag", once)
    with pytest.raises(failure):
        judged.promote("2")
    assert judged.states() == before
    assert len(_audit(judged)) == 1


def test_rollback_walks_back_through_the_champions(judged) -> None:
    for metric in (0.1, 0.2, 0.3):
        version = judged.register(metric=metric)
        judged.promote(version)
    assert judged.rollback(reason="complaints").version == "2"
    assert judged.states() == {"1": "retired", "2": "champion", "3": "retired"}
    newest = _audit(judged)[0]
    assert (newest.action, newest.version, newest.displaced, newest.reason) == ("rollback", "2", "3", "complaints")
    assert judged.rollback().version == "1"
    with pytest.raises(NotFound, match="champion of video-feed before version 1: found none in the audit log"):
        judged.rollback()


def test_a_champion_promoted_after_a_rollback_rolls_back_to_the_one_before_it(judged) -> None:
    for metric in (0.1, 0.2):
        judged.promote(judged.register(metric=metric))
    judged.rollback()
    judged.promote(judged.register(metric=0.4))
    assert judged.rollback().version == "1"


def test_a_retired_version_can_be_promoted_by_number(judged) -> None:
    for metric in (0.1, 0.2):
        judged.promote(judged.register(metric=metric))
    judged.rollback()
    assert judged.promote("2").version == "2"
    assert judged.rollback().version == "1"


def test_rollback_does_not_ask_for_the_metric_but_for_a_working_package(judged) -> None:
    for metric in (0.1, 0.2):
        judged.promote(judged.register(metric=metric))
    with pytest.raises(GateRefused, match="1 of 1 gates refuse: package: does not load"):
        judged.rollback(fault="does not load")
    assert judged.states() == {"1": "retired", "2": "champion"}
    assert _audit(judged)[0].action == "rollback refused"
    assert [v.gate for v in judged.rollback().verdicts] == ["package"]


def test_rollback_without_a_champion(judged) -> None:
    judged.register()
    with pytest.raises(NotFound, match="video-feed version 'champion'"):
        judged.rollback()


def test_a_promotion_has_a_json_form(judged) -> None:
    judged.register()
    document = judged.promote("1").as_dict()
    assert document["outcome"] == "moved"
    assert document["verdicts"][0]["gate"] == "package"


def test_a_champion_whose_package_is_lost_can_be_retired(judged) -> None:
    judged.register("mf", 0.5)
    judged.promote("1")
    shutil.rmtree(judged.package("1"))
    done = retire(judged.settings, judged.home, SURFACE, "champion", "package lost", "tester")
    assert (done.version, done.outcome, done.after) == ("1", "moved", "retired")
    assert judged.states() == {"1": "retired"}
    assert _audit(judged)[0].action == "retire"
    assert retire(judged.settings, judged.home, SURFACE, "1", "again", "tester").outcome == "unchanged"
    judged.register("mf", 0.1)
    assert judged.promote("2").after == "champion"


def test_a_retirement_needs_a_reason(judged) -> None:
    judged.register("mf", 0.5)
    with pytest.raises(BadInput, match="reason of a move"):
        retire(judged.settings, judged.home, SURFACE, "1", " ", "tester")
