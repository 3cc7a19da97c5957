"""What the rows of one table must be beside those of the others, and beside the media files."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.tables import ENTITY_KEYS, ENTITY_TABLES
from feature_repo.readers.own.columns import false_where_null
from feature_repo.readers.own.draft import Draft
from feature_repo.readers.own.files import MEDIA
from feature_repo.readers.own.problems import Place

__all__ = ["check_known", "check_media", "check_relations"]

_NAMED = {
    "interactions": {"user_id": "users", "video_id": "videos"},
    "listens": {"user_id": "users", "music_id": "music"},
    "videos": {"author_id": "users", "music_id": "music"},
    "posts": {"user_id": "users"},
    "edges": {"source_id": "users", "target_id": "users"},
}
"""Table → column → the table whose entities it names."""

_KEY_OF = {table: ENTITY_KEYS[entity] for entity, table in ENTITY_TABLES.items()}
_MEDIA = {"videos": ("media",), "music": ("media",), "posts": ("images", "video")}


def check_relations(drafts: Mapping[str, Draft | None]) -> None:
    """Find the ids that no table has.

    Args:
        drafts: Every table there is; None where its file could not be read.
    """
    for name, draft in drafts.items():
        for column, table in _NAMED.get(name, {}).items():
            if draft is not None and column in draft.columns:
                check_known(draft.columns[column], column, table, drafts, draft.place)


def check_known(
    ids: pa.ChunkedArray, column: str, table: str, drafts: Mapping[str, Draft | None], place: Place
) -> None:
    """Find the ids, ``[n]``, that are not in their table."""
    if table not in drafts:
        named = pc.drop_null(ids)
        if len(named):
            place.add(
                f"ids of a table that is not there, {table}",
                allowed=f"ids of the rows of {table}",
                hint=f"add the file {table}.parquet or {table}.csv",
                column=column,
                values=named.slice(0, 3).to_pylist(),
            )
        return
    owner = drafts[table]
    if owner is None or _KEY_OF[table] not in owner.columns:
        return
    known = pc.is_in(ids, value_set=pc.unique(owner.columns[_KEY_OF[table]]))
    place.add_rows(
        np.asarray(ids.is_valid()) & ~false_where_null(known),
        f"an id that {table} does not have",
        allowed=f"ids of the rows of {table}",
        hint=f"add the missing rows to {table}, or leave these rows out",
        column=column,
        values=ids,
    )


def check_media(drafts: Mapping[str, Draft | None], media: Path) -> None:
    """Find the media paths that lead nowhere, or out of the media directory."""
    for name, columns in _MEDIA.items():
        draft = drafts.get(name)
        for column in columns if draft is not None else ():
            if draft is not None and draft.rows and column in draft.columns:
                _check_paths(draft, column, media)


def _check_paths(draft: Draft, column: str, media: Path) -> None:
    values = draft.columns[column]
    if pa.types.is_list(values.type):
        rows, paths = pc.list_parent_indices(values), pc.list_flatten(values)
    else:
        rows, paths = pa.array(np.arange(len(values))), values
    distinct = pc.drop_null(pc.unique(paths))
    outside = [text for text in distinct.to_pylist() if _leads_out(text)]
    absent = [text for text in distinct.to_pylist() if not _leads_out(text) and not (media / text).is_file()]
    for bad, problem, allowed in (
        (outside, "a path that leads out of the media directory", f"paths below {MEDIA}/, without .."),
        (absent, "a file that is not there", f"files below {MEDIA}/"),
    ):
        marked = np.zeros(len(values), bool)
        marked[np.asarray(rows)[false_where_null(pc.is_in(paths, value_set=pa.array(bad, pa.string())))]] = True
        draft.place.add_rows(
            marked,
            problem,
            allowed=allowed,
            hint=f"put the files into the directory {MEDIA} beside the tables, or leave the values out",
            column=column,
            values=values,
        )


def _leads_out(text: str) -> bool:
    path = PurePosixPath(text)
    return not text or path.is_absolute() or ".." in path.parts
