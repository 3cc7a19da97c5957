"""The commands as a user types them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from contracts.database import Database
from contracts.errors import BadInput, Conflict, NotFound, ValidationFailed
from contracts.home import Home
from contracts.reports import latest_report, past_reports, require_passed
from contracts.snapshot import table_path
from registry.commands import models
from validation.commands import validate

REASON = "looked at every one of them"


def _run(home: Home, *arguments: str) -> dict:
    document = validate([*arguments, "--home", str(home.root)], standalone_mode=False)
    assert isinstance(document, dict)
    return document


def test_a_sound_snapshot_from_run_to_drift(home: Home, data, capsys: pytest.CaptureFixture[str]) -> None:
    first = data.ingest(home)
    ran = _run(home, "run")
    out, err = capsys.readouterr()
    assert f"Snapshot {first.id}: passed" in out
    assert "absolute rules only" in out
    assert "index.html" in out
    assert {line.split(first.id)[0] for line in err.splitlines()} == {"  judging snapshot "}, "and nothing else"
    assert ran["success"] is True
    _run(home, "run", "--json")
    out, err = capsys.readouterr()
    assert json.loads(out) == ran, "one document, and the same report"
    assert err == ""
    _run(home, "report", "--json")
    assert json.loads(capsys.readouterr().out) == ran
    with pytest.raises(NotFound, match=r"no other accepted snapshot of its data set.*--against"):
        _run(home, "drift")

    matrix = data.matrix()
    matrix[7] += 9
    data.put_matrix(matrix)
    second = data.ingest(home)
    found = _run(home, "drift", "--against", first.id)
    out = capsys.readouterr().out
    assert (found["snapshot"], found["against"], found["not_compared"]) == (second.id, first.id, {})
    by_table = {view["table"]: view["paired"] for view in found["views"]}
    assert by_table["embedding_visual"]["changed"][0][0] == "v7"
    assert by_table["embedding_acoustic"]["changed"] == []
    assert "v7" in out
    assert _run(home, "drift") == found, "the newest accepted one is what is meant"
    json.dumps(found, allow_nan=False)
    with pytest.raises(NotFound, match="snapshot 'nosuch'"):
        _run(home, "drift", "--against", "nosuch")
    with pytest.raises(BadInput, match="the current snapshot itself"):
        _run(home, "drift", "--against", second.id)
    assert [row["id"] for row in _run(home, "list")["reports"]] == [ran["id"]], "looking changes nothing"


def test_snapshots_of_other_data_or_another_encoder_are_not_compared(home: Home, data) -> None:
    first = data.ingest(home)
    data.raw.specs["visual"] = data.raw.specs["visual"].model_copy(update={"revision": "2"})
    data.ingest(home)
    found = _run(home, "drift", "--against", first.id)
    assert list(found["not_compared"]) == ["embedding_visual"]
    assert [view["table"] for view in found["views"]] == ["embedding_acoustic"]
    object.__setattr__(data.raw, "dataset", "other")
    data.ingest(home)
    with pytest.raises(Conflict, match="found data set 'sound'; expected 'other'"):
        _run(home, "drift", "--against", first.id)


def test_a_failed_snapshot_from_run_to_override(
    home: Home, database: Database, data, capsys: pytest.CaptureFixture[str]
) -> None:
    matrix = data.matrix()
    matrix[0, 0] = np.nan
    matrix[10:20] = 0
    data.put_matrix(matrix)
    snapshot = data.ingest(home)
    with pytest.raises(ValidationFailed, match=r"of \d+ suites failed; the worst findings: ") as caught:
        _run(home, "run")
    failed = latest_report(database, snapshot.id)
    assert failed is not None
    assert not failed.success
    message = str(caught.value)
    assert "at most 2% of the vectors are zero" in message
    assert failed.data_docs in message
    assert f"backbeat validate override {failed.id}" in message
    assert caught.value.exit_code == 3
    with pytest.raises(ValidationFailed, match=f"report {failed.id}"):
        _run(home, "run")
    with pytest.raises(ValidationFailed, match="nothing can stand in for embedding_visual"):
        _run(home, "run", "--quarantine")
    capsys.readouterr()
    _run(home, "report", failed.id)
    assert "FAILED" in capsys.readouterr().out
    with pytest.raises(BadInput, match="at least 10 characters"):
        _run(home, "override", failed.id, "--reason", "fine")
    accepted = _run(home, "override", failed.id, "--reason", REASON, "--by", "ann")
    assert accepted["override"]["actor"] == "ann"
    assert REASON in capsys.readouterr().out
    assert require_passed(database, home, snapshot.id).id == failed.id
    assert _run(home, "run")["id"] == failed.id, "and it is not judged again"
    capsys.readouterr()
    (row,) = _run(home, "list")["reports"]
    assert (row["id"], row["verdict"], row["overridden_by"]) == (failed.id, "overridden", "ann")
    assert failed.id in capsys.readouterr().out
    assert "ann" in (home.quality / "index.html").read_text()
    models(["audit", "--surface", "data", "--home", str(home.root)], standalone_mode=False)
    logged = capsys.readouterr().out
    assert f"ann  validation-override snapshot {snapshot.id}: failed → accepted; {REASON}" in logged


def test_declining_a_comparison_ends_like_a_failure(home: Home, database: Database, data) -> None:
    first = data.ingest(home)
    assert _run(home, "run", "--baseline", "none")["success"], "there is nothing to decline yet"
    data.put("videos", "title", ["a new title"] * data.tables["videos"].num_rows)
    snapshot = data.ingest(home)
    told = f"comparison with accepted snapshot {first.id} was declined: absolute rules only; all of .*validate override"
    with pytest.raises(ValidationFailed, match=told) as raised:
        _run(home, "run", "--baseline", "none")
    assert raised.value.exit_code == 3
    (line,) = past_reports(database, snapshot=snapshot.id)
    assert _run(home, "override", line.id, "--reason", REASON)["declined"] == first.id
    assert require_passed(database, home, snapshot.id).id == line.id


def _zeroed(data) -> None:
    matrix = data.matrix()
    matrix[10:20] = 0
    data.put_matrix(matrix)


def test_an_override_stands_in_the_reports_page_until_it_is_judged_again(
    home: Home, database: Database, data, capsys: pytest.CaptureFixture[str]
) -> None:
    _zeroed(data)
    snapshot = data.ingest(home)
    with pytest.raises(ValidationFailed):
        _run(home, "run")
    failed = latest_report(database, snapshot.id)
    assert failed is not None
    page = Path(failed.data_docs)
    before = page.read_text()
    assert "accepted all the same" not in before
    capsys.readouterr()
    _run(home, "override", failed.id, "--reason", r"known <b>re-uploads</b> \1 here", "--by", "<i>ann")
    assert "backbeat models audit --surface data" in capsys.readouterr().out
    after = page.read_text()
    assert "accepted all the same" in after
    accepted = latest_report(database, snapshot.id)
    assert accepted is not None
    assert accepted.override is not None
    when = f"{accepted.override.at:%Y-%m-%d %H:%M}"
    assert f"Accepted by &lt;i&gt;ann, {when} UTC: known &lt;b&gt;re-uploads&lt;/b&gt; \\1 here" in after
    assert "<b>re-uploads" not in after
    assert after.count("<h1>") == before.count("<h1>") == 1
    assert after.startswith(before.split("<!-- verdict -->")[0])
    assert after.endswith(before.split("<!-- /verdict -->")[1]), "the rest stays as it was"
    assert not list(page.parent.glob("*.partial"))

    with pytest.raises(ValidationFailed, match=f"report {failed.id} on this snapshot had been accepted by <i>ann"):
        _run(home, "run", "--force")
    capsys.readouterr()
    _run(home, "report")
    told = " ".join(capsys.readouterr().out.split())
    assert f"Before: report {failed.id} on this snapshot had been accepted by <i>ann at {when} UTC (known" in told
    assert "this judgement has closed the gate again" in told
    again = latest_report(database, snapshot.id)
    assert again is not None
    assert "accepted by &lt;i&gt;ann at" in Path(again.data_docs).read_text()


def test_an_override_of_a_report_without_pages(home: Home, database: Database, data) -> None:
    _zeroed(data)
    snapshot = data.ingest(home)
    with pytest.raises(ValidationFailed):
        _run(home, "run")
    failed = latest_report(database, snapshot.id)
    assert failed is not None
    Path(failed.data_docs).unlink()
    assert _run(home, "override", failed.id, "--reason", REASON)["override"]["reason"] == REASON
    assert not Path(failed.data_docs).exists()


@pytest.mark.parametrize("further", [(), ("--quarantine",)])
def test_a_refusal_for_scripts_is_the_whole_report_with_the_error_once(
    home: Home, database: Database, data, capsys: pytest.CaptureFixture[str], further: tuple[str, ...]
) -> None:
    _zeroed(data)
    snapshot = data.ingest(home)
    assert validate(["run", "--json", *further, "--home", str(home.root)], standalone_mode=False) == 3
    document = json.loads(capsys.readouterr().out)
    error = document.pop("error")
    assert error["code"] == "validation_failed"
    assert "backbeat validate override" in error["next"]
    failed = latest_report(database, snapshot.id)
    assert failed is not None
    assert document == failed.model_dump(mode="json") | {"changed": []}
    assert document["suites"][0]["findings"]


def test_a_report_on_files_that_have_changed_says_so(home: Home, data, capsys: pytest.CaptureFixture[str]) -> None:
    snapshot = data.ingest(home)
    first = _run(home, "run")
    assert first["changed"] == []
    assert "have changed since" not in capsys.readouterr().out
    table_path(home, snapshot.id, "embedding_visual").touch()
    assert _run(home, "report")["changed"] == ["embedding_visual"]
    told = "Files of embedding_visual have changed since, or are gone: the gate is closed; run `backbeat validate run`"
    assert told in capsys.readouterr().out
    assert _run(home, "run")["changed"] == [], "the same content, judged again"
    capsys.readouterr()
    assert _run(home, "report", first["id"])["changed"] == ["embedding_visual"]
    assert "have changed since" not in capsys.readouterr().out, "a newer report stands"

    data.put("videos", "title", ["another title"] * len(data.tables["videos"]))
    data.ingest(home)
    table_path(home, snapshot.id, "users").unlink()
    newest = _run(home, "list")["reports"][0]["id"]
    capsys.readouterr()
    assert _run(home, "report", newest)["changed"] == ["users"]
    assert "make the snapshot current again by ingesting it, and run" in capsys.readouterr().out


def test_who_accepts_is_the_user_of_the_process_unless_named(home: Home, database: Database, few_users) -> None:
    from contracts.actor import current_actor

    few_users.ingest(home)
    with pytest.raises(ValidationFailed, match="every part has at least 10 users"):
        _run(home, "run")
    (line,) = past_reports(database)
    accepted = _run(home, "override", line.id, "--reason", REASON)
    assert accepted["override"]["actor"] == current_actor()


def test_reports_that_are_not_there(home: Home, data) -> None:
    data.ingest(home)
    with pytest.raises(ValidationFailed, match="found no validation report"):
        _run(home, "report")
    with pytest.raises(NotFound, match=r"'nosuch'.*backbeat validate list"):
        _run(home, "report", "nosuch")
    assert _run(home, "list") == {"reports": []}


def test_a_home_without_data(tmp_path: Path) -> None:
    absent = Home(tmp_path / "none")
    for arguments in (["run"], ["report"], ["list"], ["drift"], ["override", "r", "--reason", REASON]):
        with pytest.raises(NotFound, match="nothing there"):
            _run(absent, *arguments)
    assert not absent.root.exists()


def test_no_third_party_noise_reaches_the_user(home: Home, data) -> None:
    data.ingest(home)
    script = (
        "from contracts.process import prepare_process; prepare_process()\n"
        "from validation.commands import validate\n"
        f"validate(['run', '--home', {str(home.root)!r}], standalone_mode=False)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert all(line.startswith("  judging snapshot ") for line in done.stderr.splitlines())
    assert done.stdout.startswith("Snapshot ")


@pytest.mark.parametrize("command", ["run", "report", "list", "drift", "override"])
def test_help_has_an_example_and_loads_nothing_heavy(command: str) -> None:
    heavy = ["great_expectations", "pandas", "pyarrow", "sqlalchemy", "numpy", "torch"]
    script = (
        "import sys\nfrom validation.commands import validate\n"
        f"try:\n    validate([{command!r}, '--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert f"backbeat validate {command}" in done.stdout
    assert done.stdout.rstrip().endswith("[]")
