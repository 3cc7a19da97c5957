from datetime import datetime

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import contracts.catalogue_rows
import contracts.experiment_rows
import contracts.log_rows
import contracts.migrations
import contracts.people_rows
import contracts.promotion_rows
import contracts.serving_rows
import contracts.withdrawals
from contracts.clock import to_utc, utc_now
from contracts.database import SCHEMA_REVISION, Database
from contracts.errors import BadInput, HomeTooNew, ServiceUnavailable, ValidationFailed
from contracts.home import Home
from contracts.platform import AuditRow, PlatformBase, ResponseRow, ValidationRow
from contracts.promotion_rows import StandingRow
from contracts.reports import Finding, SuiteVerdict, ValidationReport, latest_report, require_passed, store_report
from contracts.settings import Settings, load_settings


def test_the_migrations_make_the_tables_that_the_code_declares(database: Database) -> None:
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), PlatformBase.metadata) == []


def test_the_newest_migration_is_the_one_the_code_expects() -> None:
    scripts = ScriptDirectory(next(iter(contracts.migrations.__path__)))
    assert scripts.get_current_head() == SCHEMA_REVISION


def test_the_audit_log_of_an_older_home_says_who_holds_which_alias(database: Database) -> None:
    engine, config = database.engine, Config()
    config.set_main_option("script_location", next(iter(contracts.migrations.__path__)))
    moves = [
        ("1", "promote", "champion"),
        ("2", "promote", "shadow"),
        ("3", "promote refused", "registered"),
        ("2", "promote", "champion"),
        ("4", "promote", "shadow"),
        ("4", "retire", "retired"),
    ]
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0003")
        for version, action, after in moves:
            row = {"at": utc_now(), "version": version, "action": action, "after": after}
            connection.execute(
                sa.insert(AuditRow).values(surface="music", actor="a", before="", verdicts=[], reason="", **row)
            )
        command.upgrade(config, "head")
    with database.session() as session:
        rows = session.query(StandingRow).order_by(StandingRow.alias)
        assert [(row.surface, row.alias, row.version) for row in rows] == [
            ("music", "champion", "2"),
            ("music", "shadow", None),
        ]


def test_a_schema_of_a_newer_version_is_refused(settings: Settings, home: Home, database: Database) -> None:
    with database.engine.begin() as connection:
        connection.execute(sa.text("update alembic_version set version_num = '9999'"))
    with pytest.raises(HomeTooNew, match="schema 9999"):
        Database(settings, home).engine


def test_a_server_that_does_not_answer(home: Home) -> None:
    settings = load_settings(
        home=home.root, profile="production", database_url="postgresql+psycopg://u:pw@127.0.0.1:1/x"
    )
    with pytest.raises(ServiceUnavailable, match=r"u:\*\*\*@127.0.0.1:1.*backbeat doctor"):
        Database(settings, home).engine


def test_a_session_is_one_transaction(database: Database) -> None:
    row = {"snapshot": "s", "success": True, "body": {}, "created_at": utc_now()}
    with pytest.raises(ZeroDivisionError), database.session() as session:
        session.add(ValidationRow(id="a", **row))
        session.flush()
        raise ZeroDivisionError
    with database.session() as session:
        assert session.query(ValidationRow).count() == 0


def test_moments_come_back_aware(database: Database) -> None:
    now = utc_now()
    row = {"surface": "video-feed", "version": "1", "user_id": "u", "items": [], "latency_ms": 1.0}
    with database.session() as session:
        session.add(ResponseRow(id="r", at=now, **row))
    with database.session() as session:
        assert session.get_one(ResponseRow, "r").at == now
    with pytest.raises(sa.exc.StatementError, match="naive datetime"), database.session() as session:
        session.add(ResponseRow(id="q", at=datetime(2026, 1, 1), **row))


def test_a_naive_timestamp_is_refused() -> None:
    with pytest.raises(BadInput, match="no time zone"):
        to_utc(datetime(2026, 1, 1))
    assert to_utc(datetime.fromisoformat("2026-01-01T02:00:00+02:00")).isoformat() == "2026-01-01T00:00:00+00:00"


def _report(success: bool, moment: datetime) -> ValidationReport:
    finding = Finding(expectation="e", column="c", observed=1, rule="r")
    suite = SuiteVerdict(suite="visual", table="t", success=success, evaluated=1, findings=[] if success else [finding])
    name = f"{success}{moment.microsecond}"
    return ValidationReport(
        id=name, snapshot="s", created_at=moment, success=success, suites=[suite], data_docs="/docs/index.html"
    )


def test_the_gate_wants_the_newest_report_to_have_passed(database: Database, home: Home) -> None:
    with pytest.raises(ValidationFailed, match=r"snapshot s: found no validation report.*backbeat validate run"):
        require_passed(database, home, "s")
    passed = _report(True, utc_now())
    store_report(database, passed)
    assert require_passed(database, home, "s") == passed == latest_report(database, "s")
    failed = _report(False, utc_now())
    store_report(database, failed)
    with pytest.raises(ValidationFailed, match=r"failed suites visual.*/docs/index.html"):
        require_passed(database, home, "s")
    assert failed.failed == ["visual/t"]
    assert latest_report(database, "other") is None


def test_a_file_that_is_no_database_is_named(settings: Settings, home: Home) -> None:
    home.root.mkdir()
    home.platform_database.write_bytes(b"garbage" * 1000)
    with pytest.raises(BadInput, match=r"platform.db: found file is not a database"):
        Database(settings, home).engine
