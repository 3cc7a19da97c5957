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
from training.candidate_generation import Candidates, candidate_vectors, candidates_of
from training.check import main
from training.golden import check_golden
from training.hnsw import HnswIndex
from training.models import MODELS
from training.packages import load_package, write_package
from training.recommender import Catalogue, Recommender
from training.requests import user_batch
from training.retrieval import ExactIndex

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


@pytest.fixture(scope="module")
def shortlisted(
    frame: TrainingFrame, manifest_of: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A package of NeuMF that ranks 24 candidates, which are found by a graph."""
    directory = tmp_path_factory.mktemp("packages") / "neumf"
    directory.mkdir()
    entry = MODELS["neumf"]
    model = entry.model(entry.config(max_epochs=1), Catalogue.of(frame))
    model.fit(frame, seed=0)
    vectors = candidate_vectors(frame.train, (len(frame.users), len(frame.items)))
    candidates = Candidates(vectors, HnswIndex(vectors), frame.popularity, 24)
    facts = {"index": IndexInfo(kind="hnsw", recall=0.9), "candidates": 24}
    manifest = manifest_of("neumf", model, frame).model_copy(update=facts)
    write_package(directory, model, frame, manifest, candidates=candidates)
    return directory


def test_a_scorer_is_packed_with_what_its_candidates_are_found_by(shortlisted: Path, frame: TrainingFrame) -> None:
    package = load_package(shortlisted)
    assert {"candidate_vectors.npy", "index.faiss"} <= set(package.manifest.files)
    assert (package.item_vectors, package.manifest.candidates) == (None, 24)
    assert package.candidate_vectors is not None
    history = frame.history[3]
    by_graph, exactly = candidates_of(package), candidates_of(package, ExactIndex(package.candidate_vectors))
    assert by_graph is not None
    assert exactly is not None
    assert by_graph.index is package.index
    near = [
        np.sort(package.candidate_vectors[each.of(history, 0, history)] @ each.user_vector(history))
        for each in (by_graph, exactly)
    ]
    assert len(near[0]) == 24
    assert near[0] == pytest.approx(near[1], abs=1e-6), "items of other groups are all as far away"
    assert check_golden(package) == 10


def test_candidates_by_vectors_of_other_items_are_refused(shortlisted: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(shortlisted, tmp_path / "package")
    np.save(directory / "candidate_vectors.npy", np.load(directory / "candidate_vectors.npy")[:-1])
    reseal(directory)
    with pytest.raises(BadInput, match=r"candidate_vectors.npy: found 63 rows; expected 64 items"):
        load_package(directory)


def test_a_package_of_before_candidates_ranks_everything_and_keeps_its_hash(directory: Path) -> None:
    document = json.loads((directory / "manifest.json").read_text())
    assert document.pop("candidates") == 0
    hashed = read_manifest(directory).package_sha256
    (directory / "manifest.json").write_text(json.dumps(document))
    package = load_package(directory)
    assert package.manifest.package_sha256 == hashed
    assert (package.candidate_vectors, candidates_of(package)) == (None, None)


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
