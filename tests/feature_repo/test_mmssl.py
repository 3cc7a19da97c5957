"""Reading the MMSSL layout, and what is said when it is not one."""

import pickle
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
from scipy import sparse

from contracts.errors import BadInput, NotFound
from contracts.tables import check_table
from feature_repo.readers.mmssl import read_mmssl

DAY = timedelta(days=1)
START = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def directory(tmp_path: Path, mmssl_reference: Path) -> Path:
    return Path(shutil.copytree(mmssl_reference, tmp_path / "tiny"))


def load(directory: Path, part: str) -> sparse.coo_matrix:
    return pickle.loads((directory / f"{part}Mat.pkl").read_bytes())  # noqa: S301


def save(directory: Path, part: str, matrix: object) -> None:
    (directory / f"{part}Mat.pkl").write_bytes(pickle.dumps(matrix))


def test_every_interaction_and_vector_arrives(directory: Path) -> None:
    raw = read_mmssl(directory)
    for name, table in raw.tables.items():
        check_table(name, table)
    events = raw.tables["interactions"].to_pydict()
    found = {"trn": set(), "val": set(), "tst": set()}
    for user, video, moment in zip(events["user_id"], events["video_id"], events["event_time"], strict=True):
        day = (moment - START) // DAY
        found[("trn", "val", "tst")[day]].add((int(user[1:]), int(video[1:])))
    for part, pairs in found.items():
        matrix = load(directory, part)
        assert pairs == set(zip(matrix.row.tolist(), matrix.col.tolist(), strict=True))
    features = np.load(directory / "audio_feat.npy")
    table = raw.tables["embedding_acoustic"]
    assert table["video_id"].to_pylist() == [f"v{row}" for row in range(len(features))]
    np.testing.assert_array_equal(np.array(table["vector"].to_pylist(), np.float32), features.astype(np.float32))


def test_nominal_times_and_split(directory: Path) -> None:
    raw = read_mmssl(directory, dataset="given")
    assert raw.dataset == "given"
    assert read_mmssl(directory).dataset == "tiny"
    assert raw.split.nominal
    assert (raw.split.train_until, raw.split.validation_until) == (START + DAY, START + 2 * DAY)
    own = raw.tables["interactions"].filter(pc.field("user_id") == "u3")
    times = [moment for moment in own["event_time"].to_pylist() if moment < START + DAY]
    assert times == [START + timedelta(seconds=n) for n in range(7)]
    matrix = load(directory, "trn")
    assert own["video_id"].to_pylist()[:7] == [f"v{item}" for item in matrix.col[matrix.row == 3]]


def test_a_very_busy_user_stays_within_the_day(directory: Path) -> None:
    items = 100_000
    save(directory, "trn", sparse.coo_matrix(np.ones((1, items))))
    empty = sparse.coo_matrix((1, items))
    save(directory, "val", empty)
    save(directory, "tst", empty)
    for name in ("image", "audio"):
        np.save(directory / f"{name}_feat.npy", np.ones((items, 1), np.float16))
    times = read_mmssl(directory).tables["interactions"]["event_time"]
    assert len(times.unique()) == items
    assert pc.max(times).as_py() < START + DAY


def test_specs_say_what_the_files_are(directory: Path) -> None:
    np.save(directory / "text_feat.npy", np.ones((40, 3), np.float64))
    specs = read_mmssl(directory).specs
    assert set(specs) == {"visual", "acoustic", "textual"}
    assert (specs["visual"].encoder, specs["visual"].dtype, specs["visual"].width) == (
        "mmssl-image_feat",
        "float16",
        16,
    )
    assert (specs["textual"].encoder, specs["textual"].dtype, specs["textual"].width) == (
        "mmssl-text_feat",
        "float32",
        3,
    )


def test_another_delivery_has_the_same_spec_so_that_it_is_compared_with_the_last(directory: Path) -> None:
    before = read_mmssl(directory)
    np.save(directory / "image_feat.npy", np.ones((40, 16), np.float16))
    after = read_mmssl(directory)
    assert after.specs == before.specs
    assert not after.tables["embedding_visual"].equals(before.tables["embedding_visual"])


def test_reads_the_published_data(public_data: Path) -> None:
    raw = read_mmssl(public_data / "tiktok")
    assert {name: table.num_rows for name, table in raw.tables.items()} == {
        "interactions": 68_722,
        "users": 9_308,
        "videos": 6_710,
        "embedding_visual": 6_710,
        "embedding_acoustic": 6_710,
    }


def test_names_all_missing_files_at_once(directory: Path) -> None:
    (directory / "valMat.pkl").unlink()
    (directory / "audio_feat.npy").unlink()
    (directory / "image_feat.npy").unlink()
    with pytest.raises(NotFound, match=r"no valMat\.pkl, features .*at least one of image_feat\.npy, audio_feat\.npy"):
        read_mmssl(directory)


@pytest.mark.parametrize("present", [{"image", "text"}, {"text"}, {"audio"}])
def test_any_one_modality_is_enough(directory: Path, present: set[str]) -> None:
    np.save(directory / "text_feat.npy", np.ones((40, 3), np.float32))
    for name in {"image", "audio", "text"} - present:
        (directory / f"{name}_feat.npy").unlink()
    raw = read_mmssl(directory)
    expected = {{"image": "visual", "audio": "acoustic", "text": "textual"}[name] for name in present}
    assert set(raw.specs) == expected
    assert {name for name in raw.tables if name.startswith("embedding_")} == {f"embedding_{m}" for m in expected}


@pytest.mark.parametrize("name", ["absent", "trnMat.pkl"])
def test_the_path_must_be_a_directory(directory: Path, name: str) -> None:
    with pytest.raises(NotFound, match="expected a directory in the MMSSL layout"):
        read_mmssl(directory / name)


@pytest.mark.parametrize("keep", [0, 5, 60, 200, -10])
def test_truncated_features(directory: Path, keep: int) -> None:
    path = directory / "image_feat.npy"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadInput, match=r"image_feat\.npy: found a damaged or truncated \.npy"):
        read_mmssl(directory)


def test_garbled_features_and_hidden_pickles(directory: Path) -> None:
    path = directory / "image_feat.npy"
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(BadInput, match="damaged or truncated"):
        read_mmssl(directory)
    path.write_bytes(b"\x00" * 500)
    with pytest.raises(BadInput, match="damaged or truncated"):
        read_mmssl(directory)


@pytest.mark.parametrize(
    "array", [np.ones(40, np.float32), np.ones((40, 0), np.float32), np.ones((40, 2), np.int64), np.ones((40, 2, 2))]
)
def test_features_of_another_kind(directory: Path, array: np.ndarray) -> None:
    np.save(directory / "image_feat.npy", array)
    with pytest.raises(BadInput, match="expected two dimensions, items x width"):
        read_mmssl(directory)


@pytest.mark.parametrize("rows", [39, 41])
def test_row_count_must_be_that_of_the_interactions(directory: Path, rows: int) -> None:
    np.save(directory / "image_feat.npy", np.ones((rows, 2), np.float32))
    with pytest.raises(BadInput, match=f"found {rows} rows; expected 40, one for each item"):
        read_mmssl(directory)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_features_must_be_finite(directory: Path, bad: float) -> None:
    features = np.ones((40, 2), np.float32)
    features[7, 1] = features[30] = bad
    np.save(directory / "image_feat.npy", features)
    with pytest.raises(BadInput, match="NaN or infinity in 2 rows, the first at row 7"):
        read_mmssl(directory)


def test_finite_numbers_that_float32_cannot_hold(directory: Path) -> None:
    features = np.ones((40, 2))
    features[5, 0] = 1e300
    np.save(directory / "image_feat.npy", features)
    with pytest.raises(BadInput, match="infinity in 1 rows, the first at row 5 once stored as float32"):
        read_mmssl(directory)


def test_an_archive_under_the_name_of_an_array(directory: Path) -> None:
    with (directory / "image_feat.npy").open("wb") as file:
        np.savez(file, features=np.ones((40, 2)))
    with pytest.raises(BadInput, match=r"image_feat\.npy: found an archive of arrays \(\.npz\)"):
        read_mmssl(directory)


@pytest.mark.parametrize("bad", [-1.0, 0.0, np.nan, np.inf, 1e300, 1e-300])
def test_weights_must_be_positive(directory: Path, bad: float) -> None:
    matrix = load(directory, "trn")
    matrix.data[[4, 9]] = bad
    save(directory, "trn", matrix)
    with pytest.raises(BadInput, match=r"trnMat\.pkl: found 2 interactions that are negative, zero or not a number"):
        read_mmssl(directory)


def test_duplicates_inside_a_matrix(directory: Path) -> None:
    matrix = load(directory, "val")
    twice = sparse.coo_matrix(
        (np.ones(matrix.nnz + 1), (np.append(matrix.row, matrix.row[0]), np.append(matrix.col, matrix.col[0]))),
        shape=matrix.shape,
    )
    save(directory, "val", twice)
    with pytest.raises(BadInput, match=r"valMat\.pkl: found 1 duplicate interactions \(more than once in it\)"):
        read_mmssl(directory)


def test_duplicates_across_the_split(directory: Path) -> None:
    save(directory, "tst", load(directory, "trn"))
    with pytest.raises(BadInput, match=r"tstMat\.pkl: found 168 duplicate interactions \(in it and in an earlier part"):
        read_mmssl(directory)


def test_matrices_of_different_shapes(directory: Path) -> None:
    save(directory, "val", sparse.coo_matrix((24, 41)))
    with pytest.raises(BadInput, match=r"valMat\.pkl: found a matrix of shape \(24, 41\); expected shape \(24, 40\)"):
        read_mmssl(directory)


def test_no_training_interactions(directory: Path) -> None:
    save(directory, "trn", sparse.coo_matrix((24, 40)))
    with pytest.raises(BadInput, match=r"trnMat\.pkl: found no interactions"):
        read_mmssl(directory)


@pytest.mark.parametrize(("value", "named"), [(np.ones((24, 40)), "ndarray"), ({"a": 1}, "dict"), (None, "NoneType")])
def test_pickles_of_something_else(directory: Path, value: object, named: str) -> None:
    save(directory, "trn", value)
    with pytest.raises(BadInput, match=f"found a pickled {named}; expected a SciPy sparse matrix"):
        read_mmssl(directory)


def test_an_unsafe_pickle_is_refused(directory: Path, make_mmssl: Callable[..., Path]) -> None:
    save(directory, "trn", Path)
    with pytest.raises(BadInput, match=r"asks for pathlib\.Path; it was not run"):
        read_mmssl(directory)


def _spoilt_header(path: Path, shape: str) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + b"\0" * 64)


@pytest.mark.parametrize("shape", ["(32, 4000000000000)", "(32, 100000000)", "(32, 8"])
def test_a_header_that_declares_more_than_the_file_holds(tmp_path: Path, make_mmssl, shape: str) -> None:
    folder = make_mmssl(tmp_path / "data")
    _spoilt_header(folder / "image_feat.npy", shape)
    with pytest.raises(BadInput, match=r"image_feat\.npy: found a damaged or truncated \.npy file"):
        read_mmssl(folder)


def test_a_matrix_that_declares_absurdly_many_users(tmp_path: Path, make_mmssl) -> None:
    folder = make_mmssl(tmp_path / "data")
    matrix = sparse.coo_matrix(([1.0], ([0], [0])), shape=(500_000_000, 64))
    (folder / "trnMat.pkl").write_bytes(pickle.dumps(matrix))
    with pytest.raises(BadInput, match="500,000,000 users x 64 items; expected at most 10,000,000"):
        read_mmssl(folder)
