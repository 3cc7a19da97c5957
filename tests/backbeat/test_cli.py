import json
import subprocess
import sys
from pathlib import Path

import pytest

from backbeat.cli import app, invoke
from contracts.errors import BadInput, NotFound


def run(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "backbeat", *arguments, "--home", str(home)], capture_output=True, text=True, timeout=120
    )


def commands() -> list[list[str]]:
    names = [[c.name or c.callback.__name__] for c in app.registered_commands]
    return names + [
        [g.name, c.name or c.callback.__name__]
        for g in app.registered_groups
        for c in g.typer_instance.registered_commands
    ]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help_with_an_example_and_the_common_options(command: list[str], capsys) -> None:
    invoke([*command, "--help"])
    said = capsys.readouterr().out
    assert "backbeat " + " ".join(command) in said
    assert "Example" in said
    assert "--home" in said
    assert "--json" in said


def test_the_design_s_command_names_are_there() -> None:
    assert {" ".join(c) for c in commands()} >= {
        "demo", "doctor", "train", "experiment", "serve", "ingest mmssl", "ingest simulate", "features apply",
        "features materialize", "features status", "validate run", "validate report", "models list", "models show",
        "models promote", "models rollback", "models audit", "shadow status", "shadow report", "shadow replay",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tarin"], r"`backbeat`: found No such command 'tarin'; expected 'train'. Next: run `backbeat --help`"),
        (["features", "aply"], r"`backbeat features`: found No such command 'aply'; expected 'apply'"),
        (["train", "mf", "--sed", "1"], r"`backbeat train`: found No such option: --sed; expected --seed"),
        (["demo", "--requests", "none"], r"`backbeat demo`: found .*integer"),
        (["train"], r"`backbeat train`: found Missing argument"),
    ],
)
def test_a_mistyped_command_line_is_answered_with_the_nearest(arguments: list[str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        invoke(arguments)


def test_an_error_is_one_paragraph_on_standard_error(tmp_path: Path) -> None:
    done = run("features", "apply", home=tmp_path / "none")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: home ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "none").exists()


def test_an_error_is_one_document_with_json(tmp_path: Path) -> None:
    done = run("features", "apply", "--json", home=tmp_path / "none")
    assert (done.returncode, done.stderr) == (2, "")
    assert json.loads(done.stdout)["error"]["code"] == "not_found"


def test_an_unknown_setting_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKBEAT_DEVISE", "cpu")
    with pytest.raises(NotFound, match="BACKBEAT_DEVISE"):
        invoke(["doctor"])


def test_an_interrupt_reaches_the_caller(monkeypatch: pytest.MonkeyPatch, settings) -> None:
    def interrupt(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("backbeat.doctor.examine", interrupt)
    with pytest.raises(KeyboardInterrupt):
        invoke(["doctor", "--home", str(settings.home)])


def test_the_version_is_printed(capsys) -> None:
    invoke(["--version"])
    assert capsys.readouterr().out.startswith("backbeat 0.")
