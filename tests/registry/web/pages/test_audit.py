import csv
import io
import json
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from contracts.platform import AuditRow
from tests.registry.conftest import SURFACE
from tests.registry.web.pages.conftest import HOSTILE, Stock, audit

DAY = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 6)]


@pytest.fixture
def log(stock: Stock) -> Stock:
    """Four days of moves."""
    verdicts = [{"gate": "package", "outcome": "fail", "figure": None, "rule": "r", "sentence": HOSTILE}]
    stock.browser()
    with stock.web.database.session() as session:
        session.query(AuditRow).delete()
    stock.add(
        audit(at=DAY[0], version="1"),
        audit(at=DAY[1], version="2", actor=HOSTILE, action="promote refused", after="registered", verdicts=verdicts),
        audit(at=DAY[2], version="2", displaced="1", reason="=cmd()"),
        audit(at=DAY[3], surface="data", version="snap-1", action="override", reason='quote " and, comma'),
    )
    return stock


def _ask(stock: Stock, **filters: str) -> list[str]:
    tail = "&".join(f"{name}={quote(value)}" for name, value in filters.items())
    entries = stock.browser().get(f"/api/audit?{tail}").json()["entries"]
    return [f"{entry['action']} {entry['version']}" for entry in entries]


def test_who_did_what_when_and_why(log: Stock) -> None:
    assert _ask(log) == ["override snap-1", "promote 2", "promote refused 2", "promote 1"]
    assert _ask(log, surface=SURFACE, action="promote") == ["promote 2", "promote 1"]
    assert _ask(log, actor=HOSTILE) == ["promote refused 2"]
    assert _ask(log, version="1") == ["promote 1"]
    assert _ask(log, since="2026-01-02T00:00:00+00:00", until="2026-01-03T00:00:00+00:00") == [
        "promote 2",
        "promote refused 2",
    ]
    page = log.browser().get("/audit").text
    assert "<script>alert" not in page
    assert "0 of 1 gates let it" in page
    assert log.browser().get("/audit?since=yesterday").status_code == 400


def test_who_was_champion_at_a_moment(log: Stock) -> None:
    def champion(moment: str) -> str | None:
        held = log.browser().get(f"/api/audit?at={quote(moment)}").json()["held"]
        return next(one["aliases"].get("champion") for one in held if one["surface"] == SURFACE)

    assert champion("2025-12-31T00:00:00+00:00") is None
    assert champion("2026-01-02T12:00:00+00:00") == "1"
    assert champion("2026-01-04T00:00:00+00:00") == "2"
    assert "version 1" in log.browser().get(f"/audit?at={quote('2026-01-02T12:00:00+00:00')}").text


def test_exports(log: Stock) -> None:
    viewer = log.browser()
    answer = viewer.get(f"/audit.csv?surface={SURFACE}")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert answer.headers["content-disposition"].startswith("attachment")
    assert [row["version"] for row in rows] == ["1", "2", "2"]
    assert rows[2]["reason"] == "'=cmd()", "no spreadsheet runs it"
    lines = [json.loads(line) for line in viewer.get("/audit.jsonl").text.splitlines()]
    assert [line["version"] for line in lines] == ["1", "2", "2", "snap-1"]
    assert lines[1]["verdicts"][0]["gate"] == "package"
    assert viewer.get("/audit.csv?until=never").status_code == 400


def test_an_empty_log(stock: Stock) -> None:
    assert "Nothing like that was done" in stock.browser().get("/audit?version=77").text
