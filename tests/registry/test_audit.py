"""The log, filtered, and who held which alias at any moment."""

from datetime import timedelta
from typing import Any

import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import NotFound
from contracts.platform import AuditRow
from contracts.surfaces import DATA_SURFACE
from registry.audit import aliases_at, audit_log, champion_at

SURFACE = "video-feed"

START = utc_now().replace(year=2026, month=1, day=1)

HISTORY = [
    ("promote", "1", "registered", "champion"),
    ("promote", "2", "registered", "shadow"),
    ("promote refused", "3", "registered", "registered"),
    ("promote", "2", "shadow", "champion"),
    ("rollback", "1", "retired", "champion"),
    ("drift accepted", "3", "registered", "champion"),
    ("drift reverted", "9", "registered", "champion"),
    ("promote", "1", "retired", "shadow"),
    ("drift accepted", "1", "shadow", "candidate"),
    ("promote undone", "4", "registered", "registered"),
    ("retire", "3", "champion", "retired"),
]

CHAMPIONS = ["1", "1", "1", "2", "1", "3", "3", "3", "3", "3", None]
SHADOWS = [None, "2", "2", None, None, None, None, "1", None, None, None]


@pytest.fixture
def log(database: Database) -> Database:
    """A history, one entry an hour."""
    with database.session() as session:
        for hour, (action, version, before, after) in enumerate(HISTORY):
            moment = START + timedelta(hours=hour)
            session.add(
                AuditRow(
                    at=moment,
                    actor="ann" if hour % 2 else "bob",
                    surface=SURFACE,
                    version=version,
                    action=action,
                    before=before,
                    after=after,
                    displaced=None,
                    verdicts=[],
                    reason="x",
                )
            )
    return database


@pytest.mark.parametrize("hour", range(len(HISTORY)))
def test_who_was_champion(log: Database, hour: int) -> None:
    moment = START + timedelta(hours=hour)
    for then in (moment, moment + timedelta(minutes=59)):
        assert champion_at(log, SURFACE, then) == CHAMPIONS[hour]
        assert aliases_at(log, SURFACE, then).get("shadow") == SHADOWS[hour]


def test_before_anything_and_elsewhere(log: Database) -> None:
    assert aliases_at(log, SURFACE, START - timedelta(seconds=1)) == {}
    assert champion_at(log, "music", START + timedelta(days=1)) is None


def test_the_log_is_filtered(log: Database, settings: Any, home: Any) -> None:
    def found(**wanted: Any) -> list[str]:
        return [row["version"] for row in audit_log(settings, home, SURFACE, **wanted)]

    assert len(found()) == len(HISTORY)
    assert found(limit=2) == ["3", "4"]
    assert found(actor="ann", action="promote") == ["1", "2", "2"]
    assert found(version="9") == ["9"]
    assert found(since=START + timedelta(hours=9)) == ["3", "4"]
    assert found(until=START + timedelta(hours=1)) == ["2", "1"]
    assert audit_log(settings, home, DATA_SURFACE) == []
    with pytest.raises(NotFound, match="surface 'video-fed'"):
        audit_log(settings, home, "video-fed")
