"""The clean process, and what is read of a package before it is started."""

import sys
from pathlib import Path

import pytest

from registry import evidence
from registry.evidence import replay_in_clean_process


def test_a_directory_that_is_no_package_is_refused_by_the_real_check(tmp_path: Path) -> None:
    (tmp_path / "weights.safetensors").write_bytes(b"x")
    fault = replay_in_clean_process(tmp_path)
    assert fault is not None
    assert fault.startswith(f"{tmp_path / 'manifest.json'}: found no manifest")


def test_a_folder_named_training_in_the_working_directory_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "__init__.py").touch()
    (tmp_path / "training" / "check.py").write_text("raise SystemExit(0)")
    monkeypatch.chdir(tmp_path)
    assert replay_in_clean_process(tmp_path) is not None


def test_a_check_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence, "_PATIENCE_S", 0.01)
    assert replay_in_clean_process(tmp_path) == "the package did not load and answer within 0.01 seconds"


@pytest.mark.parametrize(
    ("program", "fault"),
    [
        ("#!/bin/sh\nexit 0\n", None),
        ("#!/bin/sh\necho noise >&2\necho 'error: wrong answer' >&2\nexit 2\n", "wrong answer"),
        ("#!/bin/sh\nexit 7\n", "exit code 7 without a word"),
    ],
)
def test_what_the_check_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, fault: str | None) -> None:
    interpreter = tmp_path / "python"
    interpreter.write_text(program)
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    assert replay_in_clean_process(tmp_path) == fault
