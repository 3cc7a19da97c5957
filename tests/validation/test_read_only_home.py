"""A home that a process may read and not write: what only looks works, what writes says so."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BadInput
from contracts.home import Home
from contracts.reports import ValidationReport, past_reports, store_report
from contracts.settings import load_settings
from validation.commands import validate

_LINUX_CAPABILITY_VERSION_3 = 0x20080522
_BEYOND_MODES = 1 << 1 | 1 << 2
"""``CAP_DAC_OVERRIDE`` and ``CAP_DAC_READ_SEARCH``: what lets root write where the mode forbids it."""


@pytest.fixture
def shown(home: Home, database: Database) -> Home:
    """A home with one report."""
    with home.writing("test"):
        report = ValidationReport(
            id="r1", snapshot="s1", created_at=utc_now(), success=True, suites=[], data_docs="gone", dataset="d"
        )
        store_report(database, report)
        database.close()
    return home


@contextmanager
def _reader(home: Home) -> Iterator[None]:
    """Be somebody who may not write the home, whoever runs the tests."""
    home.root.chmod(0o555)
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    powers = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable ones, twice
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, powers) == 0
    effective = powers[0]
    try:
        powers[0] = effective & ~_BEYOND_MODES
        assert libc.capset(header, powers) == 0
        assert not os.access(home.root, os.W_OK, effective_ids=True)
        yield
    finally:
        powers[0] = effective
        libc.capset(header, powers)
        home.root.chmod(0o755)


def test_reports_are_read_and_nothing_is_left_behind(shown: Home) -> None:
    there = sorted(shown.root.iterdir())
    with _reader(shown):
        listed = validate(["list", "--home", str(shown.root)], standalone_mode=False)
        report = validate(["report", "r1", "--home", str(shown.root)], standalone_mode=False)
    assert [row["id"] for row in listed["reports"]] == ["r1"]
    assert report["success"] is True
    assert sorted(shown.root.iterdir()) == there


def test_what_somebody_writes_meanwhile_is_seen(shown: Home) -> None:
    settings = load_settings(home=shown.root)
    writing, reading = Database(settings, shown), Database(settings, shown)
    with _reader(shown):
        assert [row.id for row in past_reports(reading)] == ["r1"]
    store_report(
        writing,
        ValidationReport(id="r2", snapshot="s1", created_at=utc_now(), success=True, suites=[], data_docs="gone"),
    )
    with _reader(shown):
        assert [row.id for row in past_reports(reading)] == ["r2", "r1"], "from the log that the writer holds open"
    writing.close()
    with _reader(shown):
        assert [row.id for row in past_reports(reading)] == ["r2", "r1"]


@pytest.mark.parametrize("arguments", [["run"], ["override", "r1", "--reason", "looked at all of it"]])
def test_who_may_not_write_is_told(shown: Home, arguments: list[str]) -> None:
    told = rf"home {shown.root}: found a directory that this process may not write to .*BACKBEAT_HOME"
    with _reader(shown), pytest.raises(BadInput, match=told):
        validate([*arguments, "--home", str(shown.root)], standalone_mode=False)


def test_a_database_that_may_not_be_read_is_no_matter_of_its_address(shown: Home) -> None:
    shown.platform_database.chmod(0)
    with _reader(shown), pytest.raises(BadInput, match=r"platform\.db: found .*may read") as caught:
        validate(["list", "--home", str(shown.root)], standalone_mode=False)
    assert "BACKBEAT_DATABASE_URL" not in str(caught.value)
