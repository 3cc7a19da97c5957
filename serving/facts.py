"""What the catalogue says of each item that a version can recommend, for filters."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from contracts.errors import BadInput
from contracts.messages import Filters
from contracts.vocabulary import Vocabulary, strings_of

__all__ = ["FACTS", "ItemFacts"]

FACTS = {
    "author_id": "authors",
    "music_id": "music",
    "duration": "shortest and longest",
    "event_time": "published_since",
}
"""Column of the offline table of the items → the filters that read it; music has but two of them."""


class ItemFacts:
    """Author, music, duration and publication of the items of a vocabulary.

    Args:
        table: Rows of the items, with those columns of :data:`FACTS` that they have.
        items: The vocabulary, N items. One that the table lacks, or says nothing of, passes no filter.
        key: Column of their ids.
    """

    def __init__(self, table: pa.Table, items: Vocabulary, key: str = "video_id") -> None:
        rows = items.rows(strings_of(table[key]))
        known = rows >= 0
        self._count = len(items)
        self._columns: dict[str, npt.NDArray[Any]] = {}
        for name in FACTS:
            if name not in table.column_names or table[name].null_count == len(table):
                continue  # a data set without it: whoever filters by it must hear so
            column = table[name]
            if name == "event_time":
                values = np.full(len(items), np.iinfo(np.int64).min)
                values[rows[known]] = column.cast(pa.int64()).to_numpy()[known]
            elif name == "duration":
                values = np.full(len(items), np.nan, np.float32)
                values[rows[known]] = column.to_numpy()[known]
            else:
                values = np.full(len(items), None, dtype=object)
                values[rows[known]] = strings_of(column)[known]
            self._columns[name] = values

    def allowed(self, filters: Filters) -> npt.NDArray[np.bool_]:
        """Which items pass all filters, ``[N]``.

        Raises:
            BadInput: The catalogue does not say what is filtered by.
        """
        passed = np.ones(self._count, dtype=bool)
        if filters.authors is not None:
            passed &= np.asarray(pd.Series(self._column("author_id")).isin(filters.authors))
        if filters.music is not None:
            passed &= np.asarray(pd.Series(self._column("music_id")).isin(filters.music))
        if filters.shortest is not None:
            passed &= self._column("duration") >= filters.shortest
        if filters.longest is not None:
            passed &= self._column("duration") <= filters.longest
        if filters.published_since is not None:
            passed &= self._column("event_time") >= int(filters.published_since.timestamp() * 1e6)
        return passed

    def _column(self, name: str) -> npt.NDArray[Any]:
        column = self._columns.get(name)
        if column is None:
            there = ", ".join(FACTS[each] for each in self._columns) or "none"
            raise BadInput(
                f"filter {FACTS[name]}",
                found=f"a catalogue without {name}",
                expected=f"filters that this catalogue has: {there}",
                next_step="leave that filter out, or ingest data with that column",
            )
        return column
