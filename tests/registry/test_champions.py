"""What rooms without the registry are told of it."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from contracts.home import Home
from contracts.process import fault_of, run_module
from contracts.settings import environment_of_child, load_settings
from registry.champions import champions, main


def asked(settings: Any) -> Any:
    done = run_module("registry.champions", patience=120, environment=environment_of_child(settings))
    assert fault_of(done) is None
    return json.loads(done.stdout)


def test_nobody_yet(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home")
    assert asked(settings) == []
    assert not settings.home.exists()
    home = Home.open(settings)
    with home.writing("test"):
        pass
    assert champions(settings, home) == []
    assert not home.mlflow_database.exists()


def test_no_heavy_library_is_loaded_where_nothing_is_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BACKBEAT_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(sys.modules, "mlflow", None)  # importing it would now fail
    assert main([]) == 0
    assert capsys.readouterr().out == "[]\n"


def test_champion_and_shadow_are_listed_and_nobody_else(shelf: Any) -> None:
    for metric in (0.1, 0.2, 0.3):
        shelf.register(metric=metric)
    shelf.judge()
    shelf.promote("1", to="champion")
    shelf.promote("2", to="shadow")
    wanted = [
        {
            "surface": "video-feed",
            "alias": alias,
            "version": version,
            "model": "mf",
            "package": str(shelf.package(version)),
        }
        for version, alias in (("2", "shadow"), ("1", "champion"))
    ]
    assert champions(shelf.settings, shelf.home) == wanted
    shutil.rmtree(shelf.package("1"))
    assert asked(shelf.settings) == [wanted[0], {**wanted[1], "package": None}]


def test_faults_go_to_standard_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["more"]) == 2
    assert capsys.readouterr().err == "usage: python -m registry.champions\n"
    (tmp_path / "file").touch()
    monkeypatch.setenv("BACKBEAT_HOME", str(tmp_path / "file"))
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: home {tmp_path / 'file'}: found a file")
