"""A package among users and items it was not fitted on."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from contracts.errors import BadInput
from contracts.user_figures import UserFigures
from contracts.vocabulary import Vocabulary
from feature_repo.frame import TrainingFrame
from training.batches import UserBatch
from training.evaluation import evaluate
from training.packages import LoadedPackage
from training.questions import QUESTIONS
from training.recommender import TwoTower
from training.remeasure import main, remeasure, visitor

PRIMARY = "validation_recall_at_20"

Pack = Callable[[Path, TrainingFrame, str], LoadedPackage]


@pytest.fixture(scope="module")
def mf(pack: Pack, frame: TrainingFrame, tmp_path_factory: pytest.TempPathFactory) -> LoadedPackage:
    return pack(tmp_path_factory.mktemp("packed") / "mf", frame, "mf")


def renamed(vocabulary: Vocabulary, prefix: str) -> Vocabulary:
    return Vocabulary([prefix + name for name in vocabulary.ids(range(len(vocabulary)))])


def shuffled(frame: TrainingFrame, seed: int) -> TrainingFrame:
    """The same data with other row numbers, and an item and a user more in front."""
    rng = np.random.default_rng(seed)
    users, items = rng.permutation(len(frame.users)) + 1, rng.permutation(len(frame.items)) + 1

    def vocabulary(old: Vocabulary, rows: np.ndarray, extra: str) -> Vocabulary:
        return Vocabulary([extra, *old.ids(np.argsort(rows))])

    def pairs(old: np.ndarray) -> np.ndarray:
        return np.stack([users[old[:, 0]], items[old[:, 1]]], axis=1)

    history = np.full((len(users) + 1, frame.history.shape[1]), -1)
    # The item nobody knows stands first in every history.
    history[:, 0] = 0
    history[users, 1:] = np.where(frame.history >= 0, items[frame.history], -1)[:, :-1]
    return replace(
        frame,
        users=vocabulary(frame.users, users, "new user"),
        items=vocabulary(frame.items, items, "new item"),
        train=pairs(frame.train),
        validation=pairs(frame.validation),
        missing={name: np.r_[True, absent[np.argsort(items)]] for name, absent in frame.missing.items()},
        history=history,
    )


@pytest.mark.parametrize("name", ["popularity", "mf", "lightgcn", "m3csr"])
def test_a_package_has_its_own_figures_on_its_own_data_in_any_order(
    pack: Pack, frame: TrainingFrame, tmp_path: Path, name: str
) -> None:
    package = pack(tmp_path / name, frame, name)
    own = evaluate(package.recommender, frame, frame.validation)
    wanted = {f"validation_{metric}": value for metric, value in own.items()}
    # Which of equally popular items comes first is left to chance.
    slack = 0.1 if name == "popularity" else 1e-6
    for data in (frame, shuffled(frame, 3)):
        metrics, figures = remeasure(package, data)
        assert {metric: metrics[metric] for metric in wanted} == pytest.approx(wanted, abs=slack)
        assert {metric: figures.mean(metric) for metric in wanted} == pytest.approx(
            {metric: metrics[metric] for metric in wanted}
        )
        assert metrics["validation_events"] == len(frame.validation)
    mine, theirs = (remeasure(package, data)[1] for data in (frame, shuffled(frame, 3)))
    assert mine.pairs_with(theirs, PRIMARY), "users are known by their ids"


def test_items_it_does_not_know_are_never_recommended(frame: TrainingFrame, mf: LoadedPackage) -> None:
    assert remeasure(mf, frame)[0][PRIMARY] > 0.5
    assert remeasure(mf, replace(frame, items=renamed(frame.items, "x")))[0][PRIMARY] == 0.0
    half = ["x" * (row % 2) + name for row, name in enumerate(frame.items.ids(range(len(frame.items))))]
    held_out = frame.validation[frame.validation[:, 1] % 2 == 1]
    unknown = replace(frame, items=Vocabulary(half), validation=held_out)
    assert remeasure(mf, unknown)[0][PRIMARY] == 0.0


def test_users_it_does_not_know_get_its_most_viewed_items(
    fit: Callable[..., Any], frame: TrainingFrame, mf: LoadedPackage
) -> None:
    views = np.random.default_rng(5).permutation(len(frame.items))
    strangers = replace(frame, users=renamed(frame.users, "x"))
    popular = fit(frame, "popularity")
    popular.load_state({"views": torch.from_numpy(views).float()})
    found, _ = remeasure(replace(mf, popularity=views), strangers)
    assert found[PRIMARY] == pytest.approx(evaluate(popular, frame, frame.validation)["recall_at_20"])


def test_a_user_without_a_training_pair_is_scored_only_where_the_model_can(
    frame: TrainingFrame, mf: LoadedPackage
) -> None:
    guest = visitor(mf, replace(frame, users=renamed(frame.users, "x")))
    history = torch.full((2, 50), -1)
    history[1, 0] = 3
    assert guest.can_score(UserBatch(torch.tensor([0, 1]), history)).tolist() == [False, True]


def test_fitting_a_visitor_measures_and_changes_nothing(frame: TrainingFrame, mf: LoadedPackage) -> None:
    guest = visitor(mf, frame)
    assert isinstance(guest, TwoTower)
    before = guest.item_vectors().clone()
    report = guest.fit(frame, seed=0)
    measured, _ = remeasure(mf, frame)
    assert report.validation == {name: measured[f"validation_{name}"] for name in report.validation}
    assert report.epochs == 0
    assert torch.equal(guest.item_vectors(), before)


def test_data_that_holds_out_nothing(frame: TrainingFrame, mf: LoadedPackage) -> None:
    with pytest.raises(BadInput, match="no held-out pairs to rank"):
        remeasure(mf, replace(frame, validation=frame.validation[:0]))


@pytest.mark.parametrize("arguments", [[], ["package", "snapshot"], ["package", "snapshot", "figures", "more"]])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: python -m training.remeasure PACKAGE SNAPSHOT FIGURES")


def test_faults_go_to_standard_error(
    mf: LoadedPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BACKBEAT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("BACKBEAT_DEVICE", "cpu")
    for arguments, said in (
        ([str(tmp_path), "s", str(tmp_path / "f")], "manifest.json: found no manifest"),
        ([str(mf.directory), "gone", str(tmp_path / "f")], "error: snapshot gone: found no"),
    ):
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert said in err
        assert not (tmp_path / "f").exists()


def test_the_document(
    make_mmssl: Callable[..., Path],
    mf: LoadedPackage,
    settings: Any,
    home: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from feature_repo.apply import apply_features
    from feature_repo.offline import write_snapshot
    from feature_repo.readers.mmssl import read_mmssl

    with home.writing("test"):
        snapshot, _ = write_snapshot(home, read_mmssl(make_mmssl(tmp_path / "data"), "blocks"))
        apply_features(settings, home)
    monkeypatch.setenv("BACKBEAT_HOME", str(home.root))
    monkeypatch.setenv("BACKBEAT_DEVICE", "cpu")
    assert main([str(mf.directory), snapshot.id, str(tmp_path / "figures.parquet")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["protocol"] == QUESTIONS["videos"].fingerprint(snapshot).digest
    assert document["metrics"][PRIMARY] > 0.5
    figures = UserFigures.load(tmp_path / "figures.parquet")
    assert figures.mean(PRIMARY) == pytest.approx(document["metrics"][PRIMARY])
