"""Processes of ours beside this one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from contracts.errors import Conflict
from contracts.process import answer_as_module, fault_of, run_module


@pytest.mark.parametrize(
    ("code", "said", "fault"),
    [
        (0, "error: a warning of a library", None),
        (7, "", "exit code 7 without a word"),
        (1, "Traceback\nValueError: no\n", "ValueError: no"),
        (2, "note\nerror: first\nerror: the fault\nat exit: closing\n", "the fault"),
    ],
)
def test_what_a_process_says_is_wrong(code: int, said: str, fault: str | None) -> None:
    assert fault_of(subprocess.CompletedProcess(["x"], code, stdout="out", stderr=said)) == fault


def test_a_module_runs_with_its_arguments_and_environment() -> None:
    done = run_module("json.tool", "--help", patience=60)
    assert done.returncode == 0
    assert "json" in done.stdout
    done = run_module("registry.champions", patience=60, environment={**os.environ, "BACKBEAT_NONSENSE": "1"})
    assert str(fault_of(done)).startswith("setting 'BACKBEAT_NONSENSE': found no setting of that name")


def test_what_lies_in_the_working_directory_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__init__.py").touch()
    (tmp_path / "training" / "check.py").write_text("raise SystemExit(0)")
    monkeypatch.chdir(tmp_path)
    assert run_module("training.check", patience=60).returncode == 2


def test_patience_ends() -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        run_module("training.check", patience=0.01)


def test_the_answer_is_all_that_stands_on_standard_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BACKBEAT_HOME", str(tmp_path))

    def work(settings: object, home: object, arguments: object) -> list[object]:
        sys.stdout.write("a library's greeting\n")
        return [type(settings).__name__, type(home).__name__, arguments]

    assert answer_as_module("python -m x NAME", ["a"], work) == 0
    out, err = capsys.readouterr()
    assert out.split() == ["[", '"Settings",', '"Home",', "[", '"a"', "]", "]"]
    assert err == "a library's greeting\n"
    assert answer_as_module("python -m x NAME", [], work) == 2
    assert capsys.readouterr() == ("", "usage: python -m x NAME\n")


def test_a_fault_has_its_own_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BACKBEAT_HOME", str(tmp_path))
    error = Conflict("this", found="that", expected="other", next_step="wait")

    def work(*_: object) -> None:
        raise error

    assert answer_as_module("python -m x", [], work) == error.exit_code
    assert capsys.readouterr() == ("", f"error: {error}\n")
