"""Passing a gate by somebody's leave: only where the policy allows it, for some time, with a name and a reason."""

from datetime import timedelta
from typing import Any

import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BadInput, GateRefused, NotFound
from registry.audit import audit_log
from registry.policy import POLICY_FILE
from registry.waivers import waive, waivers

SURFACE = "video-feed"


@pytest.fixture
def unjudged(shelf: Any) -> Any:
    """A registry with one version on data that nobody validated."""
    (shelf.home.root / POLICY_FILE).write_text('[every.moves.champion]\ngates = ["package", "validation"]\n')
    shelf.register()
    return shelf


def _waive(shelf: Any, gate: str = "validation", reason: str = "checked by hand", days: float = 3) -> Any:
    return waive(shelf.settings, shelf.home, SURFACE, "1", gate, "bob", reason, days)


def test_a_waived_gate_lets_through_and_says_by_whose_leave(unjudged: Any) -> None:
    with pytest.raises(GateRefused, match="1 of 2 gates refuse: validation"):
        unjudged.promote("1")
    given = _waive(unjudged)
    assert timedelta(days=2.9) < given.until - utc_now() < timedelta(days=3)
    done = unjudged.promote("1")
    verdict = done.verdicts[1]
    assert (verdict.gate, verdict.outcome) == ("validation", "waived")
    assert "bob" in verdict.sentence
    assert "checked by hand" in verdict.sentence
    row = audit_log(unjudged.settings, unjudged.home, SURFACE)[1]
    assert (row["actor"], row["action"], row["after"], row["version"]) == ("bob", "waive", "validation", "1")
    assert row["reason"].endswith("checked by hand")


def test_it_ends(unjudged: Any) -> None:
    given = _waive(unjudged)
    database = Database(unjudged.settings, unjudged.home)
    assert waivers(database, SURFACE, "1") == (given,)
    assert waivers(database, SURFACE, "2") == ()
    assert waivers(database, SURFACE, "1", given.until) == ()
    assert waivers(database, SURFACE, "1", utc_now() - timedelta(days=1)) == (), "and begins"
    database.close()


def test_a_gate_that_may_not_be_waived(unjudged: Any) -> None:
    with pytest.raises(NotFound, match="gate of video-feed that may be waived 'package'"):
        _waive(unjudged, "package")
    with pytest.raises(NotFound, match=r"'validaton'.*'validation'"):
        _waive(unjudged, "validaton")


@pytest.mark.parametrize("days", [0, -1, 91, float("nan")])
def test_days_out_of_range(unjudged: Any, days: float) -> None:
    with pytest.raises(BadInput, match="days of a waiver for validation"):
        _waive(unjudged, days=days)


def test_no_reason(unjudged: Any) -> None:
    with pytest.raises(BadInput, match="reason of a move"):
        _waive(unjudged, reason="")
