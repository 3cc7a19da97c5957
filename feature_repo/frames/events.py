"""Who chose which item when, as row numbers: the pairs of a frame, in their three parts."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contracts.home import Home
from contracts.snapshot import Snapshot, SplitInstants
from contracts.tables import ENTITY_KEYS
from contracts.vocabulary import UNKNOWN, Vocabulary
from feature_repo.offline import read_table
from feature_repo.raw_tables import microseconds
from feature_repo.services import Ranking
from feature_repo.views.sequences import arrivals_of, instants

__all__ = ["Events", "Occasions", "Pairs", "count_events", "events_of", "occasions_of", "rows_of"]

Rows = npt.NDArray[np.int64]
Pairs = npt.NDArray[np.int64]
"""``[n, 2]`` user row and item row."""


@dataclass(frozen=True)
class Events:
    """Events in order of arrival, ``[n]`` each."""

    pairs: Pairs
    times: Rows
    """When they happened, microseconds since 1970-01-01 UTC."""
    arrivals: Rows
    """From when on they count: the later of when they happened and when they were known."""
    context: Rows | None = None
    """Row in the frame's contexts; None where requests bring nothing."""

    def __len__(self) -> int:
        return len(self.pairs)

    def part(self, rows: slice | Rows) -> "Events":
        """Some of them."""
        context = None if self.context is None else self.context[rows]
        return Events(self.pairs[rows], self.times[rows], self.arrivals[rows], context)

    def parts(self, split: SplitInstants) -> tuple["Events", "Events", "Events"]:
        """Training, validation and test.

        An event that happened before a cut and came in after it counts after it, as in histories and counts: nobody
        could have trained on it.
        """
        cuts = [microseconds(split.train_until), microseconds(split.validation_until)]
        first, second = np.searchsorted(self.arrivals, cuts, side="left").tolist()
        return self.part(slice(first)), self.part(slice(first, second)), self.part(slice(second, None))


@dataclass(frozen=True)
class Occasions:
    """What the rows of the contexts stand for, ``[E]`` each."""

    ids: pa.Array
    """Of videos, or of users who listened."""
    times: Rows
    """When the event happened, microseconds since 1970-01-01 UTC."""


def events_of(home: Home, snapshot: Snapshot, ranking: Ranking, users: Vocabulary, items: Vocabulary) -> Events:
    """The events of a table between known users and known items, each once.

    Without contexts a pair stands only where it first arrived. With them every event stands, also where a user chooses
    an item again: a listen, or a video with its music.

    Args:
        home: Where the snapshot is.
        snapshot: Whose events.
        ranking: Which.
        users: Who has a row.
        items: What has one.
    """
    return occasions_of(home, snapshot, ranking, users, items)[0]


def occasions_of(
    home: Home, snapshot: Snapshot, ranking: Ranking, users: Vocabulary, items: Vocabulary
) -> tuple[Events, Occasions]:
    """The events, and what the rows of their contexts stand for; no rows where requests bring nothing.

    The rows are those of all parts, the test too: they say what came with a request, and not what was chosen.
    """
    table, pairs = _known(home, snapshot, ranking, users, items)
    times, arrivals = instants(table["event_time"]), arrivals_of(table)
    if ranking.context == "video":
        same = rows_of(Vocabulary(table["video_id"].unique().to_pylist()), table["video_id"])
    else:
        same = _numbers(*pairs.T, *([times] if ranking.context == "posts" else []))
    order = np.argsort(arrivals, kind="stable")
    order = order[np.sort(np.unique(same[order], return_index=True)[1])]
    events = Events(pairs[order], times[order], arrivals[order])
    if ranking.context is None:
        return events, Occasions(pa.array([], pa.string()), np.empty(0, np.int64))
    if ranking.context == "video":  # there is one event of each
        ids = table["video_id"].combine_chunks().take(pa.array(order))
        return replace(events, context=np.arange(len(events))), Occasions(ids, events.times)
    _, first, context = np.unique(_numbers(events.pairs[:, 0], events.times), return_index=True, return_inverse=True)
    asking = pa.array(users.ids(events.pairs[first, 0]), pa.string())
    return replace(events, context=context), Occasions(asking, events.times[first])


def count_events(
    home: Home, snapshot: Snapshot, ranking: Ranking, users: Vocabulary, items: Vocabulary
) -> npt.NDArray[np.int64]:
    """How often each item was chosen by what came in before training ended, ``[N]``; repeated rows count once."""
    table, pairs = _known(home, snapshot, ranking, users, items)
    kinds = table["kind"].combine_chunks().dictionary_encode().indices.to_numpy().astype(np.int64)
    early = arrivals_of(table) < microseconds(snapshot.split.train_until)
    once = np.unique(_numbers(*pairs.T, instants(table["event_time"]), kinds)[early], return_index=True)[1]
    return np.bincount(pairs[early][once, 1], minlength=len(items))


def rows_of(vocabulary: Vocabulary, ids: pa.ChunkedArray) -> Rows:
    """Row number of each id, looking up every distinct id once.

    Args:
        vocabulary: Where they are sought.
        ids: None of them null, ``[n]``.
    """
    encoded = ids.combine_chunks().dictionary_encode()
    distinct = vocabulary.rows(encoded.dictionary.to_numpy(zero_copy_only=False))
    return np.asarray(distinct[encoded.indices.to_numpy()])


def _known(
    home: Home, snapshot: Snapshot, ranking: Ranking, users: Vocabulary, items: Vocabulary
) -> tuple[pa.Table, Pairs]:
    """Rows of the table of events between known users and items, and their pairs."""
    item = ENTITY_KEYS[ranking.items]
    columns = [ranking.user, item, "video_id" if ranking.table == "videos" else "kind", "event_time", "ingested_at"]
    table = read_table(home, snapshot, ranking.table, columns)
    told = pc.and_(pc.is_valid(table[ranking.user]), pc.is_valid(table[item]))
    if ranking.kind is not None:
        told = pc.and_(told, pc.equal(table["kind"], ranking.kind))
    table = table.filter(told)
    pairs = np.stack([rows_of(users, table[ranking.user]), rows_of(items, table[item])], axis=1)
    known = (pairs != UNKNOWN).all(axis=1)
    return table.filter(pa.array(known)), pairs[known]


def _numbers(*columns: Rows) -> Rows:
    """One number for each distinct row of some columns, in their order."""
    number = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        distinct, place = np.unique(column, return_inverse=True)
        number = number * max(len(distinct), 1) + place
    return number
