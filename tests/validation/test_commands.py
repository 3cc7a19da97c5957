"""The commands as a user types them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.database import Database
from contracts.errors import NotFound, ValidationFailed
from contracts.home import Home
from contracts.reports import latest_report
from validation.commands import validate


def _run(*arguments: str) -> object:
    return validate(list(arguments), standalone_mode=False)


def test_run_says_what_was_judged_and_where_the_pages_are(home: Home, data, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = data.ingest(home)
    document = _run("run", "--home", str(home.root))
    out, err = capsys.readouterr()
    assert f"Snapshot {snapshot.id}: passed" in out
    assert "10 of 10 expectations hold" in out
    assert out.rstrip().endswith("index.html")
    assert err == ""
    assert isinstance(document, dict)
    assert document["success"] is True


def test_json_is_one_document(home: Home, data, capsys: pytest.CaptureFixture[str]) -> None:
    data.ingest(home)
    _run("run", "--home", str(home.root), "--json")
    first = json.loads(capsys.readouterr().out)
    _run("report", "--home", str(home.root), "--json")
    assert json.loads(capsys.readouterr().out) == first


def test_failed_suites_end_with_the_three_worst_findings_after_the_report_is_stored(
    home: Home, database: Database, data
) -> None:
    matrix = data.matrix()
    matrix[0, 0] = float("nan")
    matrix[10:20] = 0
    matrix[20] = 1
    matrix[30] *= 1e6
    data.put_matrix(matrix)
    snapshot = data.ingest(home)
    with pytest.raises(ValidationFailed, match="1 of 6 suites failed") as caught:
        _run("run", "--home", str(home.root))
    report = latest_report(database, snapshot.id)
    assert report is not None
    assert not report.success
    message = str(caught.value)
    assert message.count("rows (") == 3
    assert "embeddings: at most 2% of the vectors are zero: 10 of 60 rows (16.7%) break it (for example v10, v11)" in (
        message
    )
    assert report.data_docs in message
    assert caught.value.exit_code == 3
    with pytest.raises(ValidationFailed, match="1 of 6 suites failed"):
        _run("run", "--home", str(home.root))


def test_a_failed_report_can_be_read(home: Home, few_users, capsys: pytest.CaptureFixture[str]) -> None:
    few_users.ingest(home)
    with pytest.raises(ValidationFailed):
        _run("run", "--home", str(home.root))
    capsys.readouterr()
    _run("report", "--home", str(home.root))
    out = capsys.readouterr().out
    assert "FAILED" in out
    assert "every part has at least 10 users: 3 of 3 rows (100.0%) break it" in out


def test_report_before_any_run(home: Home, data) -> None:
    data.ingest(home)
    with pytest.raises(ValidationFailed, match="found no validation report"):
        _run("report", "--home", str(home.root))


def test_a_home_without_data(tmp_path: Path) -> None:
    for command in ("run", "report"):
        with pytest.raises(NotFound, match="nothing there"):
            _run(command, "--home", str(tmp_path / "none"))
    assert not (tmp_path / "none").exists()


def test_no_third_party_noise_reaches_the_user(home: Home, data) -> None:
    data.ingest(home)
    script = (
        "from contracts.process import prepare_process; prepare_process()\n"
        "from validation.commands import validate\n"
        f"validate(['run', '--home', {str(home.root)!r}], standalone_mode=False)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith("Snapshot ")
