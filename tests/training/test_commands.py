import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backbeat.cli import app, invoke
from contracts.errors import BadInput, NotFound
from contracts.home import Home
from contracts.settings import Settings
from training.experiments.catalogue import TABLES
from training.models import MODELS
from training.train import TrainedVersion

METRICS = [f"{part}_{name}_at_20" for part in ("validation", "test") for name in ("recall", "ndcg", "precision")]
METRICS += ["train_seconds"]


def test_help_shows_an_example() -> None:
    for command in ("train", "experiment", "tune"):
        shown = CliRunner().invoke(app, [command, "--help"]).output
        assert f"backbeat {command}" in shown
        assert "--json" in shown


def test_who_asks_for_an_unknown_model_is_told_every_name(tmp_path: Path) -> None:
    with pytest.raises(NotFound) as refused:
        invoke(["train", "no-such-model", "--home", str(tmp_path / "home")])
    assert all(name in str(refused.value) for name in MODELS)


@pytest.mark.parametrize(("given", "found"), [("patience", "no NAME=VALUE"), ("=3", "no name before the equals sign")])
def test_an_option_that_is_no_assignment_is_refused(tmp_path: Path, given: str, found: str) -> None:
    with pytest.raises(BadInput, match=f"option --set '{given}': found {found}"):
        invoke(["train", "mf", "--set", given, "--home", str(tmp_path / "home")])


@pytest.mark.parametrize("given", ["0,one", "", "1,,2", "-1"])
def test_seeds_that_are_no_numbers_are_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(BadInput, match=f"option --seeds '{given}': found something other than whole numbers"):
        invoke(["experiment", "m3csr-table2", f"--seeds={given}", "--home", str(tmp_path / "home")])


@pytest.mark.parametrize("arguments", [["lightgnc"], ["mf", "--set", "sed=1"], ["popularity", "--epochs", "3"]])
def test_unknown_names_leave_no_home(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(NotFound, match="found no"):
        invoke(["train", *arguments, "--home", str(tmp_path / "home")])
    assert not (tmp_path / "home").exists()


def test_without_data_there_is_nothing_to_train_on(tmp_path: Path) -> None:
    for arguments in (["train", "mf"], ["experiment", "m3csr-table2"]):
        with pytest.raises(NotFound, match="found nothing there; expected a home with ingested data"):
            invoke([*arguments, "--home", str(tmp_path / "home")])


def test_experiments_are_listed_without_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["experiment"]) == {"experiments": list(TABLES)}
    listed = capsys.readouterr().out
    assert all(name in listed for name in TABLES)


def test_train_prints_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--home", str(tmp_path / "home")]
    for command in (
        ["ingest", "simulate", "--users", "90", "--videos", "80", "--events", "1500"],
        ["features", "apply"],
    ):
        invoke([*command, *where])
    invoke(["validate", "run", *where])
    capsys.readouterr()
    returned = invoke(["train", "mf", "--epochs", "2", "--set", "dimension=4", "--json", *where])
    printed = json.loads(capsys.readouterr().out)
    assert printed == returned
    assert printed["model"] == "mf"
    assert printed["metrics"]["train_seconds"] > 0

    invoke(["train", "mf", "--epochs", "2", "--set", "dimension=4", *where])
    said = capsys.readouterr().out
    assert said.startswith("mf is version 1 of video-feed (trained before; --force trains again)\n")
    assert [line.split()[0] for line in said.splitlines()[1:]] == ["validation", "test", "training"], "no slices"
    assert "test_tail_items_hr_at_20" in printed["metrics"]


def test_epochs_are_said_once() -> None:
    with pytest.raises(BadInput, match=r"--epochs 3: found --set max_epochs=5 as well; expected one of the two"):
        invoke(["train", "mf", "--epochs", "3", "--set", "max_epochs=5"])


def test_on_ray_the_same_arguments_go_to_the_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def train_on_ray(settings: Settings, home: Home, *arguments: object, **options: object) -> TrainedVersion:
        asked.append((home.root, *arguments, options))
        return TrainedVersion("video-feed", "7", "mf", dict.fromkeys(METRICS, 0.5), "run", reused=False)

    monkeypatch.setattr("training.on_ray.train_on_ray", train_on_ray)
    home = Home(tmp_path / "home")
    with home.writing("tests"):
        pass
    told = invoke(["train", "mf", "--on", "ray", "--epochs", "2", "--seed", "5", "--home", str(home.root)])
    assert asked == [
        (home.root, "mf", {"max_epochs": "2"}, {"seed": 5, "force": False, "service": None, "study": None})
    ]
    assert told["version"] == "7"
