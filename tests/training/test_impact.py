"""What a package's users would see with other vectors and events."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput, NotFound
from contracts.home import Home
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from contracts.vocabulary import UNKNOWN, Vocabulary
from feature_repo.frame import TrainingFrame
from feature_repo.offline import write_snapshot
from feature_repo.raw_tables import RawTables
from feature_repo.readers.mmssl import read_mmssl
from training.impact import impact, main
from training.packages import LoadedPackage
from training.remeasure import remeasure

CONTENT = ("vbpr", "m3csr")
Packages = Mapping[str, LoadedPackage]


@pytest.fixture(scope="module")
def packages(pack: Callable[..., Any], frame: TrainingFrame, tmp_path_factory: pytest.TempPathFactory) -> Packages:
    root = tmp_path_factory.mktemp("packages")
    return {name: pack(root / name, frame, name) for name in (*CONTENT, "popularity", "mf")}


def with_vectors(
    frame: TrainingFrame, change: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]], *modalities: str
) -> TrainingFrame:
    """A frame some of whose modalities are changed."""
    changed = {name: change(frame.modalities[name].copy()) for name in modalities or frame.modalities}
    return replace(frame, modalities=frame.modalities | changed)


def without_rows(frame: TrainingFrame, rows: list[int], modality: str) -> TrainingFrame:
    gone = np.isin(np.arange(len(frame.items)), rows)
    vectors = np.where(gone[:, None], 0, frame.modalities[modality])
    return replace(
        frame,
        modalities=frame.modalities | {modality: vectors},
        missing=frame.missing | {modality: frame.missing[modality] | gone},
    )


def filled(rows: list[int], value: float) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    def fill(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        vectors[rows] = value
        return vectors

    return fill


def shuffle(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return vectors[np.random.default_rng(7).permutation(len(vectors))]


@pytest.mark.parametrize("name", [*CONTENT, "popularity", "mf"])
def test_the_same_data_change_nothing_at_all(packages: Packages, frame: TrainingFrame, name: str) -> None:
    found = impact(packages[name], frame, frame)
    assert found["reads_content"] == (name in CONTENT)
    assert found["notes"] == []
    assert found["users"] == found["held_out_users"] == len(frame.users)
    assert found["churn"] == {"10": 0.0, "20": 0.0}
    assert found["first_changed"] == found["coverage"]["change"] == 0
    assert found["items"] == {"entering": 0, "leaving": 0, "new": 0, "new_listed": None, "new_share": None}
    for figures in found["metrics"].values():
        assert (figures["change"], figures["low"], figures["high"]) == (0, 0, 0)
    measured, _ = remeasure(packages[name], frame)
    # Items that as many have seen stand in some order in a list; in a measurement none of them is favoured.
    slack = 0.05 if name == "popularity" else 1e-6
    for metric in ("recall_at_20", "ndcg_at_20"):
        assert found["metrics"][metric]["before"] == pytest.approx(measured[f"validation_{metric}"], abs=slack)


@pytest.mark.parametrize("name", CONTENT)
def test_vectors_of_other_items_cost_the_model_its_ranking(packages: Packages, frame: TrainingFrame, name: str) -> None:
    found = impact(packages[name], frame, with_vectors(frame, shuffle))
    assert found["churn"]["10"] > 0.3
    assert found["churn"]["20"] > 0.15
    assert found["first_changed"] > 0.3
    for figures in found["metrics"].values():
        assert figures["change"] < -0.05
        assert figures["low"] < figures["change"] < figures["high"] < 0
        assert figures["after"] - figures["before"] == pytest.approx(figures["change"])


def test_a_little_noise_costs_less(packages: Packages, frame: TrainingFrame) -> None:
    def noisy(vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        noise = np.random.default_rng(0).normal(scale=0.01, size=vectors.shape).astype(np.float32)
        return np.where(vectors.any(axis=1, keepdims=True), vectors + noise, 0)

    little = impact(packages["vbpr"], frame, with_vectors(frame, noisy))
    much = impact(packages["vbpr"], frame, with_vectors(frame, shuffle))
    assert 0 <= little["churn"]["20"] < 0.1 < much["churn"]["20"]


@pytest.mark.parametrize("name", ["popularity", "mf"])
def test_embeddings_do_not_enter_a_model_on_ids(packages: Packages, frame: TrainingFrame, name: str) -> None:
    found = impact(packages[name], frame, with_vectors(frame, shuffle))
    assert not found["reads_content"]
    assert found["churn"] == {"10": 0.0, "20": 0.0}


@pytest.mark.parametrize("name", [*CONTENT, "popularity", "mf"])
def test_lost_events_bring_back_what_was_seen(packages: Packages, frame: TrainingFrame, name: str) -> None:
    history = np.full_like(frame.history, -1)
    history[:, :3] = frame.history[:, :3]
    after = replace(frame, train=frame.train[::2], history=history)
    found = impact(packages[name], frame, after)
    assert found["churn"]["20"] > 0.02
    assert found["notes"] == []


@pytest.mark.parametrize("name", CONTENT)
def test_rows_that_are_not_finite_count_as_missing(packages: Packages, frame: TrainingFrame, name: str) -> None:
    rows = list(range(10, 22))
    found = impact(packages[name], frame, with_vectors(frame, filled(rows, np.nan), "visual"))
    assert found["notes"] == [
        "12 items have no finite visual vector in this snapshot: treated as missing",
        "12 items have no usable visual vector any more",
    ]
    absent = impact(packages[name], frame, without_rows(frame, rows, "visual"))
    assert absent["notes"] == found["notes"][1:]
    assert {**found, "notes": []} == {**absent, "notes": []}
    assert found["churn"]["20"] > 0
    infinite = impact(packages[name], frame, with_vectors(frame, filled([3], -np.inf), "visual"))
    assert infinite["notes"][0].startswith("1 item has no finite visual vector")


@pytest.mark.parametrize("name", CONTENT)
@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_modality_without_a_vector_that_says_anything(
    packages: Packages, frame: TrainingFrame, name: str, value: float
) -> None:
    found = impact(packages[name], frame, with_vectors(frame, filled(list(range(64)), value), "acoustic"))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["churn"]["20"] > 0
    assert any("acoustic" in sentence for sentence in found["notes"])


def test_vectors_too_large_to_score(packages: Packages, frame: TrainingFrame) -> None:
    after = with_vectors(frame, lambda vectors: vectors * np.float32(1e37))
    with pytest.raises(BadInput, match="scores of the m3csr champion with the vectors of this snapshot: found values"):
        impact(packages["m3csr"], frame, after)


def test_vectors_of_another_spec(packages: Packages, frame: TrainingFrame) -> None:
    def specs(**change: object) -> dict[str, EmbeddingSpec]:
        return frame.specs | {"visual": frame.specs["visual"].model_copy(update=change)}

    other = impact(packages["vbpr"], frame, replace(frame, specs=specs(revision="2")))
    assert other["churn"]["20"] == 0
    assert other["notes"] == [
        "the visual vectors of this snapshot have revision '2', the model was trained on revision '1': "
        "taken as if they were the same"
    ]
    narrow = replace(with_vectors(frame, lambda vectors: vectors[:, :8], "visual"), specs=specs(width=8))
    assert impact(packages["vbpr"], frame, narrow)["notes"][0].endswith("trained on width 16: treated as missing")
    modalities, missing = ({"acoustic": each["acoustic"]} for each in (frame.modalities, frame.missing))
    without = replace(frame, modalities=modalities, missing=missing, specs={"acoustic": frame.specs["acoustic"]})
    found = impact(packages["vbpr"], frame, without)
    assert found["notes"][0] == "this snapshot has no visual vectors: treated as missing"
    assert found["churn"] == impact(packages["vbpr"], frame, narrow)["churn"]


@pytest.mark.parametrize("name", CONTENT)
def test_new_items_are_listed_by_what_they_contain(packages: Packages, frame: TrainingFrame, name: str) -> None:
    def grown(with_content: bool) -> TrainingFrame:
        ids = frame.items.ids(range(len(frame.items)))
        more = {
            modality: vectors[:4] if with_content else 0 * vectors[:4] for modality, vectors in frame.modalities.items()
        }
        return replace(
            frame,
            items=Vocabulary([*ids, "n0", "n1", "n2", "n3"]),
            modalities={each: np.concatenate([frame.modalities[each], more[each]]) for each in more},
            missing={each: np.r_[frame.missing[each], np.full(4, not with_content)] for each in more},
            popularity=np.r_[frame.popularity, np.zeros(4, np.int64)],
        )

    found = impact(packages[name], grown(False), grown(True))
    assert found["churn"]["20"] == 0
    assert found["items"]["new"] == 4
    assert 0 < found["items"]["new_listed"] <= 4
    assert 0 < found["items"]["new_share"] < 0.2
    strangers = Vocabulary([f"stranger {row}" for row in range(len(frame.users))])
    before, after = (replace(grown(each), users=strangers) for each in (False, True))
    found = impact(packages[name], before, replace(after, history=np.full_like(after.history, UNKNOWN)))
    assert (found["items"]["new_listed"], found["items"]["new_share"]) == (0, None), "no list has anything in it"
    json.dumps(found, allow_nan=False)
    by_ids = impact(packages["mf"], grown(False), grown(True))
    assert by_ids["items"] == {"entering": 0, "leaving": 0, "new": 4, "new_listed": None, "new_share": None}


@pytest.mark.parametrize("name", CONTENT)
def test_rows_in_another_order_mean_the_same(packages: Packages, frame: TrainingFrame, name: str) -> None:
    order = np.random.default_rng(3).permutation(len(frame.items))
    rank = np.argsort(order)

    def renumbered(pairs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        return np.stack([pairs[:, 0], rank[pairs[:, 1]]], axis=1)

    def moved(each: TrainingFrame) -> TrainingFrame:
        return replace(
            each,
            items=Vocabulary([each.items.ids([row])[0] for row in order]),
            train=renumbered(each.train),
            validation=renumbered(each.validation),
            history=np.where(each.history >= 0, rank[each.history], -1),
            popularity=each.popularity[order],
            modalities={modality: vectors[order] for modality, vectors in each.modalities.items()},
            missing={modality: missing[order] for modality, missing in each.missing.items()},
        )

    after = with_vectors(frame, filled([8, 9], np.nan), "visual")
    plain = impact(packages[name], frame, after)
    found = impact(packages[name], moved(frame), moved(after))
    assert found["notes"] == plain["notes"]
    assert found["churn"]["10"] == pytest.approx(plain["churn"]["10"], abs=0.01)
    for metric, figures in plain["metrics"].items():
        assert found["metrics"][metric]["before"] == pytest.approx(figures["before"], abs=0.01)


def test_nobody_with_a_history_and_nothing_held_out(packages: Packages, frame: TrainingFrame) -> None:
    nothing = replace(frame, validation=frame.validation[:0])
    found = impact(packages["mf"], nothing, nothing)
    assert (found["held_out_users"], found["metrics"]) == (0, {})
    strangers = replace(frame, history=np.full_like(frame.history, -1))
    with pytest.raises(NotFound, match="no user with an event before the end of training"):
        impact(packages["mf"], strangers, frame)


def test_of_many_users_the_same_sample_is_taken(
    packages: Packages, frame: TrainingFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training import impact as module

    monkeypatch.setattr(module, "_USERS", 10)
    monkeypatch.setattr(module, "_FEW_USERS", 10)
    after = with_vectors(frame, shuffle)
    found = impact(packages["vbpr"], frame, after)
    assert (found["users"], found["held_out_users"]) == (10, 40)
    assert found == impact(packages["vbpr"], frame, after)


@pytest.fixture
def two_snapshots(make_mmssl: Callable[..., Path], home: Home, tmp_path: Path) -> tuple[Snapshot, Snapshot, RawTables]:
    """A good snapshot and one whose visual vectors are in another order and partly NaN; no features are applied."""
    raw = read_mmssl(make_mmssl(tmp_path / "data"), "blocks")
    table = raw.tables["embedding_visual"]
    vectors = table["vector"].to_pylist()[::-1]
    vectors[0] = [float("nan")] * 16
    broken = table.set_column(1, table.schema.field(1), pa.array(vectors, table.schema.field(1).type))
    with home.writing("test"):
        good, _ = write_snapshot(home, raw)
        bad, _ = write_snapshot(home, replace(raw, tables={**raw.tables, "embedding_visual": broken}))
    return good, bad, raw


def contents(root: Path) -> dict[str, tuple[int, int]]:
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


def test_the_document(
    two_snapshots: tuple[Snapshot, Snapshot, RawTables],
    packages: Packages,
    settings: Settings,
    home: Home,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good, bad, _ = two_snapshots
    monkeypatch.setenv("BACKBEAT_HOME", str(home.root))
    monkeypatch.setenv("BACKBEAT_DEVICE", "cpu")
    before = contents(home.root)
    package = str(packages["vbpr"].directory)

    assert main([package, bad.id, good.id]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["snapshot"], document["baseline"], document["model"]) == (bad.id, good.id, "vbpr")
    assert "1 item has no finite visual vector in this snapshot: treated as missing" in document["notes"]
    assert not any("vector in the baseline" in sentence for sentence in document["notes"])
    assert document["churn"]["20"] > 0.1
    assert document["metrics"]["recall_at_20"]["before"] > 0.5
    assert document["metrics"]["recall_at_20"]["change"] < 0

    assert main([package, good.id, good.id]) == 0
    assert json.loads(capsys.readouterr().out)["churn"] == {"10": 0.0, "20": 0.0}
    assert contents(home.root) == before


def test_faults_go_to_standard_error(
    two_snapshots: tuple[Snapshot, Snapshot, RawTables],
    pack: Callable[..., LoadedPackage],
    frame: TrainingFrame,
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good, bad, raw = two_snapshots
    with home.writing("test"):
        other, _ = write_snapshot(home, replace(raw, dataset="other"))
    foreign = pack(tmp_path / "foreign", replace(frame, snapshot=other), "popularity")
    monkeypatch.setenv("BACKBEAT_HOME", str(home.root))
    monkeypatch.setenv("BACKBEAT_DEVICE", "cpu")
    (home.offline / bad.id / "interactions.parquet").unlink()
    for arguments, said in (
        ([], "usage: python -m training.impact PACKAGE SNAPSHOT BASELINE"),
        ([str(tmp_path), bad.id, good.id], "manifest.json: found no manifest"),
        ([str(foreign.directory), bad.id, good.id], "found data set 'blocks'; expected data set 'other'"),
        ([str(foreign.directory), "gone", other.id], "error: snapshot gone: found no"),
    ):
        assert main(arguments) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert said in err
