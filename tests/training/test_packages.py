import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.errors import BadInput, NotFound
from contracts.manifest import IndexInfo, read_manifest, seal
from contracts.vocabulary import Vocabulary
from feature_repo.frame import TrainingFrame
from training.check import main
from training.golden import check_golden
from training.hnsw import HnswIndex
from training.models import MODELS
from training.packages import load_package, write_package
from training.recommender import Catalogue, Recommender
from training.requests import user_batch

OPTIONS: dict[str, Any] = {"dimension": 8, "max_epochs": 2}


def packed(name: str, frame: TrainingFrame, directory: Path, manifest_of: Callable[..., Any]) -> Recommender:
    entry = MODELS[name]
    config = entry.config(**{key: value for key, value in OPTIONS.items() if key in entry.config.model_fields})
    model = entry.model(config, Catalogue.of(frame))
    model.fit(frame, seed=0)
    manifest = manifest_of(name, model, frame)
    directory.mkdir(exist_ok=True)
    write_package(directory, model, frame, manifest)
    return model


@pytest.fixture(scope="module")
def made(
    frame: TrainingFrame, manifest_of: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Recommender]:
    directory = tmp_path_factory.mktemp("packages") / "mf"
    return directory, packed("mf", frame, directory, manifest_of)


@pytest.fixture
def directory(made: tuple[Path, Recommender], tmp_path: Path) -> Iterator[Path]:
    """A copy of the MF package that a test may break."""
    return shutil.copytree(made[0], tmp_path / "package")


def reseal(directory: Path, **changes: object) -> None:
    """Make the hashes fit again, so that the fault behind them shows."""
    seal(directory, read_manifest(directory).model_copy(update=changes))


def test_user_batch_translates_cuts_and_pads(directory: Path) -> None:
    package = load_package(directory)
    long = [f"v{row % 64}" for row in range(70)]
    batch = user_batch(package, ["u1", "who", "u0"], [["v5", "unknown", "v2"], [], long])
    assert batch.rows.tolist() == [1, -1, 0]
    assert batch.history.shape == (3, 50)
    assert batch.history[0].tolist() == [5, 2] + [-1] * 48
    assert batch.history[1].tolist() == [-1] * 50
    assert batch.history[2].tolist() == [row % 64 for row in range(20, 70)]


def test_user_batch_of_nobody(directory: Path) -> None:
    batch = user_batch(load_package(directory), [], [])
    assert batch.rows.shape == (0,)
    assert batch.history.shape == (0, 50)


def test_golden_requests_cover_known_and_unknown_users(directory: Path, frame: TrainingFrame) -> None:
    requests = json.loads((directory / "golden.json").read_text())
    known = [request for request in requests if frame.users.rows([request["user_id"]])[0] >= 0]
    assert len(known) == 8
    assert [len(request["items"]) for request in known] == [10] * 8
    assert all(not set(request["items"]) & set(request["history"]) for request in requests)
    strangers = [request for request in requests if request not in known]
    assert sorted(bool(request["history"]) for request in strangers) == [False, True]
    # MF knows users by their row only.
    assert all(not request["can_score"] and not request["items"] for request in strangers)


def test_an_altered_file_is_refused(directory: Path) -> None:
    with (directory / "weights.safetensors").open("ab") as handle:
        handle.write(b"x")
    with pytest.raises(BadInput, match=r"weights.safetensors: found SHA-256"):
        load_package(directory)


def test_a_directory_without_a_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"manifest.json: found no manifest"):
        load_package(tmp_path)


def test_another_vocabulary_is_refused(directory: Path) -> None:
    Vocabulary([f"w{row}" for row in range(96)]).save(directory / "users.parquet")
    reseal(directory)
    with pytest.raises(
        BadInput, match=r"users.parquet: found vocabulary .*; expected vocabulary .* as in the manifest"
    ):
        load_package(directory)


@pytest.mark.parametrize("name", ["item_vectors.npy", "popularity.npy"])
def test_tables_of_another_length_are_refused(directory: Path, name: str) -> None:
    np.save(directory / name, np.load(directory / name)[:-1])
    reseal(directory)
    with pytest.raises(BadInput, match=rf"{name}: found 63 rows; expected 64 items"):
        load_package(directory)


@pytest.mark.parametrize(("items", "found"), [(None, "no file"), (9, "a graph of 9 items")])
def test_a_graph_that_is_not_of_the_package_is_refused(directory: Path, items: int | None, found: str) -> None:
    if items is not None:
        HnswIndex(np.eye(items, 8, dtype=np.float32)).save(directory / "index.faiss")
    reseal(directory, index=IndexInfo(kind="hnsw", recall=1.0))
    with pytest.raises(BadInput, match=rf"index.faiss: found {found}; expected the graph of 64 items"):
        load_package(directory)


def test_pickled_arrays_are_refused(directory: Path) -> None:
    np.save(directory / "popularity.npy", np.array([{}], dtype=object), allow_pickle=True)
    reseal(directory)
    with pytest.raises(BadInput, match=r"popularity.npy: found .*pickle.*; expected a plain array of numbers"):
        load_package(directory)


def test_weights_of_another_config_are_refused(directory: Path) -> None:
    reseal(directory, config={**read_manifest(directory).config, "dimension": 9})
    with pytest.raises(BadInput, match=r"weights of MatrixFactorisation: tensor 'items': found float32 \[64, 8\]"):
        load_package(directory)


def test_damaged_weights_are_refused(directory: Path) -> None:
    (directory / "weights.safetensors").write_bytes(b"not weights")
    reseal(directory)
    with pytest.raises(BadInput, match=r"weights.safetensors: found .*; expected tensors in the safetensors format"):
        load_package(directory)


def test_a_model_this_version_does_not_know_is_refused(directory: Path) -> None:
    reseal(directory, model="mff")
    with pytest.raises(NotFound, match=r"model 'mff': .* expected 'mf'"):
        load_package(directory)


def edit_golden(directory: Path, edit: Any) -> None:
    path = directory / "golden.json"
    requests = json.loads(path.read_text())
    path.write_text(json.dumps(edit(requests)))
    reseal(directory)


def changed(requests: list[dict[str, Any]], **changes: Any) -> list[dict[str, Any]]:
    return [{**requests[0], **changes}, *requests[1:]]


def test_another_score_is_found(directory: Path) -> None:
    edit_golden(directory, lambda r: changed(r, scores=[r[0]["scores"][0] + 0.01, *r[0]["scores"][1:]]))
    with pytest.raises(BadInput, match=r"golden request of user 'u0' in .*: found scores up to 0.01 away"):
        check_golden(load_package(directory))


def test_another_item_is_found(directory: Path) -> None:
    edit_golden(directory, lambda r: changed(r, items=[*r[0]["items"][:-1], r[0]["items"][0]]))
    with pytest.raises(BadInput, match=r"golden request of user 'u0' .*: found scores up to"):
        check_golden(load_package(directory))


def test_a_shorter_answer_is_found(directory: Path) -> None:
    edit_golden(directory, lambda r: changed(r, items=[], scores=[], can_score=False))
    with pytest.raises(BadInput, match="found 10 items, can_score True; expected 0 items, can_score False"):
        check_golden(load_package(directory))


def test_too_few_golden_requests_are_refused(directory: Path) -> None:
    edit_golden(directory, lambda r: r[:7])
    with pytest.raises(BadInput, match=r"golden.json: found 7 golden requests; expected at least 8"):
        check_golden(load_package(directory))


def test_scores_within_the_tolerance_pass(directory: Path) -> None:
    edit_golden(directory, lambda r: changed(r, scores=[score + 5e-5 for score in r[0]["scores"]]))
    assert check_golden(load_package(directory)) == 10


def test_check_answers_by_exit_code(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(directory)]) == 0
    assert main([]) == 2
    assert "usage: python -m training.check" in capsys.readouterr().err
    (directory / "golden.json").unlink()
    assert main([str(directory)]) == 2
    assert "golden.json: found no file" in capsys.readouterr().err


def test_check_in_a_clean_process_loads_no_feature_store_and_no_tracker(directory: Path) -> None:
    code = (
        "import sys; from training.check import main; code = main(sys.argv[1:]); "
        "strangers = {'feast', 'mlflow', 'great_expectations', 'bentoml'} & set(sys.modules); "
        "sys.exit(code or ', '.join(strangers) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(directory)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
