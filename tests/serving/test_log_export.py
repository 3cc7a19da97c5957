"""The records come to Parquet once each, whatever happens in between."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.log_rows import FeatureSnapshotRow
from contracts.platform import ResponseRow, ShadowRow
from contracts.serving_rows import FeedbackRow
from serving.log_export import export_logs
from serving.log_files import LOG_TABLES, LogFiles

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ITEMS = [{"item_id": "v1", "score": 0.1 + 0.2, "step": "model"}, {"item_id": "v2", "score": -3.5, "step": "popular"}]


@pytest.fixture
def files(tmp_path: Path) -> LogFiles:
    return LogFiles(tmp_path / "files")


def listed(name: str, at: datetime) -> ResponseRow:
    return ResponseRow(
        id=name,
        at=at,
        surface="video-feed",
        version="1",
        user_id="u",
        items=ITEMS,
        latency_ms=1.5,
        arm="shuffled",
        propensities=[0.1, 0.2],
        experiment="e",
        teams=[0, 1],
    )


def add(database: Database, *rows: object) -> None:
    with database.session() as session:
        session.add_all(rows)


def read(files: LogFiles, table: str) -> list[dict[str, object]]:
    tables = [pq.read_table(each.path, partitioning=None) for each in files.segments(table)]
    return [row for each in tables for row in each.to_pylist()]


@pytest.mark.parametrize("name", LOG_TABLES)
def test_a_file_has_the_columns_of_its_table(name: str) -> None:
    table = LOG_TABLES[name]
    assert set(table.schema.names) == {column.name for column in table.rows.__table__.columns}
    assert table.time in table.schema.names
    assert table.response in table.schema.names


def test_every_value_arrives(each_database: Database, files: LogFiles) -> None:
    aside = ShadowRow(response_id="r", version="2", at=NOON, items=ITEMS, latency_ms=2.5, error=None)
    event = FeedbackRow(
        response_id="r",
        event_id="e",
        item_id="v1",
        kind="watch",
        seconds=2.5,
        at=NOON,
        received_at=NOON + timedelta(seconds=1),
        late=True,
    )
    kept = FeatureSnapshotRow(
        response_id="r",
        at=NOON,
        surface="video-feed",
        user_id="u",
        query={"history": ["v3"], "k": 2},
        missing=[{"feature": "user_history", "reason": "late"}],
        computed_on={"device": "cpu"},
    )
    add(each_database, listed("r", NOON), aside, event, kept)
    export_logs(each_database, files, utc_now())
    (response,) = read(files, "responses")
    assert (response["at"], response["items"], response["propensities"]) == (NOON, ITEMS, [0.1, 0.2])
    assert (response["experiment"], response["arm"], response["teams"]) == ("e", "shuffled", [0, 1])
    (row,) = read(files, "shadow_lists")
    assert (row["version"], row["items"], row["error"]) == ("2", ITEMS, None)
    (row,) = read(files, "feedback")
    assert (row["kind"], row["seconds"], row["late"]) == ("watch", 2.5, True)
    (row,) = read(files, "feature_snapshots")
    assert row["query"] == '{"history": ["v3"], "k": 2}'
    assert row["missing"] == [{"feature": "user_history", "reason": "late"}]


def test_it_goes_on_where_it_ended_and_writes_nothing_twice(database: Database, files: LogFiles) -> None:
    add(database, *(listed(f"r{hour}", NOON + timedelta(hours=hour)) for hour in range(4)))
    first = export_logs(database, files, NOON + timedelta(hours=2))
    assert (first.files, first.rows["responses"]) == (1, 2)
    assert export_logs(database, files, NOON + timedelta(hours=2)).files == 0
    again = export_logs(database, files, NOON + timedelta(hours=9))
    assert (again.files, again.rows["responses"]) == (1, 2)
    assert [row["id"] for row in read(files, "responses")] == ["r0", "r1", "r2", "r3"]
    assert export_logs(database, files, NOON).files == 0


def test_a_file_has_one_day(database: Database, files: LogFiles) -> None:
    add(database, *(listed(f"r{day}", NOON + timedelta(days=day)) for day in (0, 1, 3)))
    assert export_logs(database, files, NOON + timedelta(days=5)).files == 3
    days = [each.path.parent.name for each in files.segments("responses")]
    assert days == ["date=2026-03-01", "date=2026-03-02", "date=2026-03-04"]


def test_what_no_file_has_is_filled_in(database: Database, files: LogFiles) -> None:
    add(database, *(listed(f"r{hour}", NOON + timedelta(hours=hour)) for hour in range(6)))
    for until in (2, 4, 6):
        export_logs(database, files, NOON + timedelta(hours=until))
    files.segments("responses")[1].path.unlink()
    assert export_logs(database, files, NOON + timedelta(hours=6)).files == 0
    filled = export_logs(database, files, NOON + timedelta(hours=6), since=NOON + timedelta(hours=3))
    assert filled.rows["responses"] == 1
    assert export_logs(database, files, NOON + timedelta(hours=6), since=NOON).rows["responses"] == 1
    assert [row["id"] for row in read(files, "responses")] == [f"r{hour}" for hour in range(6)]


def test_an_empty_database_makes_no_files(database: Database, files: LogFiles) -> None:
    assert export_logs(database, files, utc_now()).files == 0
    assert [each for table in LOG_TABLES for each in files.segments(table)] == []


def test_a_file_that_could_not_be_ended_is_not_there(
    database: Database, files: LogFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(database, listed("r", NOON))

    def fails(*_: object) -> pa.Table:
        raise OSError("unplugged")

    with monkeypatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", fails)
        with pytest.raises(OSError, match="unplugged"):
            export_logs(database, files, utc_now())
    assert files.segments("responses") == []
    assert export_logs(database, files, utc_now()).rows["responses"] == 1
