"""Reports: stored whole, reused while data and rules stand, shown in pages that open anywhere."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from contracts.database import Database
from contracts.errors import NotFound, ValidationFailed
from contracts.home import Home
from contracts.platform import ValidationRow
from contracts.reports import ValidationReport, latest_report, require_passed
from contracts.settings import Settings
from feature_repo.offline import write_snapshot
from feature_repo.readers.mmssl import read_mmssl
from validation import rules
from validation.run import validate_snapshot


def test_a_passed_report_is_stored_and_opens_the_gate(settings: Settings, home: Home, database: Database, data) -> None:
    snapshot = data.ingest(home)
    report = validate_snapshot(settings, home)
    assert report.success
    assert report.snapshot == snapshot.id
    assert require_passed(database, snapshot.id) == report
    beside = Path(report.data_docs).with_name("report.json")
    assert ValidationReport.model_validate_json(beside.read_text()) == report


def test_a_failed_report_is_stored_and_keeps_the_gate_shut(
    settings: Settings, home: Home, database: Database, few_users
) -> None:
    snapshot = few_users.ingest(home)
    report = validate_snapshot(settings, home)
    assert not report.success
    assert report.worst(1)[0][0] == "splits", "the failed suite comes first"
    with pytest.raises(ValidationFailed, match="failed suites splits"):
        require_passed(database, snapshot.id)


def test_nothing_ingested(settings: Settings, home: Home) -> None:
    with pytest.raises(NotFound, match="nothing there"):
        validate_snapshot(settings, home)


def test_a_report_is_reused_until_the_rules_change_or_it_is_forced(
    settings: Settings, home: Home, database: Database, data, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.ingest(home)
    first = validate_snapshot(settings, home)
    assert validate_snapshot(settings, home) == first
    forced = validate_snapshot(settings, home, force=True)
    assert forced.id != first.id
    assert latest_report(database, first.snapshot) == forced
    monkeypatch.setattr("validation.run.rules_digest", lambda: "other rules")
    assert validate_snapshot(settings, home).id not in (first.id, forced.id)


def test_reusing_a_report_does_not_load_great_expectations(settings: Settings, home: Home, data) -> None:
    import subprocess
    import sys

    data.ingest(home)
    validate_snapshot(settings, home)
    script = (
        "import sys; from pathlib import Path; from contracts.settings import load_settings\n"
        "from contracts.home import Home; from validation.run import validate_snapshot\n"
        f"s = load_settings(home=Path({str(home.root)!r})); validate_snapshot(s, Home.open(s))\n"
        "print('great_expectations' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_digest_covers_every_source_of_the_rules() -> None:
    here = Path(rules.__file__).parent
    assert {path.name for path in (here / "suites").glob("*.py")} >= {
        "embeddings.py",
        "rows.py",
        "splits.py",
        "suite.py",
    }
    assert re.fullmatch("[0-9a-f]{12}", rules.rules_digest())


def test_a_full_database_leaves_no_pages_behind(
    settings: Settings, home: Home, data, monkeypatch: pytest.MonkeyPatch
) -> None:
    data.ingest(home)
    commit = Session.flush

    def full(self: Session, *arguments: object) -> None:
        if any(isinstance(row, ValidationRow) for row in self.new):
            raise OperationalError("insert", None, Exception("database or disk is full"))
        commit(self, *arguments)

    monkeypatch.setattr(Session, "flush", full)
    with pytest.raises(OperationalError, match="disk is full"):
        validate_snapshot(settings, home)
    assert list(home.quality.iterdir()) == []


class _Addresses(HTMLParser):
    """Collects everything a browser would follow or run."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def test_the_pages_need_no_network_run_no_script_and_have_no_dead_link(
    settings: Settings, home: Home, few_users
) -> None:
    few_users.ingest(home)
    report = validate_snapshot(settings, home)
    directory = Path(report.data_docs).parent
    pages = sorted(directory.glob("*.html"))
    assert len(pages) == 7
    for page in pages:
        seen = _Addresses()
        seen.feed(page.read_text())
        assert not seen.tags & {"script", "link", "img", "iframe"}, page
        for link in seen.links:
            assert (directory / link).is_file(), f"{page}: {link}"
    index = Path(report.data_docs).read_text()
    assert "every part has at least 10 users" in index
    assert "Must" not in (directory / "splits-interactions.html").read_text(), "rules are shown in our words"
    assert "✗ broken" in (directory / "splits-interactions.html").read_text()


def test_markup_in_an_id_stays_text(settings: Settings, home: Home, data) -> None:
    ids = data.tables["embedding_visual"]["video_id"].to_pylist()
    ids[:2] = ["<script>alert(1)</script>"] * 2
    data.put("embedding_visual", "video_id", ids)
    data.ingest(home)
    report = validate_snapshot(settings, home)
    for page in Path(report.data_docs).parent.glob("*.html"):
        assert "<script" not in page.read_text()
    assert "&lt;script&gt;alert(1)" in Path(report.data_docs).with_name("embeddings-embedding_visual.html").read_text()


def test_an_interruption_leaves_nothing(
    settings: Settings, home: Home, database: Database, data, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = data.ingest(home)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("validation.pages.write_pages", interrupted)
    with pytest.raises(KeyboardInterrupt):
        validate_snapshot(settings, home)
    assert list(home.quality.iterdir()) == []
    assert latest_report(database, snapshot.id) is None
    monkeypatch.undo()
    assert validate_snapshot(settings, home).success


def test_tiktok_passes(settings: Settings, home: Home, public_data: Path) -> None:
    with home.writing("test"):
        write_snapshot(home, read_mmssl(public_data / "tiktok", None))
    report = validate_snapshot(settings, home)
    assert report.success
    assert json.loads(Path(report.data_docs).with_name("report.json").read_text())["success"] is True
