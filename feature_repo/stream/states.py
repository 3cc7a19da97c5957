"""What pushed rows make of the online features.

The state of an entity is computed again from all rows about it, those of the snapshot and those that landed since,
by the builders that compute the offline views. So online and offline cannot come apart, and doing it twice gives the
same rows.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from contracts.home import Home
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX, ENTITY_KEYS, ENTITY_TABLES, natural_key, schema_of
from feature_repo.offline import read_table
from feature_repo.views.builder import BuildContext, Builder, schema_of_view
from feature_repo.views.builders import builders_of
from feature_repo.views.catalogue import View, views_of

__all__ = ["StreamingStates"]


class StreamingStates:
    """The newest row of every streaming view for any entity.

    Daily views and clusters change with the next snapshot only; they are not here.

    Args:
        home: Where the snapshot is.
        snapshot: The newest snapshot of the data set.
        landed: Rows by table that were pushed since.
    """

    def __init__(self, home: Home, snapshot: Snapshot, landed: Mapping[str, pa.Table]) -> None:
        self._context = BuildContext(snapshot, home.centres, newest=True)
        self._tables = {name: _Rows(read_table(home, snapshot, name)) for name in snapshot.tables}
        self._views = views_of(home, snapshot)
        self._builders = {name: builder for name, builder in builders_of(home, snapshot).items() if builder.streams}
        for name, rows in landed.items():
            self.add(name, rows)

    def add(self, table: str, rows: pa.Table) -> None:
        """Take pushed rows into account."""
        self._tables.setdefault(table, _Rows(schema_of(table).empty_table())).add(rows)

    @property
    def known_until(self) -> int:
        """When the newest row of all tables became known, in microseconds."""
        return max((rows.known_until for rows in self._tables.values()), default=0)

    def known(self, entity: str, ids: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
        """Which ids the entity's own table has, ``[n]``."""
        table = ENTITY_TABLES[entity]
        return self._tables[table].has(ENTITY_KEYS[entity], ids) if table in self._tables else np.zeros(len(ids), bool)

    def contradicted(self, table: str, rows: pa.Table) -> npt.NDArray[np.bool_]:
        """Which rows say something else of an entity than a row of the same key that is there already, ``[n]``.

        Events are not judged: of those that agree in their key, the first counts.
        """
        key = natural_key(table)
        if table not in self._tables or not (table in ENTITY_TABLES.values() or table.startswith(EMBEDDING_PREFIX)):
            return np.zeros(rows.num_rows, bool)
        known = self._tables[table].of(key[0], _distinct(rows[key[0]]))
        place = pc.index_in(_joined(rows, key), value_set=_joined(known, key))
        again = np.array(place.is_valid())
        ours, theirs = rows.filter(pa.array(again)), known.take(place.drop_null())
        differs = np.zeros(ours.num_rows, bool)
        for name in rows.column_names:
            if name not in (*key, "ingested_at"):
                differs |= pl.Series(ours[name]).ne_missing(pl.Series(theirs[name])).to_numpy()
        again[again] = differs
        return again

    def changed(self, table: str, rows: pa.Table) -> Iterator[tuple[View, pa.Table]]:
        """Views that pushed rows change, each with the new rows of its entities.

        Args:
            table: Name of the pushed table; its rows must have been added.
            rows: The pushed rows.

        Yields:
            A view and one row for each entity concerned: its newest.
        """
        for view in self._views.values():
            if view.name in self._builders:
                builder = self._builders[view.name]
                ids = self._concerned(view, builder, table, rows)
                if ids:
                    yield view, self._newest(view, builder, ids)
            elif not view.derived and view.path.stem == table:
                yield view, rows.select([view.key, *view.features, "event_time", "ingested_at"])

    def _concerned(self, view: View, builder: Builder, table: str, rows: pa.Table) -> list[str]:
        direct = _direct(view, builder)
        if table in direct:
            return _distinct(rows[direct[table]])
        if table not in builder.needs:
            return []
        key = schema_of(table).names[0]  # a vector concerns whomever the row concerns that it belongs to
        found: list[str] = []
        for other, column in direct.items():
            if other in self._tables and key in schema_of(other).names:
                found += _distinct(self._tables[other].of(key, _distinct(rows[key]))[column])
        return list(dict.fromkeys(found))

    def _newest(self, view: View, builder: Builder, ids: Sequence[str]) -> pa.Table:
        """Rows of the entities, built from what concerns them alone."""
        direct = _direct(view, builder)
        own = {name: self._tables[name].of(column, ids) for name, column in direct.items() if name in self._tables}
        for name in builder.needs:
            if name not in own and name in self._tables:
                key = schema_of(name).names[0]
                wanted = [_distinct(rows[key]) for rows in own.values() if key in rows.column_names]
                own[name] = self._tables[name].of(key, wanted[0] if wanted else [])
        built = list(builder.build(own, self._context))
        table = pa.concat_tables([schema_of_view(view).empty_table(), *built])
        keys = table[view.key].combine_chunks()
        last = pc.not_equal(keys.slice(0, max(len(keys) - 1, 0)), keys.slice(1))  # sorted by key and time
        return table.filter(pa.concat_arrays([last, pa.array([True] * bool(len(keys)), pa.bool_())]))


class _Rows:
    """A table that grows, and its rows by the value of a column."""

    def __init__(self, base: pa.Table) -> None:
        self._base = base
        self._added = base.schema.empty_table()
        self.known_until = _latest(base)
        self._indexes: dict[str, tuple[pd.Index, npt.NDArray[np.int64], npt.NDArray[np.int64]]] = {}

    def add(self, rows: pa.Table) -> None:
        self._added = pa.concat_tables([self._added, rows]).combine_chunks()
        self.known_until = max(self.known_until, _latest(rows))

    def of(self, column: str, ids: Sequence[str]) -> pa.Table:
        """Rows whose column has one of the values, those of the base in their order first."""
        distinct, order, starts = self._index(column)
        numbers = distinct.get_indexer(pd.Index(ids, dtype=object))
        spans = [order[starts[number] : starts[number + 1]] for number in numbers if number >= 0]
        rows = np.sort(np.concatenate(spans)) if spans else np.empty(0, np.int64)
        added = self._added.filter(pc.is_in(self._added[column], pa.array(ids, pa.string())))
        return pa.concat_tables([self._base.take(pa.array(rows)), added]).combine_chunks()

    def has(self, column: str, ids: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
        asked = ids.combine_chunks()
        known = self._index(column)[0].get_indexer(pd.Index(asked.to_numpy(zero_copy_only=False), dtype=object)) >= 0
        return np.asarray(known | pc.is_in(asked, self._added[column]).to_numpy(zero_copy_only=False))

    def _index(self, column: str) -> tuple[pd.Index, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        if column not in self._indexes:
            encoded = self._base[column].combine_chunks().dictionary_encode()
            codes = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy()
            order = np.argsort(codes, kind="stable")
            starts = np.searchsorted(codes[order], np.arange(len(encoded.dictionary) + 1))
            distinct = pd.Index(encoded.dictionary.to_numpy(zero_copy_only=False), dtype=object)
            self._indexes[column] = distinct, order, starts
        return self._indexes[column]


def _latest(rows: pa.Table) -> int:
    return int(pc.max(rows["ingested_at"].cast(pa.int64())).as_py() or 0)


def _joined(rows: pa.Table, key: Sequence[str]) -> pa.Array:
    """The values of the key's columns as one text, ``[n]``."""
    columns = [rows[name].cast(pa.int64()) if pa.types.is_timestamp(rows[name].type) else rows[name] for name in key]
    return pc.binary_join_element_wise(*(column.cast(pa.string()) for column in columns), "\0").combine_chunks()


def _direct(view: View, builder: Builder) -> dict[str, str]:
    """Tables whose rows name the view's entities themselves → by which column; other vectors belong to such a row."""
    return {
        table: column
        for table, column in builder.streams.items()
        if column == view.key or not table.startswith(EMBEDDING_PREFIX)
    }


def _distinct(column: pa.ChunkedArray) -> list[str]:
    return [value for value in column.unique().to_pylist() if value is not None]
