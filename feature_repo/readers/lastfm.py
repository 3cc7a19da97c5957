"""Reader of the Last.fm data of HetRec 2011: how often users listened to artists, and who is a friend of whom."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contracts.errors import BadInput
from contracts.tables import EDGES, LISTENS, MUSIC, USERS
from feature_repo.raw_tables import RawTables, table_of
from feature_repo.readers.dat import read_dat, require_files, require_numbers
from feature_repo.readers.nominal import NOMINAL_SPLIT, day_of_part, seconds_of_day

__all__ = ["read_lastfm"]

_LISTENS, _FRIENDS, _ARTISTS = "user_artists.dat", "user_friends.dat", "artists.dat"
_NETWORK = "friend"


def read_lastfm(
    path: Path, dataset: str | None = None, *, train: float = 0.8, validation: float = 0.1, seed: int = 0
) -> tuple[RawTables, dict[str, Any]]:
    """Read the directory as HetRec 2011 publishes it.

    An artist is a piece of music here, with the name as title; a listening count is the weight of one ``listen``. Each
    published pair of friends is an edge of the network ``friend``, in its own direction. The data have no times and no
    split: every user's artists are split at random, and the times are nominal (``feature_repo.readers.nominal``), with
    users, artists and friends known the day before the first event. ``tags.dat`` only numbers tags; it is not read.

    Args:
        path: Directory with ``user_artists.dat``, ``user_friends.dat`` and ``artists.dat``: tabs, a header.
        dataset: Name to give the data; the directory's name if None.
        train: Share of a user's artists to train on.
        validation: Share to validate on; what is left is for the test.
        seed: Of the random split.

    Returns:
        The tables, and how many rows each part of the split has.

    Raises:
        NotFound: The directory or a file is missing.
        BadInput: A file is damaged or does not fit the others, or the shares make no split.
    """
    if min(train, validation) <= 0 or train + validation >= 1:
        raise BadInput(
            "the split",
            found=f"shares {train} and {validation}",
            expected="shares over 0 whose sum is under 1",
            next_step="correct --train-share and --validation-share",
        )
    require_files(path, (_LISTENS, _FRIENDS, _ARTISTS), "the Last.fm data of HetRec 2011")
    listens = read_dat(path / _LISTENS, {"userID": pa.int64(), "artistID": pa.int64(), "weight": pa.float64()})
    friends = read_dat(path / _FRIENDS, {"userID": pa.int64(), "friendID": pa.int64()})
    artists = read_dat(path / _ARTISTS, {"id": pa.int64(), "name": pa.string()})
    _refuse_misfits(path, listens, friends, artists)

    before = day_of_part(-1)
    user, artist = (np.asarray(listens[column]) for column in ("userID", "artistID"))
    users = np.unique(np.concatenate([user, *(np.asarray(friends[column]) for column in friends.column_names)]))
    part, order = _random_parts(user, train, validation, np.random.default_rng(seed))
    times = np.empty(len(user), np.int64)
    for number in range(3):
        rows = order[part[order] == number]
        times[rows] = day_of_part(number) + seconds_of_day(user[rows])
    tables = {
        "users": table_of(USERS, np.full(len(users), before), user_id=_ids("u", users)),
        "music": table_of(
            MUSIC,
            np.full(artists.num_rows, before),
            music_id=_ids("m", np.asarray(artists["id"])),
            title=artists["name"].combine_chunks(),
        ),
        "listens": table_of(
            LISTENS,
            times,
            user_id=_ids("u", user),
            music_id=_ids("m", artist),
            kind=pa.repeat(pa.scalar("listen"), len(user)),
            weight=listens["weight"].combine_chunks().cast(pa.float32()),
        ),
        "edges": table_of(
            EDGES,
            np.full(friends.num_rows, before),
            network=pa.repeat(pa.scalar(_NETWORK), friends.num_rows),
            source_id=_ids("u", np.asarray(friends["userID"])),
            target_id=_ids("u", np.asarray(friends["friendID"])),
            weight=pa.repeat(pa.scalar(1.0, pa.float32()), friends.num_rows),
        ),
    }
    sizes = np.bincount(part, minlength=3)
    facts = {"seed": seed, **dict(zip(("train", "validation", "test"), sizes.tolist(), strict=True))}
    source = f"lastfm {path.resolve()} seed {seed} shares {train:g} {validation:g}"
    return RawTables(tables, {}, NOMINAL_SPLIT, dataset or path.resolve().name, source), facts


def _ids(prefix: str, numbers: npt.NDArray[np.integer]) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pa.array(numbers).cast(pa.string()), "")


def _random_parts(
    users: npt.NDArray[np.integer], train: float, validation: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Split each user's rows at random.

    Args:
        users: User of each row, ``[E]``.
        train: Share for training.
        validation: Share for validation.
        rng: Decides.

    Returns:
        Part of each row, ``[E]`` (0, 1 or 2), in which a user's k rows give as nearly as possible their shares; and
        the random order of the rows, ``[E]``, grouped by user.
    """
    order = np.lexsort((rng.random(len(users)), users))
    ordered = users[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    lengths = np.diff(np.r_[starts, len(ordered)])
    position = np.arange(len(users)) - np.repeat(starts, lengths)
    # Whole numbers of rows: of fewer than five, a tenth is none.
    held_test = np.rint(lengths * (1 - train - validation) + 1e-9).astype(np.int64)
    held_validation = np.minimum(np.rint(lengths * validation + 1e-9).astype(np.int64), lengths - held_test)
    ends = np.repeat(lengths - held_test - held_validation, lengths)
    part = np.empty(len(users), np.int64)
    part[order] = (position >= ends).astype(np.int64) + (position >= ends + np.repeat(held_validation, lengths))
    return part, order


def _refuse_misfits(path: Path, listens: pa.Table, friends: pa.Table, artists: pa.Table) -> None:
    weights = np.asarray(listens["weight"])
    with np.errstate(over="ignore"):
        fit = np.isfinite(weights.astype(np.float32)) & (weights > 0)
    require_numbers(path / _LISTENS, ~fit, listens, "weights that are positive and finite")
    known = np.isin(np.asarray(listens["artistID"]), np.asarray(artists["id"]))
    require_numbers(path / _LISTENS, ~known, listens, f"artists that are in {_ARTISTS}")
    for file, table, key in (
        (_LISTENS, listens, ["userID", "artistID"]),
        (_FRIENDS, friends, ["userID", "friendID"]),
        (_ARTISTS, artists, ["id"]),
    ):
        repeated = table.select(key).to_pandas().duplicated().to_numpy()
        require_numbers(path / file, repeated, table, f"each {' and '.join(key)} once")
