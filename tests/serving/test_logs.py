"""Records are taken out by user and by age, and nothing else goes with them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backbeat.cli import invoke
from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BadInput, Conflict
from contracts.home import Home
from contracts.log_rows import FeatureSnapshotRow
from contracts.platform import ResponseRow, ShadowRow
from contracts.serving_rows import FeedbackRow
from serving.log_export import export_logs
from serving.log_files import LogFiles
from serving.logs import Deleted, delete_user, parse_age, prune

NOW = utc_now()


def features(name: str, user: str, days: float = 0) -> FeatureSnapshotRow:
    return FeatureSnapshotRow(
        response_id=name,
        at=NOW - timedelta(days=days),
        surface="video-feed",
        user_id=user,
        query={"user_id": user, "history": ["v1"]},
        missing=[],
        computed_on={"device": "cpu"},
    )


def recorded(name: str, user: str, days: float = 0) -> list[Any]:
    at = NOW - timedelta(days=days)
    items = [{"item_id": "v", "score": 0.5, "step": "model"}]
    return [
        ResponseRow(id=name, at=at, surface="video-feed", version="1", user_id=user, items=items, latency_ms=1.0),
        ShadowRow(response_id=name, version="2", at=at, items=items, latency_ms=1.0, error=None),
        ShadowRow(response_id=name, version="3", at=at, items=[], latency_ms=1.0, error="RuntimeError"),
        FeedbackRow(
            response_id=name,
            event_id="e",
            item_id="v",
            kind="click",
            seconds=None,
            at=at,
            received_at=at,
            late=False,
        ),
        features(name, user, days),
    ]


def left(database: Database) -> tuple[list[str], ...]:
    with database.session() as session:
        columns = (ResponseRow.id, ShadowRow.response_id, FeedbackRow.response_id, FeatureSnapshotRow.response_id)
        return tuple([row[0] for row in session.query(column).order_by(column)] for column in columns)


def in_files(files: LogFiles) -> tuple[list[str], ...]:
    import pyarrow.parquet as pq

    found = []
    for table, key in (("responses", "id"), *((name, "response_id") for name in REST)):
        ids = [pq.read_table(each.path, columns=[key], partitioning=None)[key] for each in files.segments(table)]
        found.append(sorted(name.as_py() for column in ids for name in column))
    return tuple(found)


REST = ("shadow_lists", "feedback", "feature_snapshots")


@pytest.fixture
def files(tmp_path: Path) -> LogFiles:
    return LogFiles(tmp_path / "files")


def test_all_of_a_user_goes_and_nothing_of_another(each_database: Database, files: LogFiles) -> None:
    with each_database.session() as session:
        session.add_all([*recorded("a", "ann"), *recorded("b", "bob"), *recorded("c", "ann", days=400)])
        session.add(features("unwritten", "ann"))
    export_logs(each_database, files, NOW + timedelta(seconds=1))
    assert delete_user(each_database, files, "ann") == Deleted(
        responses=2, shadow_lists=4, feedback=2, feature_snapshots=3, in_files=11
    )
    assert left(each_database) == in_files(files) == (["b"], ["b", "b"], ["b"], ["b"])
    assert delete_user(each_database, files, "ann") == Deleted(0, 0, 0, 0, 0)
    assert export_logs(each_database, files, NOW + timedelta(seconds=1)).files == 0


def test_a_user_goes_from_the_files_although_the_database_has_nothing_more(database: Database, files: LogFiles) -> None:
    with database.session() as session:
        session.add_all([*recorded("a", "ann"), *recorded("b", "bob")])
    export_logs(database, files, NOW + timedelta(seconds=1))
    with database.session() as session:
        for kind in (ResponseRow, ShadowRow, FeedbackRow, FeatureSnapshotRow):
            session.query(kind).delete()
    assert delete_user(database, files, "ann").in_files == 5
    assert in_files(files) == (["b"], ["b", "b"], ["b"], ["b"])


def test_what_is_older_goes(each_database: Database, files: LogFiles) -> None:
    alone = ShadowRow(response_id="lost", version="2", at=NOW - timedelta(days=40), items=[], latency_ms=1, error=None)
    with each_database.session() as session:
        session.add_all([*recorded("a", "ann", days=31), *recorded("b", "ann", days=29), alone])
    export_logs(each_database, files, NOW)
    assert prune(each_database, files, NOW - timedelta(days=30)) == Deleted(
        responses=1, shadow_lists=3, feedback=1, feature_snapshots=1, in_files=6
    )
    assert left(each_database) == in_files(files) == (["b"], ["b", "b"], ["b"], ["b"])


def test_a_file_that_is_partly_older_is_written_again_without_that_part(database: Database, files: LogFiles) -> None:
    midday = NOW.replace(hour=12, minute=0) - timedelta(days=2)
    days = [(NOW - midday) / timedelta(days=1) + hours / 24 for hours in (2, -2)]
    with database.session() as session:
        session.add_all([*recorded("early", "ann", days=days[0]), *recorded("late", "ann", days=days[1])])
    export_logs(database, files, NOW)
    before = [each.path for each in files.segments("feedback")]
    assert len(before) == 1
    assert prune(database, files, midday).in_files == 5
    assert in_files(files) == (["late"], ["late", "late"], ["late"], ["late"])
    assert [each.path for each in files.segments("feedback")] == before


def test_files_are_changed_by_one_at_a_time(database: Database, files: LogFiles, tmp_path: Path) -> None:
    hasty = LogFiles(tmp_path / "files", patience_s=0.01)
    with files.locked(), pytest.raises(Conflict, match="a service writing or deleting there"):
        prune(database, hasty, NOW)


@pytest.mark.parametrize(("text", "age"), [("30d", timedelta(days=30)), (" 12h", timedelta(hours=12))])
def test_ages(text: str, age: timedelta) -> None:
    assert parse_age(text) == age


@pytest.mark.parametrize("text", ["", "30", "0d", "-1d", "1w", "1e3d", "9999999d", "٣d x"])
def test_what_is_no_age(text: str) -> None:
    with pytest.raises(BadInput, match=r"age of records: found .*30d or 12h"):
        parse_age(text)


def test_the_commands(home: Home, database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    with home.writing("test"), database.session() as session:
        session.add_all([*recorded("a", "ann"), *recorded("b", "bob", days=31)])
    where = ["--home", str(home.root)]
    exported = invoke(["logs", "export", "--lag", "0", *where])
    assert exported["rows"] == {"responses": 2, "shadow_lists": 4, "feedback": 2, "feature_snapshots": 2}
    assert invoke(["logs", "prune", "--older-than", "30d", *where])["responses"] == 1
    assert invoke(["logs", "delete-user", "ann", *where])["feedback"] == 1
    assert left(database) == ([], [], [], [])
    assert invoke(["logs", "gaps", *where]) == {"gaps": [], "parquet": {"until": None, "waiting": 0}}
    said = capsys.readouterr().out
    assert "1 responses, 2 lists of shadows, 1 events and 1 sets of features deleted, 5 rows of Parquet files" in said
    assert "nothing is missing" in said
    with pytest.raises(BadInput, match="age of records"):
        invoke(["logs", "prune", "--older-than", "soon", *where])
    with pytest.raises(BadInput, match="option --since"):
        invoke(["logs", "export", "--since", "yesterday", *where])
