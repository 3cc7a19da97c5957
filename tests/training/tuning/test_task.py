"""What tuning can reach: never the test part; and the command, on real features."""

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

from backbeat.cli import invoke
from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BadInput, NotFound, ValidationFailed
from contracts.home import Home
from contracts.reports import ValidationReport, require_passed, store_report
from contracts.settings import Settings, load_settings
from feature_repo.apply import apply_features
from feature_repo.offline import current_snapshot, write_snapshot
from feature_repo.readers.mmssl import read_mmssl
from training.experiments.catalogue import TABLES
from training.experiments.tables import Column, Row, Table
from training.frames import parts_of_study, training_part
from training.protocols import FULL_20, Protocol
from training.splits import LeaveOneOut
from training.studies import Study
from training.tuning.task import task_of
from training.tuning.tune import tune

TUNING = Path(__file__).resolve().parents[3] / "training" / "tuning"
QUICK = {"dimension": "4", "batch_size": "128", "max_epochs": "2"}


def _prepared(root: Path, data: Path) -> tuple[Settings, Home]:
    settings = load_settings(home=root / "home", device="cpu")
    home = Home.open(settings)
    with home.writing("tests"):
        snapshot, _ = write_snapshot(home, read_mmssl(data, "blocks"))
        apply_features(settings, home)
        database = Database(settings, home)
        store_report(
            database,
            ValidationReport(
                id="r", snapshot=snapshot.id, created_at=utc_now(), success=True, suites=[], data_docs="docs"
            ),
        )
        database.close()
    return settings, home


@pytest.fixture(scope="module")
def blocks_home(
    make_mmssl: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Settings, Home, Path]:
    root = tmp_path_factory.mktemp("blocks")
    data = make_mmssl(root / "blocks")
    return (*_prepared(root, data), data)


def test_tuning_imports_nothing_that_gives_a_test_part() -> None:
    """Only frames come in, through the one function that gives no more than a frame."""
    gives = {
        "feature_repo.frame": {"TrainingFrame"},
        "feature_repo.offline": {"current_snapshot", "snapshot_directory"},
        "feature_repo.encoders.device": {"prepare_torch"},
        "training.frames": {"training_part"},
    }
    closed = {"training.evaluation", "training.protocols", "training.ranking", "training.splits", "training.train"}
    for path in sorted(TUNING.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not [each.name for each in node.names if each.name.startswith(("training", "feature_repo"))]
            if not isinstance(node, ast.ImportFrom):
                continue
            names, module = {each.name for each in node.names}, str(node.module)
            assert module not in closed, f"{path.name} imports {module}"
            if module in gives or module.startswith("feature_repo"):
                assert names <= gives[module], f"{path.name} imports {names} from {module}"


def test_the_test_part_is_not_even_read(
    blocks_home: tuple[Settings, Home, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, home, _ = blocks_home

    def reached(*_: object) -> None:
        raise AssertionError("the test part was read")

    monkeypatch.setattr("training.frames.load_all_events", reached)
    assert len(task_of(settings, home, "mf").frame.validation) == 96
    with pytest.raises(AssertionError, match="the test part was read"):
        task_of(settings, home, "mf", study=Study(LeaveOneOut(), FULL_20))


def test_another_cut_leaves_its_test_part_behind(blocks_home: tuple[Settings, Home, Path]) -> None:
    settings, home, _ = blocks_home
    study = Study(LeaveOneOut(seed=3), FULL_20)
    report = require_passed(Database(settings, home), home, current_snapshot(home).id)
    frame = training_part(settings, home, "interactions_v1", report, study)
    whole, held = parts_of_study(settings, home, "interactions_v1", report, study)
    assert np.array_equal(frame.train, whole.train)
    known = {tuple(pair) for pair in np.concatenate([frame.train, frame.validation]).tolist()}
    assert len(held.pairs) == 96
    assert not known & {tuple(pair) for pair in held.pairs.tolist()}
    for user, item in held.pairs.tolist():
        assert item not in frame.history[user]
    task = task_of(settings, home, "mf", QUICK, study=study)
    assert np.array_equal(task.frame.validation, frame.validation)
    assert task.facts["protocol"] != task_of(settings, home, "mf", QUICK).facts["protocol"]


def test_another_test_part_changes_nothing(
    blocks_home: tuple[Settings, Home, Path], tmp_path: Path, make_mmssl: Callable[..., Path]
) -> None:
    """The same training and validation pairs, and all other test pairs: the same trials with the same values."""
    settings, home, data = blocks_home
    other = shutil.copytree(data, tmp_path / "other")
    from feature_repo.readers.restricted_pickle import load_restricted

    known, test = sp.csr_matrix((96, 64)), load_restricted(data / "tstMat.pkl")
    for name in ("trn", "val", "tst"):
        known = known + load_restricted(data / f"{name}Mat.pkl").tocsr()
    rng = np.random.default_rng(0)
    fresh = [int(rng.choice(np.flatnonzero(known[user].toarray()[0] == 0))) for user in range(96)]
    rows = np.arange(96, dtype=np.int32)
    changed = sp.coo_matrix((np.ones(96), (rows, np.array(fresh, np.int32))), shape=test.shape)
    import pickle

    (other / "tstMat.pkl").write_bytes(pickle.dumps(changed))
    outcomes = []
    for place in ((settings, home), _prepared(tmp_path, other)):
        task = task_of(*place, "mf", QUICK)
        outcomes.append((task.frame.snapshot.id, tune(*place, task, trials=2).trials))
    assert outcomes[0][0] != outcomes[1][0]
    assert outcomes[0][1] == outcomes[1][1]


def test_the_command_tells_the_best_options_and_registers_them(
    blocks_home: tuple[Settings, Home, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    home = blocks_home[1].root
    typed = ["tune", "mf", "--trials", "2", "--space", "learning_rate=0.02..0.2:log", "--name", "told"]
    typed += [part for name, value in QUICK.items() for part in ("--set", f"{name}={value}")]
    where = ["--home", str(home), "--seed", "1"]
    returned = invoke([*typed, "--json", *where])
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(returned))
    best = returned["best"]
    assert returned["registered"] is None
    assert returned["command"].startswith("backbeat train mf --set variant=tuned --set dimension=4 ")
    assert f"--set learning_rate={best['options']['learning_rate']}" in returned["command"]
    assert returned["command"].endswith(f"--seed 1 --home {home}")

    registered = invoke([*typed, "--register", *where])["registered"]
    said = capsys.readouterr().out
    assert said.startswith("Tuning told: 2 trials, 0 pruned, 0 failed\n  defaults  validation recall_at_20 ")
    assert f"Registered as version {registered['version']} of video-feed" in said
    assert registered["metrics"]["validation_recall_at_20"] == best["value"]
    assert "test_recall_at_20" in registered["metrics"]
    import shlex

    invoke(shlex.split(returned["command"])[1:])
    assert "trained before" in capsys.readouterr().out

    invoke([*typed[:2], "--timeout", "0", *where])
    assert "No trial has come to its end" in capsys.readouterr().out


def test_a_paper_is_tuned_for_as_it_measures(
    blocks_home: tuple[Settings, Home, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study(LeaveOneOut(seed=0), Protocol(cutoffs=(5,), negatives=20, stopping="ndcg_at_5", seed=0))
    paper = Table(
        name="paper",
        title="Groups of users",
        source="A paper, Table 1",
        data="blocks",
        real=False,
        prepare=("backbeat ingest mmssl blocks",),
        columns=(Column("N@5", "test_ndcg_at_5"),),
        rows=(Row("MF", "mf"),),
        study=study,
    )
    monkeypatch.setitem(TABLES, "paper", paper)
    settings, home, _ = blocks_home
    typed = ["tune", "mf", "--trials", "1", "--study", "paper", "--home", str(home.root)]
    typed += [part for name, value in QUICK.items() for part in ("--set", f"{name}={value}")]
    tuned = invoke(typed)
    assert tuned["metric"] == "ndcg_at_5"
    assert tuned["study"] == task_of(settings, home, "mf", QUICK, study=study).name
    assert f"--study paper --home {home.root}" in tuned["command"]
    import shlex

    trained = invoke([*shlex.split(tuned["command"])[1:], "--json"])
    assert trained["metrics"]["validation_ndcg_at_5"] == tuned["best"]["value"]
    assert invoke([*typed, "--register"])["registered"]["version"] == trained["version"]
    for command in ("tune", "train"):
        with pytest.raises(
            BadInput, match=r"'m3csr-table2' on snapshot \w+: found data set 'blocks'; expected 'tiktok'"
        ):
            invoke([command, "mf", "--study", "m3csr-table2", "--home", str(home.root)])


@pytest.mark.parametrize(
    ("typed", "kind", "message"),
    [
        (["mf", "--study", "m3csr-table"], NotFound, "experiment 'm3csr-table'"),
        (["lightgnc"], NotFound, "model 'lightgnc'"),
        (["mf", "--space", "dimensio=8,16"], NotFound, "mf option 'dimensio'"),
        (["mf", "--space", "dimension"], BadInput, "option --space 'dimension': found no NAME=VALUE"),
        (["mf", "--set", "dimension=x"], BadInput, "mf option 'dimension': found 'x'"),
        (["popularity"], BadInput, "search space of popularity: found no option"),
        (["mf", "--service", "mf_v9"], NotFound, "feature service 'mf_v9'"),
        (["mf"], NotFound, "found nothing there; expected a home with ingested data"),
    ],
)
def test_bad_input_leaves_no_home(tmp_path: Path, typed: list[str], kind: type[BadInput], message: str) -> None:
    with pytest.raises(kind, match=message):
        invoke(["tune", *typed, "--home", str(tmp_path / "home")])
    assert not (tmp_path / "home").exists()


def test_data_that_nobody_has_accepted_are_not_tuned_on(
    make_mmssl: Callable[..., Path], tmp_path: Path, settings: Settings, home: Home
) -> None:
    with home.writing("tests"):
        write_snapshot(home, read_mmssl(make_mmssl(tmp_path / "blocks"), "blocks"))
    with pytest.raises(ValidationFailed):
        task_of(settings, home, "mf")
