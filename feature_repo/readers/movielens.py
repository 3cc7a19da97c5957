"""Reader of MovieLens 1M with an item cold-start split and plot texts."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contracts.errors import BadInput
from contracts.tables import EMBEDDING_PREFIX, INTERACTIONS, USERS, VIDEOS, embedding_schema
from feature_repo.raw_tables import RawTables, numbered_ids, table_of, vector_lists
from feature_repo.readers.dat import read_dat, read_lines, require_files, require_numbers
from feature_repo.readers.film_facts import FilmFacts, facts_of_films
from feature_repo.readers.nominal import NOMINAL_SPLIT, day_of_part, seconds_of_day
from feature_repo.readers.texts import EncodeTexts
from feature_repo.readers.titles import Film, match_titles

__all__ = ["PLOTS", "read_movielens"]

_PARTS = ("train_df.csv", "cold_vali_df.csv", "cold_test_df.csv")
_ITEMS, _MOVIES, _PLOTS = "item_df.csv", "movies.dat", "movies_extrainfos.dat"
_TITLE, _YEAR, _RATING, _GENRES, _PLOT, _FIELDS = 1, 2, 3, 5, -2, 11
_NOTHING = "N/A"
_YEAR_OF_TITLE = re.compile(r"\((\d{4})\)\s*$")

PLOTS = "plot; title and genres where there is none"
"""Which text of a film is encoded."""


def read_movielens(
    path: Path, dataset: str | None = None, encode: EncodeTexts | None = None, facts: bool = False
) -> tuple[RawTables, dict[str, Any]]:
    """Read the directory.

    The publishers split the items, not the events: what is validated and tested on are films that nobody was trained
    on. They give no times, so the times are nominal (``feature_repo.readers.nominal``); users and films are known from
    the first moment. Users are numbered anew, and 22 of the original 6,040 are left out, nobody says which; so
    ``users.dat`` cannot be joined, and profiles are empty. Plots are joined by title.

    Args:
        path: Directory with ``train_df.csv``, ``cold_vali_df.csv``, ``cold_test_df.csv`` (``uid,iid``),
            ``item_df.csv`` (``iid,title,genres``), ``movies.dat`` and ``movies_extrainfos.dat``.
        dataset: Name to give the data; the directory's name if None.
        encode: Makes vectors of the texts; without it there are none.
        facts: Whether there are also vectors of genres, rating and year, as ``textual_handcrafted``.

    Returns:
        The tables, and how many films were matched by each rule and have a plot.

    Raises:
        NotFound: The directory or a file is missing.
        BadInput: A file is damaged or does not fit the others.
    """
    require_files(path, (*_PARTS, _ITEMS, _MOVIES, _PLOTS), "MovieLens 1M, split by items")
    items = _read_items(path / _ITEMS)
    item_ids = np.asarray(items["iid"])
    parts = [read_dat(path / name, {"uid": pa.int64(), "iid": pa.int64()}, delimiter=",") for name in _PARTS]
    _refuse_misfits(path, parts, item_ids)

    user = np.concatenate([np.asarray(part["uid"]) for part in parts])
    item = np.concatenate([np.asarray(part["iid"]) for part in parts])
    times = np.concatenate(
        [day_of_part(day) + seconds_of_day(np.asarray(part["uid"])) for day, part in enumerate(parts)]
    )
    start = day_of_part(0)
    users, videos = numbered_ids("u", int(user.max()) + 1), numbered_ids("v", len(item_ids))
    by_id = np.argsort(item_ids)  # film n is v<n>
    tables = {
        "users": table_of(USERS, np.full(len(users), start), user_id=users),
        "videos": table_of(
            VIDEOS, np.full(len(videos), start), video_id=videos, title=items["title"].combine_chunks().take(by_id)
        ),
        "interactions": table_of(
            INTERACTIONS,
            times,
            user_id=users.take(pa.array(user)),
            video_id=videos.take(pa.array(item)),
            kind=pa.repeat(pa.scalar("view"), len(user)),
            weight=pa.repeat(pa.scalar(1.0, pa.float32()), len(user)),
        ),
    }
    films, counts = _films(path, items)
    made = []
    if encode is not None:
        made.append(encode(videos.to_pylist(), [film.text for film in films]))
    if facts:
        made.append((np.arange(len(films)), *facts_of_films([film.facts for film in films])))
    specs = {}
    for rows, matrix, spec in made:
        specs[spec.name] = spec
        tables[EMBEDDING_PREFIX + spec.name] = table_of(
            embedding_schema(),
            np.full(len(rows), start),
            video_id=videos.take(pa.array(rows)),
            vector=vector_lists(matrix),
        )
    source = f"movielens {path.resolve()}"
    return RawTables(tables, specs, NOMINAL_SPLIT, dataset or path.resolve().name, source), counts


def _read_items(file: Path) -> pa.Table:
    columns = {"iid": pa.int64(), "title": pa.string(), "genres": pa.string()}
    items = read_dat(file, columns, delimiter=",", quotes=True)
    found = np.sort(np.asarray(items["iid"]))
    if not np.array_equal(found, np.arange(len(found))):
        raise BadInput(
            file,
            found=f"{len(found):,} items numbered from {found[0]} to {found[-1]}",
            expected=f"the numbers 0 to {len(found) - 1}, each once",
            next_step="get the file again from its publisher",
        )
    return items


def _refuse_misfits(path: Path, parts: Sequence[pa.Table], items: npt.NDArray[np.int64]) -> None:
    seen, rows = np.empty(0, np.int64), sum(part.num_rows for part in parts)
    for name, part in zip(_PARTS, parts, strict=True):
        user, item = np.asarray(part["uid"]), np.asarray(part["iid"])
        require_numbers(path / name, ~np.isin(item, items), part, f"items that are in {_ITEMS}")
        require_numbers(path / name, (user < 0) | (user >= rows), part, "users numbered from 0 without gaps")
        repeated = part.to_pandas().duplicated().to_numpy()
        require_numbers(path / name, repeated, part, "each user and item once")
        require_numbers(path / name, np.isin(item, seen), part, "items that no other part has")
        seen = np.concatenate([seen, np.unique(item)])


class _Film(NamedTuple):
    text: str
    """What is encoded of it."""
    facts: FilmFacts


def _films(path: Path, items: pa.Table) -> tuple[list[_Film], dict[str, Any]]:
    """What is known of each film, in order of its number, and how it was found."""
    extras = {row[0]: row for row in read_lines(path / _PLOTS, _FIELDS)}
    films = {
        number: Film(title, _other_name(extras[number]) if number in extras else None)
        for number, title, _ in read_lines(path / _MOVIES, 3)
    }
    rows = {str(row["iid"]): row for row in items.to_pylist()}
    matched, counts = match_titles({number: Film(row["title"]) for number, row in rows.items()}, films)
    found = {number: extras[other] for number, other in matched.items() if other in extras}
    plots = {number: plot for number, extra in found.items() if (plot := extra[_PLOT].strip()) not in ("", _NOTHING)}
    known = [
        _Film(plots.get(number) or _title_and_genres(rows[number]), _facts_of(rows[number], found.get(number)))
        for number in map(str, range(len(rows)))
    ]
    return known, {"films": len(rows), "joined": len(matched), "plots": len(plots), "joined by": counts}


def _facts_of(row: dict[str, str], extra: Sequence[str] | None) -> FilmFacts:
    """Genres of both files; the rating is only in one, the year of the title in all."""
    genres = {*row["genres"].split("|"), *(extra[_GENRES].split(", ") if extra else ())} - {"", _NOTHING}
    year = _YEAR_OF_TITLE.search(row["title"])
    rating = extra[_RATING].strip() if extra else ""
    return FilmFacts(
        frozenset(genres), None if rating in ("", _NOTHING) else rating, int(year.group(1)) if year else None
    )


def _other_name(row: Sequence[str]) -> tuple[str, int] | None:
    return (row[_TITLE], int(row[_YEAR])) if row[_YEAR].isdigit() else None


def _title_and_genres(row: dict[str, str]) -> str:
    return f"{row['title']}. {row['genres'].replace('|', ', ')}"
