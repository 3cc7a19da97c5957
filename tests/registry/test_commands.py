"""The commands as a user types them."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from backbeat.cli import invoke
from contracts.addresses import mlflow_tracking_url
from contracts.errors import GateRefused, NotFound
from registry import promotion
from registry.audit import audit_log
from registry.commands import models

SLICE = "test_cold_users_hr_at_10"


@pytest.fixture(autouse=True)
def _packages_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages of these tests are no models; that the real check refuses them is shown elsewhere."""
    for move in ("promote", "rollback"):
        monkeypatch.setattr(promotion, move, partial(getattr(promotion, move), replay=lambda _: None))


def _run(shelf, *arguments: str) -> dict:
    document = models([*arguments, "--home", str(shelf.home.root)], standalone_mode=False)
    assert isinstance(document, dict)
    return document


def test_list_shows_state_and_figures(shelf, capsys: pytest.CaptureFixture[str]) -> None:
    shelf.judge()
    shelf.register("mf", 0.1)
    shelf.register("lightgcn", None)
    _run(shelf, "promote", "1", "--to", "champion", "--reason", "first")
    capsys.readouterr()
    document = _run(shelf, "list")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["version", "model", "state"]
    assert lines[1].split()[:7] == ["2", "lightgcn", "registered", "-", "-", "-", "-"]
    assert lines[2].split()[:5] == ["1", "mf", "champion", "0.1000", "-"]
    assert [v["version"] for v in document["versions"]] == ["2", "1"]


def test_list_of_nothing_says_what_to_do(shelf, capsys: pytest.CaptureFixture[str]) -> None:
    _run(shelf, "list")
    assert "run `backbeat train" in capsys.readouterr().out


def test_show(shelf, capsys: pytest.CaptureFixture[str]) -> None:
    shelf.register("mf", 0.125, measured=False)
    document = _run(shelf, "show", "best")
    out = capsys.readouterr().out
    assert out.startswith("video-feed version 1: mf\n")
    assert "validation_recall_at_20      0.125" in out
    assert "snapshot                     snap-1" in out
    assert document["metrics"] == {"validation_recall_at_20": 0.125}
    assert "--json" not in out


def test_show_leaves_slices_to_json(shelf, capsys: pytest.CaptureFixture[str]) -> None:
    shelf.register("mf", 0.125, measured=False)
    run = _run(shelf, "show", "1")["run_id"]
    MlflowClient(tracking_uri=mlflow_tracking_url(shelf.settings, shelf.home)).log_metric(run, SLICE, 0.5)
    capsys.readouterr()
    assert _run(shelf, "show", "1")["metrics"][SLICE] == 0.5
    out = capsys.readouterr().out
    assert SLICE not in out
    assert "  1 metrics of slices and of the machine: --json shows them" in out


def test_promote_rollback_and_audit(shelf, capsys: pytest.CaptureFixture[str]) -> None:
    shelf.judge()
    for metric in (0.1, 0.2):
        shelf.register("mf", metric)
    _run(shelf, "promote", "1", "--to", "champion", "--reason", "first")
    _run(shelf, "promote", "best", "--to", "champion", "--reason", "better")
    out = capsys.readouterr().out
    assert "video-feed version 2 (mf): registered → champion, displacing version 1." in out
    assert "offline-quality: pass, validation_recall_at_20 is 0.2000, champion 1 has 0.1000: difference +0.1000" in out
    _run(shelf, "promote", "best", "--to", "champion", "--reason", "again")
    assert "is champion already; nothing changed" in capsys.readouterr().out
    _run(shelf, "rollback", "--reason", "complaints")
    assert "version 1 (mf): retired → champion, displacing version 2." in capsys.readouterr().out
    document = _run(shelf, "audit", "--limit", "2")
    out = capsys.readouterr().out
    assert "rollback version 1: retired → champion, displacing version 2; complaints" in out
    assert [row["action"] for row in document["audit"]] == ["rollback", "promote"]


def test_a_refusal_reaches_the_caller(shelf) -> None:
    shelf.register()
    with pytest.raises(GateRefused, match="no validation report") as caught:
        _run(shelf, "promote", "1", "--to", "champion", "--reason", "x")
    assert caught.value.exit_code == 4


def test_audit_of_nothing(shelf, capsys: pytest.CaptureFixture[str]) -> None:
    _run(shelf, "audit")
    assert capsys.readouterr().out == "No move of video-feed yet.\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("show", "1"),
        ("audit",),
        ("promote", "1", "--to", "champion", "--reason", "x"),
        ("rollback", "--reason", "x"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_home_that_is_not_there_is_not_made(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with pytest.raises(NotFound, match="nothing there"):
        models([*arguments, "--home", str(tmp_path / "none")], standalone_mode=False)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("arguments", [("list",), ("show", "1"), ("audit",)], ids=lambda arguments: arguments[0])
def test_json_is_one_document(shelf, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    shelf.register()
    _run(shelf, *arguments, "--json")
    assert isinstance(json.loads(capsys.readouterr().out), dict)


def test_a_user_without_a_name_is_audited_by_number(shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise OSError("No username set in the environment")

    monkeypatch.setattr("getpass.getuser", nameless)
    shelf.judge()
    shelf.register()
    _run(shelf, "promote", "1", "--to", "champion", "--reason", "x")
    (row,) = audit_log(shelf.settings, shelf.home, "video-feed")
    assert row["actor"] == f"user {os.getuid()}"


def test_list_loads_neither_torch_nor_feast_and_says_nothing_else(shelf) -> None:
    for _ in range(10):
        shelf.register()
    script = (
        "import sys\n"
        "from contracts.process import prepare_process; prepare_process()\n"
        "from registry.commands import models\n"
        f"models(['list', '--home', {str(shelf.home.root)!r}], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules and 'feast' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 11


def test_a_judgement_that_refuses_has_an_exit_code_of_its_own(shelf, capsys: pytest.CaptureFixture[str]) -> None:
    shelf.judge()
    shelf.register()  # Its package is no model, as the real check finds out.
    assert invoke(["models", "judge", "1", "--home", str(shelf.home.root)]) == GateRefused.exit_code
    out = capsys.readouterr().out
    assert "video-feed version 1 → champion: 1 of 6 gates refuse." in out
    assert "  package: fail, " in out
    assert shelf.states() == {"1": "registered"}
