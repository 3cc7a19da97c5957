"""Reports in the database: what the gate lets through, what the history reads, what an older schema leaves."""

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

import contracts.migrations
from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import NotFound, ValidationFailed
from contracts.home import Home
from contracts.platform import ValidationOverrideRow
from contracts.reports import (
    Quarantine,
    ValidationReport,
    find_report,
    latest_report,
    past_reports,
    require_passed,
    store_report,
    table_stamps,
)
from contracts.snapshot import table_path


def _report(name: str = "r1", *, success: bool = True, minutes: int = 0, **facts: object) -> ValidationReport:
    known = {"snapshot": "s", "dataset": "d", "suites": [], "data_docs": "/docs/index.html"}
    moment = utc_now() + timedelta(minutes=minutes)
    return ValidationReport.model_validate({**known, "id": name, "created_at": moment, "success": success, **facts})


def _accept(database: Database, report_id: str) -> None:
    with database.session() as session:
        session.add(ValidationOverrideRow(report_id=report_id, at=utc_now(), actor="ann", reason="because it is right"))


def test_everything_in_a_report_comes_back(each_database: Database) -> None:
    report = _report(
        baseline="before",
        learned_from=3,
        statistics={"embedding_visual": {"rows": 3.0}},
        pictures={"embedding_visual": "visual.svg"},
        stamps={"users": "1:2"},
        quarantine=[Quarantine(table="users", whole=False, rows=1, file="f.parquet", reason="r", remedy="drop")],
        parent="r0",
        impact={"missing": "no champion"},
    )
    store_report(each_database, report)
    assert find_report(each_database, "r1") == latest_report(each_database, "s") == report
    with pytest.raises(NotFound, match=r"'r9'.*backbeat validate list"):
        find_report(each_database, "r9")


def test_a_history_reads_no_bodies(each_database: Database) -> None:
    for number in range(4):
        store_report(
            each_database, _report(f"r{number}", success=number != 2, minutes=number, dataset=f"d{number % 2}")
        )
    _accept(each_database, "r2")
    with each_database.session() as session:
        session.execute(sa.text("UPDATE validation_reports SET body = '{}'"))
    assert [line.id for line in past_reports(each_database)] == ["r3", "r2", "r1", "r0"], "newest first"
    assert [line.id for line in past_reports(each_database, limit=2)] == ["r3", "r2"]
    found = past_reports(each_database, dataset="d0")
    assert [(line.id, line.verdict, line.overridden_by) for line in found] == [
        ("r2", "overridden", "ann"),
        ("r0", "passed", None),
    ]
    assert past_reports(each_database, snapshot="other") == []


def test_the_gate_takes_what_a_person_has_accepted(each_database: Database, home: Home) -> None:
    store_report(each_database, _report(success=False))
    with pytest.raises(ValidationFailed):
        require_passed(each_database, home, "s")
    _accept(each_database, "r1")
    let_through = require_passed(each_database, home, "s")
    assert let_through.override is not None
    assert let_through.override.reason == "because it is right"
    store_report(each_database, _report("r2", success=False, minutes=1))
    with pytest.raises(ValidationFailed, match="report r2"):
        require_passed(each_database, home, "s")


@pytest.mark.parametrize("fault", ["longer", "rewritten", "gone"])
def test_the_gate_refuses_files_that_have_changed_since(database: Database, home: Home, fault: str) -> None:
    path = table_path(home, "s", "users")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"as judged")
    (path.parent / "videos.parquet").write_bytes(b"as judged")
    store_report(database, _report(stamps=table_stamps(home, "s", ["users", "videos"])))
    require_passed(database, home, "s")
    if fault == "longer":
        path.write_bytes(b"as judged, and more")
    elif fault == "rewritten":
        path.unlink()
        path.write_bytes(b"not thus!")
    else:
        path.unlink()
    with pytest.raises(ValidationFailed, match=rf"changed files since report r1 judged them: {path};.*validate run"):
        require_passed(database, home, "s")


def test_ways_on_name_only_what_can_help() -> None:
    drop = Quarantine(table="users", whole=False, rows=1, file="f", reason="r", remedy="drop")
    none = Quarantine(table="edges", whole=True, rows=1, file=None, reason="r", remedy="none")
    for parts, helps in (([], False), ([drop], True), ([none], False), ([drop, none], False)):
        report = _report(success=False, quarantine=parts)
        assert ("--quarantine" in report.ways_on) is helps
        assert "backbeat validate override r1" in report.ways_on
        assert "/docs/index.html" in report.ways_on


def test_reports_of_an_older_schema_stay(each_database: Database, home: Home) -> None:
    """A database of schema 0002 with a report is migrated when it is opened, and can be taken back."""
    config = Config()
    config.set_main_option("script_location", str(Path(next(iter(contracts.migrations.__path__)))))
    engine = sa.create_engine(each_database.engine.url)
    old = {"snapshot": "s", "success": True, "created_at": "2026-01-01T00:00:00+00:00", "suites": []}
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
        columns = {column["name"] for column in sa.inspect(connection).get_columns("validation_reports")}
        assert columns == {"id", "snapshot", "created_at", "success", "body"}
        assert not sa.inspect(connection).has_table("validation_overrides")
        for day, name in ((2, "r0"), (1, "older")):
            connection.execute(
                sa.text(
                    "INSERT INTO validation_reports (id, snapshot, created_at, success, body) "
                    f"VALUES ('{name}', 's', '2026-01-0{day} 00:00:00+00:00', :yes, :body)"
                ),
                {"yes": True, "body": json.dumps(old | {"id": name, "data_docs": "index.html"})},
            )
    engine.dispose()
    each_database.close()
    report = require_passed(each_database, home, "s")
    assert (report.id, report.dataset, report.stamps) == ("r0", "", {})
    line, older = past_reports(each_database)
    assert (line.id, older.id) == ("r0", "older"), "numbered by their time"
    assert (line.dataset, line.failed, line.baseline, line.declined) == ("", (), None, None)
    _accept(each_database, "r0")
    assert past_reports(each_database)[0].overridden


def test_what_declined_a_comparison_opens_nothing_by_itself(each_database: Database, home: Home) -> None:
    report = _report(declined="before", quarantine=[])
    store_report(each_database, report)
    assert (report.success, report.accepted, report.verdict) == (True, False, "uncompared")
    (line,) = past_reports(each_database)
    assert (line.declined, line.accepted, line.verdict) == ("before", False, "uncompared")
    told = r"report r1, whose comparison with accepted snapshot before was declined.*run `backbeat validate run`, which"
    with pytest.raises(ValidationFailed, match=told + r".*backbeat validate override r1 --reason"):
        require_passed(each_database, home, "s")
    _accept(each_database, "r1")
    assert require_passed(each_database, home, "s").verdict == past_reports(each_database)[0].verdict == "overridden"


def test_the_newest_report_is_the_one_written_last_whatever_the_clock_says(each_database: Database, home: Home) -> None:
    store_report(each_database, _report("ahead", minutes=60))
    store_report(each_database, _report("now", success=False))
    newest = latest_report(each_database, "s")
    assert newest is not None
    assert newest.id == "now"
    assert [line.id for line in past_reports(each_database)] == ["now", "ahead"]
    assert [line.id for line in past_reports(each_database, limit=1, snapshot="s")] == ["now"]
    with pytest.raises(ValidationFailed, match="report now"):
        require_passed(each_database, home, "s")


def test_a_number_that_is_none_is_stored_as_null_or_left_out(each_database: Database) -> None:
    """Postgres refuses NaN in JSON."""
    nan = float("nan")
    finding = {"expectation": "e", "column": None, "observed": {"share": [nan, 1.0]}, "rule": "r"}
    suite = {"suite": "users", "table": "users", "success": False, "evaluated": 1, "findings": [finding]}
    facts = {"statistics": {"users": {"rows": 2.0, "share": nan}}, "impact": {"items": {"new_share": float("inf")}}}
    store_report(each_database, _report(success=False, suites=[suite], **facts))
    found = find_report(each_database, "r1")
    assert found.statistics == {"users": {"rows": 2.0}}
    assert found.impact == {"items": {"new_share": None}}
    assert found.suites[0].findings[0].observed == {"share": [None, 1.0]}
    json.dumps(found.model_dump(mode="json"), allow_nan=False)


def test_a_file_in_the_place_of_another_is_told_whatever_its_times_say(database: Database, home: Home) -> None:
    path = table_path(home, "s", "users")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"as judged")
    store_report(database, _report(stamps=table_stamps(home, "s", ["users"])))
    require_passed(database, home, "s")
    was = path.stat()
    path.write_bytes(b"otherwise")
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (was.st_size, was.st_mtime_ns)
    with pytest.raises(ValidationFailed, match="changed files since report r1"):
        require_passed(database, home, "s")
