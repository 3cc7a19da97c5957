"""A team's embeddings: the spec beside them, and vectors that keep what it promises."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from contracts.embeddings import EmbeddingSpec
from contracts.tables import EMBEDDING_PREFIX, ENTITY_KEYS, ENTITY_TABLES, TIMESTAMP, embedding_schema
from feature_repo.raw_tables import microseconds
from feature_repo.readers.own.columns import convert
from feature_repo.readers.own.draft import Draft, check_times, duplicated
from feature_repo.readers.own.files import data_file, read_content
from feature_repo.readers.own.problems import Place, Problems
from feature_repo.readers.own.relations import check_known

__all__ = ["check_ids", "judge_lists", "read_embeddings"]

_ROWS_AT_ONCE = 65_536
_UNIT_TOLERANCE = {"float32": 1e-3, "float16": 1e-2}
_FLOATS = (pa.float16(), pa.float32(), pa.float64())
_LARGEST_FLOAT32 = float(np.finfo(np.float32).max)


def read_embeddings(
    name: str, files: Mapping[str, Path], drafts: Mapping[str, Draft | None], now: datetime, problems: Problems
) -> tuple[EmbeddingSpec, pa.Table] | None:
    """Read ``<name>.json`` and ``<name>.parquet`` or ``<name>.npy``.

    A Parquet file names the entity of each vector; a ``.npy`` has one row for each row of the entity's table, in
    that order. A vector was known once its entity and its encoder were, whatever its own times say.

    Args:
        name: The table, ``embedding_<name>``.
        files: Format → file.
        drafts: The other tables.
        now: The present moment.
        problems: Where problems go.

    Returns:
        The spec and the table; None if either cannot be used.
    """
    spec = _read_spec(name, files, problems)
    file = data_file(files)
    if file is None:
        problems.at(files[".json"].name, name).add(
            "a spec without vectors", allowed=f"{name}.parquet or {name}.npy", hint="add the vectors"
        )
    if spec is None or file is None:
        return None
    owner = drafts.get(ENTITY_TABLES[spec.entity])
    key = ENTITY_KEYS[spec.entity]
    if file.suffix.lower() == ".npy":
        place, columns = problems.at(file.name, name), _columns_of_owner(owner, key)
        vectors = _read_npy(file, spec, None if owner is None else owner.rows, place)
        if ENTITY_TABLES[spec.entity] not in drafts:
            place.add(
                f"vectors in the order of a table that is not there, {ENTITY_TABLES[spec.entity]}",
                allowed="one row of the array for each row of that table",
                hint="add that table, or write the vectors as Parquet",
            )
    else:
        content = read_content(file, name, embedding_schema(spec.entity).names, problems, unread=("vector",))
        if content is None:
            return None
        place = content.place
        schema = embedding_schema(spec.entity)
        read = {
            column: convert(content.table[column], schema.field(column), text=False, place=place)
            for column in content.table.column_names
        }
        columns = {column: values for column, values in read.items() if values is not None}
        for column in (key, "vector"):
            if column not in content.names:
                place.add("a missing column", allowed=column, hint="add it", column=column)
        vectors = _read_lists(file, spec, place) if "vector" in content.names else None
        if key in columns:
            check_ids(columns[key], key, place)
            check_known(columns[key], key, ENTITY_TABLES[spec.entity], drafts, place)
        check_times(columns, place, now)
    if problems.found or vectors is None or owner is None:
        return None
    return spec, _assemble(spec, columns, vectors, owner)


def _read_spec(name: str, files: Mapping[str, Path], problems: Problems) -> EmbeddingSpec | None:
    file = files.get(".json")
    fields = ", ".join(EmbeddingSpec.model_fields)
    if file is None:
        place = problems.at(next(iter(files.values())).name, name)
        place.add(
            "vectors without a spec",
            allowed=f"{name}.json beside them, with {fields}",
            hint="write which encoder, revision and preprocessing made them",
        )
        return None
    place = problems.at(file.name, name)
    try:
        spec = EmbeddingSpec.model_validate_json(file.read_bytes())
    except ValidationError as error:
        for fault in error.errors():
            column = ".".join(str(part) for part in fault["loc"]) or None
            place.add(
                fault["msg"],
                allowed=f"a JSON object with {fields}",
                hint="correct this field" if column else "write one JSON object",
                column=column,
                values=[] if fault["type"] in ("missing", "json_invalid") else [fault["input"]],
            )
        return None
    except OSError as error:
        place.add(f"cannot be read: {error.strerror}", allowed="a JSON file", hint="give yourself the right to read it")
        return None
    allowed = [EMBEDDING_PREFIX + spec.name, f"{EMBEDDING_PREFIX}{spec.name}@{spec.digest[:8]}"]
    if name not in allowed:
        place.add(
            f"a name that its entity {spec.entity} and modality {spec.modality} do not have",
            allowed=f"{allowed[0]}, or {allowed[1]} for a further revision",
            hint="rename the files, or correct the spec",
        )
    return spec


def _columns_of_owner(owner: Draft | None, key: str) -> dict[str, pa.ChunkedArray]:
    return {key: owner.columns[key]} if owner is not None and key in owner.columns else {}


def check_ids(ids: pa.ChunkedArray, key: str, place: Place) -> None:
    """Each entity has one vector."""
    place.add_rows(
        duplicated([ids]),
        "a second vector of the same id",
        allowed="one vector for each id",
        hint="keep the newer one",
        column=key,
        values=ids,
    )


@dataclass
class _Faults:
    """What is wrong with the vectors, gathered block by block."""

    spec: EmbeddingSpec
    lengths: list[npt.NDArray[np.int64]] = field(default_factory=list)
    marks: dict[str, list[npt.NDArray[np.bool_]]] = field(default_factory=dict)

    def see(self, rows: int, right: npt.NDArray[np.bool_], values: npt.NDArray[np.floating]) -> None:
        """Judge one block: which of its ``[rows]`` have the right width, and those rows' ``values`` ``[n, width]``."""
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.isfinite(values).all(axis=1)
            small = (np.abs(values) <= _LARGEST_FLOAT32).all(axis=1)
            found = {"nonfinite": ~finite, "large": finite & ~small}
            if self.spec.dtype == "float16":
                found["precise"] = finite & (values.astype(np.float16).astype(values.dtype) != values).any(axis=1)
            if self.spec.normalisation == "l2":
                norm = np.linalg.norm(values.astype(np.float64), axis=1)
                found["norm"] = finite & (norm > 0) & (np.abs(norm - 1) > _UNIT_TOLERANCE[self.spec.dtype])
        for name, bad in found.items():
            marks = np.zeros(rows, bool)
            marks[np.flatnonzero(right)[bad]] = True
            self.marks.setdefault(name, []).append(marks)

    def report(self, place: Place) -> None:
        """Put what was found among the problems."""
        spec = self.spec
        lengths = np.concatenate([*self.lengths, np.empty(0, np.int64)])
        place.add_rows(
            lengths == -1,
            "nothing (null)",
            allowed="a vector in every row",
            hint="leave the row out",
            column="vector",
            values=np.full(len(lengths), None),
        )
        place.add_rows(
            (lengths != spec.width) & (lengths >= 0),
            f"another width than the {spec.width} of the spec",
            allowed=f"{spec.width} components",
            hint="encode these items again, or correct the width of the spec",
            column="vector",
            values=np.char.add(lengths.astype(str), " components") if len(lengths) else lengths,
        )
        for name, (problem, allowed, hint) in _FAULTS.items():
            marks = np.concatenate([*self.marks.get(name, []), np.empty(0, bool)])
            numbers = np.char.add("vector ", np.arange(len(marks)).astype(str)) if marks.any() else marks
            place.add_rows(marks, problem, allowed=allowed, hint=hint, column="vector", values=numbers)


_FAULTS = {
    "nonfinite": ("NaN, infinity or null in a vector", "finite numbers", "encode these items again, or leave them out"),
    "large": ("a component too large for float32", f"at most {_LARGEST_FLOAT32:g}", "check the encoder's output"),
    "precise": (
        "values that float16 does not have, though the spec says float16",
        "values of the dtype that the spec names",
        "correct dtype in the spec to float32",
    ),
    "norm": (
        "vectors that are not of unit length, though the spec says l2",
        "Euclidean norm 1, or 0 for an item that could not be decoded",
        'normalise them, or write "normalisation": "none"',
    ),
}


def _check_dtype(stored: str, spec: EmbeddingSpec, place: Place) -> None:
    if stored == "float16" and spec.dtype == "float32":
        place.add(
            "dtype float16",
            allowed="float32, as the spec says",
            hint="correct dtype in the spec to float16, or write what the encoder gave",
            column="vector",
        )


def _read_lists(file: Path, spec: EmbeddingSpec, place: Place) -> pa.ChunkedArray | None:
    """The vectors of a Parquet file, ``[n]`` lists of float32, a block at a time; None where one is wrong."""
    try:
        with pq.ParquetFile(file) as source:
            kind = source.schema_arrow.field("vector").type
            blocks = (batch.column(0) for batch in source.iter_batches(_ROWS_AT_ONCE, columns=["vector"]))
            return judge_lists(blocks, kind, spec, place)
    except (pa.ArrowException, OSError) as error:
        reason = f"cannot be read: {str(error).splitlines()[0]}"
        place.add(reason, allowed="a whole .parquet file", hint="write the file again", column="vector")
        return None


def judge_lists(
    blocks: Iterable[pa.Array], kind: pa.DataType, spec: EmbeddingSpec, place: Place
) -> pa.ChunkedArray | None:
    """Vectors as lists of float32, ``[n]``; None where one is not as the spec says.

    Args:
        blocks: The vectors, some at a time.
        kind: Their type.
        spec: What they should be.
        place: Where problems go.
    """
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not lists or kind.value_type not in _FLOATS:
        place.add(
            f"type {kind}",
            allowed="lists of float16, float32 or float64",
            hint="write each vector as a list of floats",
            column="vector",
        )
        return None
    _check_dtype(str(kind.value_type).replace("halffloat", "float16"), spec, place)
    faults, judged, before = _Faults(spec), [], len(place.problems.found)
    for block in blocks:
        lengths = pc.fill_null(pc.list_value_length(block).cast(pa.int64()), -1).to_numpy()
        right = lengths == spec.width
        flat = pc.list_flatten(block.filter(pa.array(right))).to_numpy(zero_copy_only=False)
        values = flat.reshape(-1, spec.width)
        faults.lengths.append(lengths)
        faults.see(len(block), right, values)
        judged.append(_lists(values))
    faults.report(place)
    return pa.chunked_array(judged, pa.list_(pa.float32())) if len(place.problems.found) == before else None


def _read_npy(file: Path, spec: EmbeddingSpec, rows: int | None, place: Place) -> pa.ChunkedArray | None:
    """The vectors of a ``.npy`` file, ``[n]`` lists of float32; None where one is wrong."""
    matrix: Any
    try:
        # Mapped, not read: a header that declares more than the file holds is found out before anything is allocated.
        matrix = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError, OverflowError, TokenError) as error:
        reason = str(error).splitlines()[0]
        place.add(f"cannot be read: {reason}", allowed="a whole .npy file of floats", hint="write the file again")
        return None
    before = len(place.problems.found)
    if not isinstance(matrix, np.ndarray) or matrix.ndim != 2 or matrix.dtype.kind != "f" or matrix.dtype.itemsize > 8:
        found = f"shape {matrix.shape} of {matrix.dtype}" if isinstance(matrix, np.ndarray) else "an archive (.npz)"
        allowed = "two dimensions, rows x width, of float16, float32 or float64"
        place.add(found, allowed=allowed, hint="save one row of floats for each item")
        return None
    if matrix.shape[1] != spec.width:
        place.add(
            f"width {matrix.shape[1]}",
            allowed=f"{spec.width}, as the spec says",
            hint="encode again, or correct the width of the spec",
            column="vector",
        )
    if rows is not None and len(matrix) != rows:
        place.add(
            f"{len(matrix):,} rows",
            allowed=f"{rows:,}, one for each row of {ENTITY_TABLES[spec.entity]}",
            hint="write one row for each, in the same order, or use Parquet with ids",
        )
    _check_dtype(str(matrix.dtype), spec, place)
    if matrix.shape[1] == spec.width:
        faults, blocks = _Faults(spec), []
        for start in range(0, len(matrix), _ROWS_AT_ONCE):
            values = np.asarray(matrix[start : start + _ROWS_AT_ONCE])
            faults.see(len(values), np.ones(len(values), bool), values)
            blocks.append(_lists(values))
        faults.report(place)
    return pa.chunked_array(blocks, pa.list_(pa.float32())) if len(place.problems.found) == before else None


def _lists(values: npt.NDArray[np.floating]) -> pa.ListArray:
    offsets = np.arange(len(values) + 1, dtype=np.int32) * values.shape[1]
    with np.errstate(over="ignore"):
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(np.ravel(values).astype(np.float32)))


def _assemble(
    spec: EmbeddingSpec, columns: Mapping[str, pa.ChunkedArray], vectors: pa.ChunkedArray, owner: Draft
) -> pa.Table:
    key = ENTITY_KEYS[spec.entity]
    rows = pc.index_in(columns[key], value_set=owner.columns[key].combine_chunks())
    event_time = columns.get("event_time", owner.columns["event_time"].take(rows))
    arrived = owner.columns.get("ingested_at", owner.columns["event_time"]).take(rows)
    known = np.maximum(_microseconds(columns.get("ingested_at", event_time)), _microseconds(arrived))
    if spec.available_from is not None:
        known = np.maximum(known, microseconds(spec.available_from))
    moments = pa.array(known).cast(TIMESTAMP)
    given = {key: columns[key], "vector": vectors, "event_time": event_time, "ingested_at": moments}
    schema = embedding_schema(spec.entity)
    return pa.table([given[field.name] for field in schema], schema=schema)


def _microseconds(moments: pa.ChunkedArray) -> npt.NDArray[np.int64]:
    return np.asarray(moments.cast(pa.int64()))
