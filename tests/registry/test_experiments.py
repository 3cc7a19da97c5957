"""Experiments begin and end by somebody's word, one at a time on a surface, and both are audited."""

from typing import Any

import pytest
from pydantic import ValidationError

import registry.experiments as desk
from contracts.database import Database
from contracts.errors import BadInput, Conflict, NotFound
from contracts.experiments import MEASURED, Experiment, default_rule, list_experiments, running_experiment
from contracts.verdict import Guardrail, Rule
from registry.audit import audit_log
from registry.experiments import start_experiment, stop_experiment

SURFACE = "video-feed"


@pytest.fixture
def two(shelf: Any) -> Any:
    """A champion, version 1, and version 2."""
    shelf.register(metric=0.1)
    shelf.register(metric=0.2)
    shelf.client.set_registered_model_alias(SURFACE, "champion", "1")
    return shelf


def start(shelf: Any, name: str = "first", mode: Any = "ab", challenger: str = "2", **more: Any) -> Experiment:
    options = {"actor": "ada", "reason": "looks better", **more}
    return start_experiment(shelf.settings, shelf.home, SURFACE, name, mode, challenger=challenger, **options)


def stop(shelf: Any, name: str = "first", reason: str = "seen enough") -> Experiment:
    return stop_experiment(shelf.settings, shelf.home, name, "bob", reason)


@pytest.fixture
def database(two: Any) -> Any:
    database = Database(two.settings, two.home)
    yield database
    database.close()


def test_it_runs_from_its_start_to_its_end(two: Any, database: Database) -> None:
    two.client.set_registered_model_alias(SURFACE, "challenger", "2")
    begun = start(two, challenger="challenger", weight=0.2)
    assert (begun.champion, begun.challenger, begun.weights) == ("1", "2", {"champion": 0.8, "challenger": 0.2})
    assert begun.versions == {"champion": ["1"], "challenger": ["2"]}
    assert running_experiment(database, SURFACE) == begun
    assert running_experiment(database, "music") is None
    ended = stop(two)
    assert (ended.running, ended.ended_by, ended.end_reason) == (False, "bob", "seen enough")
    assert running_experiment(database, SURFACE) is None
    told = [
        (row["actor"], row["action"], row["version"], row["before"], row["after"], row["reason"]) for row in log(two)
    ]
    assert told == [
        ("bob", "stop experiment", "2", "first", "", "seen enough"),
        ("ada", "start experiment", "2", "", "first", "looks better"),
    ]


def log(shelf: Any) -> list[dict[str, Any]]:
    return audit_log(shelf.settings, shelf.home, SURFACE)


def test_those_that_run_are_listed_first(two: Any, database: Database) -> None:
    start(two)
    stop(two)
    start(two, "second", "interleaving")
    stop(two, "second")
    third = start(two, "third", "exploration", epsilon=0.3, top=30)
    assert third.weights == {"champion": 0.7, "shuffled": 0.3}
    assert third.challenger is None
    assert log(two)[0]["version"] == "1"
    with database.session() as session:
        assert [each.name for each in list_experiments(session)] == ["third", "second", "first"]
        assert [each.name for each in list_experiments(session, limit=1)] == ["third"]


def test_one_at_a_time(two: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    start(two)
    with pytest.raises(Conflict, match="first runs"):
        start(two, "second")
    monkeypatch.setattr(desk, "running_experiment", lambda *_: None)  # as who looked before the first was written
    with pytest.raises(Conflict, match="another runs"):
        start(two, "second")
    assert len(log(two)) == 1


def test_a_name_is_used_once_and_an_end_is_the_end(two: Any) -> None:
    start(two)
    stop(two)
    with pytest.raises(Conflict, match="an earlier experiment of that name"):
        start(two)
    with pytest.raises(Conflict, match="ended by bob"):
        stop(two)
    with pytest.raises(NotFound, match="no experiment of that name"):
        stop(two, "frist")


def test_whom_it_is_about_must_be_there(two: Any) -> None:
    with pytest.raises(NotFound, match="video-feed version '9'"):
        start(two, challenger="9")
    with pytest.raises(NotFound, match="video-feed version 'challenger'"):
        start(two, challenger="challenger")
    two.client.delete_registered_model_alias(SURFACE, "champion")
    with pytest.raises(NotFound, match="champion of video-feed"):
        start(two)


@pytest.mark.parametrize(
    ("said", "values"),
    [
        ("greater than 0", {"weight": 0.0}),
        ("less than 1", {"weight": 1.0}),
        ("letter or digit first", {"name": "-x"}),
        ("another version than the champion", {"challenger": "1"}),
        ("greater than 0", {"mode": "exploration", "epsilon": 0.0}),
        ("greater than or equal to 2", {"mode": "exploration", "top": 1}),
        ("a rule about preference, errors in mode interleaving, not ctr", {"mode": "interleaving", "rule": Rule()}),
        ("a few words", {"reason": " "}),
    ],
)
def test_what_is_not_allowed(two: Any, said: str, values: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=said):
        start(two, **values)
    assert log(two) == []


def test_a_mode_has_what_it_needs_and_no_more(two: Any) -> None:
    begun = start(two)
    with pytest.raises(ValidationError, match="no epsilon in mode ab"):
        Experiment(**begun.model_dump() | {"epsilon": 0.1})
    with pytest.raises(ValidationError, match="a challenger in mode ab"):
        Experiment(**begun.model_dump() | {"challenger": None})


@pytest.mark.parametrize("mode", list(MEASURED))
def test_the_rule_of_a_mode_is_about_what_it_measures(mode: Any) -> None:
    rule = default_rule(mode)
    assert {rule.objective, *(each.metric for each in rule.guardrails)} <= set(MEASURED[mode])


def test_a_rule_of_ones_own(two: Any, database: Database) -> None:
    rule = Rule(objective="watch_time", guardrails=(Guardrail(metric="like", margin=0.1, harm="lower"),))
    start(two, rule=rule)
    found = running_experiment(database, SURFACE)
    assert found is not None
    assert found.rule == rule
