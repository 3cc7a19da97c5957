"""Reader of the directory layout that MMSSL and DiffMM publish.

One sparse matrix of users x items per part of the split, one .npy of items x width per modality.
"""

from pathlib import Path
from tokenize import TokenError

import numpy as np
import numpy.typing as npt
from scipy import sparse

from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput, NotFound
from feature_repo.raw_tables import RawTables, assemble, numbered_ids
from feature_repo.readers.nominal import NOMINAL_SPLIT, day_of_part, seconds_of_day
from feature_repo.readers.restricted_pickle import load_restricted

__all__ = ["read_mmssl"]

_PARTS = {"train": "trnMat.pkl", "validation": "valMat.pkl", "test": "tstMat.pkl"}
_FEATURES = {"visual": "image_feat.npy", "acoustic": "audio_feat.npy", "textual": "text_feat.npy"}

_MOST_ROWS = 10_000_000
"""Users or items of one data set; a matrix that declares more is damaged."""


def read_mmssl(path: Path, dataset: str | None = None) -> RawTables:
    """Read a data set in the MMSSL layout.

    The publishers give a split but no times, so the times here are nominal: training events fall on 2000-01-01,
    validation events on the day after, test events on the day after that, and each user's events of a day follow
    each other second by second in the order of the matrix.

    Args:
        path: Directory with ``trnMat.pkl``, ``valMat.pkl``, ``tstMat.pkl`` (users x items, SciPy sparse),
            and at least one of ``image_feat.npy``, ``audio_feat.npy`` and ``text_feat.npy`` (items x width).
        dataset: Name to give the data; the directory's name if None.

    Raises:
        NotFound: The directory or some of its files are missing.
        BadInput: A file is damaged, unsafe, or does not fit the others.
    """
    _require_files(path)
    parts = {part: _read_matrix(path / file) for part, file in _PARTS.items()}
    shape = parts["train"].shape
    for part, file in _PARTS.items():
        if parts[part].shape != shape:
            raise BadInput(
                path / file,
                found=f"a matrix of shape {parts[part].shape}",
                expected=f"shape {shape} as in {_PARTS['train']}",
                next_step="take all three matrices from the same publication",
            )
    if parts["train"].nnz == 0:
        raise BadInput(
            path / _PARTS["train"],
            found="no interactions",
            expected="at least one training interaction",
            next_step="check that the file is the training matrix",
        )
    _refuse_overlap(path, parts)
    user_count, item_count = shape
    files = {modality: path / file for modality, file in _FEATURES.items() if (path / file).is_file()}
    features = {modality: _read_features(file, item_count, path) for modality, file in files.items()}
    every = np.arange(item_count)
    start = day_of_part(0)
    return assemble(
        users=numbered_ids("u", user_count),
        users_known=np.full(user_count, start),
        videos=numbered_ids("v", item_count),
        videos_published=np.full(item_count, start),
        user_rows=np.concatenate([part.row for part in parts.values()]).astype(np.int64),
        video_rows=np.concatenate([part.col for part in parts.values()]).astype(np.int64),
        weights=np.concatenate([part.data.astype(np.float32) for part in parts.values()]),
        event_times=np.concatenate([day_of_part(day) + seconds_of_day(m.row) for day, m in enumerate(parts.values())]),
        vectors={modality: (every, matrix) for modality, (matrix, _) in features.items()},
        specs={modality: _spec(modality, files[modality], *found) for modality, found in features.items()},
        split=NOMINAL_SPLIT,
        dataset=dataset or path.resolve().name,
        source=f"mmssl {path.resolve()}",
    )


def _require_files(path: Path) -> None:
    if not path.is_dir():
        raise NotFound(
            path,
            found="a file" if path.exists() else "nothing there",
            expected="a directory in the MMSSL layout",
            next_step="check the path",
        )
    missing = [file for file in _PARTS.values() if not (path / file).is_file()]
    if not any((path / file).is_file() for file in _FEATURES.values()):
        missing.append(f"features ({', '.join(_FEATURES.values())})")
    if missing:
        raise NotFound(
            path,
            found=f"no {', '.join(missing)}",
            expected=f"{', '.join(_PARTS.values())} and at least one of {', '.join(_FEATURES.values())}",
            next_step="add the missing files from the publisher's copy, then run the command again",
        )


def _read_matrix(path: Path) -> sparse.coo_array:
    matrix = load_restricted(path)
    if not isinstance(matrix, sparse.coo_array):
        raise BadInput(
            path,
            found=f"a pickled {type(matrix).__name__}",
            expected="a SciPy sparse matrix, users x items",
            next_step="save the interactions as scipy.sparse.coo_matrix",
        )
    if max(matrix.shape) > _MOST_ROWS:
        raise BadInput(
            path,
            found=f"a matrix of {matrix.shape[0]:,} users x {matrix.shape[1]:,} items",
            expected=f"at most {_MOST_ROWS:,} of either",
            next_step="number users and items without gaps and save the matrix again",
        )
    with np.errstate(over="ignore"):
        weights = matrix.data.astype(np.float32)  # as they are stored
    bad = ~(np.isfinite(weights) & (weights > 0))
    if bad.any():
        first = int(np.argmax(bad))
        raise BadInput(
            path,
            found=f"{int(bad.sum()):,} interactions that are negative, zero or not a number, the first "
            f"{matrix.data[first]} at user {matrix.row[first]}, item {matrix.col[first]}",
            expected="weights that are positive and finite as float32",
            next_step="leave those entries out of the matrix",
        )
    return matrix


def _refuse_overlap(path: Path, parts: dict[str, sparse.coo_array]) -> None:
    """Each user-item pair may stand once, in one matrix."""
    item_count = parts["train"].shape[1]
    keys = {part: m.row.astype(np.int64) * item_count + m.col for part, m in parts.items()}
    seen = np.empty(0, np.int64)
    for part, own in keys.items():
        values, counts = np.unique(own, return_counts=True)
        twice, earlier = values[counts > 1], values[np.isin(values, seen)]
        for pairs, where in ((twice, "more than once in it"), (earlier, "in it and in an earlier part of the split")):
            if len(pairs):
                user, item = divmod(int(pairs[0]), item_count)
                raise BadInput(
                    path / _PARTS[part],
                    found=f"{len(pairs):,} duplicate interactions ({where}), the first user {user}, item {item}",
                    expected="each user-item pair once, in one of the three matrices",
                    next_step="remove the duplicates from the matrix",
                )
        seen = np.concatenate([seen, values])


def _read_features(
    file: Path, item_count: int, directory: Path
) -> tuple[npt.NDArray[np.float32], np.dtype[np.floating]]:
    """The features as they are stored, ``[N, width]``, and the type the file has them in."""
    try:
        # Mapped, not read: a header that declares more than the file holds is found out before anything is allocated.
        matrix = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError, OverflowError, TokenError) as error:
        raise BadInput(
            file,
            found=f"a damaged or truncated .npy file ({str(error).splitlines()[0]})",
            expected="a whole .npy file of numbers",
            next_step="get the file again from its publisher and compare its size",
        ) from None
    if not isinstance(matrix, np.ndarray):
        matrix.close()
        raise BadInput(
            file,
            found="an archive of arrays (.npz)",
            expected="one array, items x width, in the .npy format",
            next_step="save the array itself with numpy.save",
        )
    if matrix.ndim != 2 or matrix.dtype.kind != "f" or matrix.dtype.itemsize > 8 or matrix.shape[1] == 0:
        raise BadInput(
            file,
            found=f"an array of shape {matrix.shape} and type {matrix.dtype}",
            expected="two dimensions, items x width, of float16, float32 or float64",
            next_step="save the features as one row of floats for each item",
        )
    if len(matrix) != item_count:
        raise BadInput(
            file,
            found=f"{len(matrix):,} rows",
            expected=f"{item_count:,}, one for each item of the matrices in {directory}",
            next_step="take features and interactions from the same publication",
        )
    with np.errstate(over="ignore"):
        stored = matrix.astype(np.float32)
    bad = ~np.isfinite(stored).all(axis=1)
    if bad.any():
        cause = " once stored as float32" if np.isfinite(matrix).all() else ""
        raise BadInput(
            file,
            found=f"NaN or infinity in {int(bad.sum()):,} rows, the first at row {int(np.argmax(bad))}{cause}",
            expected="finite numbers only",
            next_step="encode those items again, or replace their rows",
        )
    return stored, matrix.dtype


def _spec(
    modality: str, file: Path, matrix: npt.NDArray[np.float32], published: np.dtype[np.floating]
) -> EmbeddingSpec:
    return EmbeddingSpec.model_validate(
        {
            "modality": modality,
            "encoder": f"mmssl-{file.stem}",
            # Not the file's hash: the next delivery by the same encoder is compared with this one, by what it holds.
            "revision": "published",
            "preprocessing": "as published",
            "width": matrix.shape[1],
            "dtype": "float16" if published == np.float16 else "float32",
            "normalisation": "none",
        }
    )
