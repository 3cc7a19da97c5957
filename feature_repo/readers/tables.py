"""Reader of a team's own tables, as Parquet or CSV files named after them."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from contracts.clock import parse_instant, utc_now
from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput, NotFound
from contracts.snapshot import SplitInstants
from contracts.tables import EMBEDDING_PREFIX, TABLES
from feature_repo.raw_tables import RawTables, microseconds
from feature_repo.readers.own.draft import Draft, check_rows, read_draft
from feature_repo.readers.own.files import MEDIA, data_file, find_files
from feature_repo.readers.own.problems import Problems
from feature_repo.readers.own.relations import check_media, check_relations
from feature_repo.readers.own.vectors import read_embeddings

__all__ = ["Shares", "parse_split", "read_tables"]

_EVENTS = ("interactions", "listens")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Shares:
    """A split by shares of the events, in the order of their times; the rest is for the test."""

    train: float = 0.8
    validation: float = 0.1


def read_tables(path: Path, dataset: str | None = None, split: Shares | SplitInstants = Shares()) -> RawTables:
    """Read a directory of a team's own files.

    Each table of ``contracts.tables`` that the team has is one file, ``<table>.parquet`` or ``<table>.csv``; of
    ``users`` and of ``interactions`` or ``listens`` there must be one. Embeddings are ``embedding_<name>.parquet`` or
    ``.npy`` with their spec in ``embedding_<name>.json``; media paths are relative to the directory ``media``. Columns
    that may be null may be absent, and so may ``ingested_at``, which then equals ``event_time``.

    Args:
        path: The directory.
        dataset: Name to give the data; the directory's name if None.
        split: Where training, validation and test meet.

    Raises:
        NotFound: There is no such directory, or no table in it.
        TablesRefused: Anything is wrong with the files; it carries every problem that was found.
        BadInput: The split cannot be made.
    """
    if not path.is_dir():
        raise NotFound(
            path,
            found="a file" if path.exists() else "nothing there",
            expected="a directory with one Parquet or CSV file for each table",
            next_step="check the path",
        )
    problems, now = Problems(), utc_now()
    files = find_files(path, problems)
    if not files and not problems.found:
        raise NotFound(
            path,
            found="no table in it",
            expected=f"files such as {', '.join(f'{name}.parquet' for name in TABLES)}",
            next_step="name each file after the table it holds",
        )
    drafts = _read_drafts(files, problems)
    _require_tables(drafts, problems)
    for draft in drafts.values():
        if draft is not None:
            check_rows(draft, now)
    check_relations(drafts)
    check_media(drafts, path / MEDIA)
    embeddings = _read_embeddings(files, drafts, now, problems)
    problems.require_none(path)
    tables = {name: draft.table() for name, draft in drafts.items() if draft is not None}
    return RawTables(
        tables=tables | {name: table for name, (_, table) in embeddings.items()},
        specs={name.removeprefix(EMBEDDING_PREFIX): spec for name, (spec, _) in embeddings.items()},
        split=_split(path, tables, split),
        dataset=dataset or path.resolve().name,
        source=f"tables {path.resolve()}",
        media=path / MEDIA if (path / MEDIA).is_dir() else None,
    )


def parse_split(train_until: str | None, validation_until: str | None, shares: Shares) -> Shares | SplitInstants:
    """The split that options choose: two instants if they are given, else shares.

    Raises:
        BadInput: The options make no split.
    """
    if train_until is None and validation_until is None:
        if min(shares.train, shares.validation) > 0 and shares.train + shares.validation < 1:
            return shares
        found, expected = f"shares {shares.train} and {shares.validation}", "shares over 0 whose sum is under 1"
    elif train_until is None or validation_until is None:
        found, expected = "only one of --train-until and --validation-until", "both or neither"
    else:
        first = parse_instant(train_until, "option --train-until")
        second = parse_instant(validation_until, "option --validation-until")
        if first < second:
            return SplitInstants(train_until=first, validation_until=second, nominal=False)
        found, expected = f"{first.isoformat()} and {second.isoformat()}", "training to end before validation does"
    raise BadInput("the split", found=found, expected=expected, next_step="correct the options of the split")


def _read_drafts(files: Mapping[str, Mapping[str, Path]], problems: Problems) -> dict[str, Draft | None]:
    drafts: dict[str, Draft | None] = {}
    for name in TABLES:
        file = data_file(files[name]) if name in files else None
        if file is not None:
            drafts[name] = read_draft(file, name, problems)
    return drafts


def _read_embeddings(
    files: Mapping[str, Mapping[str, Path]], drafts: Mapping[str, Draft | None], now: datetime, problems: Problems
) -> dict[str, tuple[EmbeddingSpec, pa.Table]]:
    names = [name for name in files if name.startswith(EMBEDDING_PREFIX)]
    read = {name: read_embeddings(name, files[name], drafts, now, problems) for name in names}
    return {name: found for name, found in read.items() if found is not None}


def _require_tables(drafts: Mapping[str, Draft | None], problems: Problems) -> None:
    for needed in (("users",), _EVENTS):
        if not any(name in drafts for name in needed):
            problems.at(" or ".join(needed)).add(
                "a missing table",
                allowed=" or ".join(f"{name}.parquet or {name}.csv" for name in needed),
                hint="add it: a snapshot has users, and events of them",
            )


def _split(path: Path, tables: Mapping[str, pa.Table], choice: Shares | SplitInstants) -> SplitInstants:
    times = np.sort(np.concatenate([_times(tables[name]) for name in _EVENTS if name in tables]))
    if isinstance(choice, Shares):
        cuts = _cuts(times, choice)
    else:
        cuts = [microseconds(choice.train_until), microseconds(choice.validation_until)]
    sizes = np.diff([0, *np.searchsorted(times, cuts), len(times)])
    if not sizes.all():
        parts = zip(sizes, ("training", "validation", "test"), strict=True)
        raise BadInput(
            f"the split of {path}",
            found=f"{', '.join(f'{size:,} {part}' for size, part in parts)} events, "
            f"from {_moment(times[0]).isoformat()} to {_moment(times[-1]).isoformat()}",
            expected="events in each part",
            next_step="choose --train-until and --validation-until between those moments",
        )
    return SplitInstants(train_until=_moment(cuts[0]), validation_until=_moment(cuts[1]), nominal=False)


def _cuts(times: npt.NDArray[np.int64], shares: Shares) -> list[int]:
    """Instants that leave those shares of the sorted ``times`` before and between them, as nearly as ties allow."""
    ends = [int(len(times) * share) for share in (shares.train, shares.train + shares.validation)]
    first, second = (int(times[min(end, len(times) - 1)]) for end in ends)
    later = times[times > first]
    return [first, max(second, int(later[0]) if len(later) else first + 1)]


def _times(table: pa.Table) -> npt.NDArray[np.int64]:
    return np.asarray(table["event_time"].cast(pa.int64()))


def _moment(value: int) -> datetime:
    return _EPOCH + timedelta(microseconds=int(value))
