"""Filters over what the catalogue says of each video."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from contracts.errors import BadInput
from contracts.messages import Filters
from contracts.tables import TIMESTAMP
from contracts.vocabulary import Vocabulary
from serving.facts import ItemFacts

ITEMS = Vocabulary(["v0", "v1", "v2", "v3"])


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


def videos(**columns: pa.Array) -> pa.Table:
    """Rows of v2, v1, v0 and one the vocabulary lacks; v3 has none."""
    rows: dict[str, pa.Array] = {
        "video_id": pa.array(["v2", "v1", "other", "v0"]),
        "author_id": pa.array(["a", "b", "a", None]),
        "music_id": pa.array(["m", "m", "m", "n"]),
        "duration": pa.array([10.0, None, 10.0, 30.0], pa.float32()),
        "event_time": pa.array([day(3), day(2), day(3), day(1)], TIMESTAMP),
    }
    return pa.table({**rows, **columns})


@pytest.mark.parametrize(
    ("filters", "passed"),
    [
        (Filters(), ["v0", "v1", "v2", "v3"]),
        (Filters(authors=("a",)), ["v2"]),
        (Filters(authors=("a", "b", "nobody")), ["v1", "v2"]),
        (Filters(music=("m",)), ["v1", "v2"]),
        (Filters(shortest=10), ["v0", "v2"]),
        (Filters(longest=29.5), ["v2"]),
        (Filters(published_since=day(2)), ["v1", "v2"]),
        (Filters(music=("m",), longest=60), ["v2"]),
        (Filters(authors=("b",), published_since=day(3)), []),
    ],
)
def test_a_video_passes_all_filters_or_is_left_out(filters: Filters, passed: list[str]) -> None:
    mask = ItemFacts(videos(), ITEMS).allowed(filters)
    assert ITEMS.ids(np.flatnonzero(mask)) == passed


def test_a_filter_that_the_catalogue_cannot_answer_is_refused() -> None:
    facts = ItemFacts(videos(author_id=pa.nulls(4, pa.string())), ITEMS)
    assert facts.allowed(Filters(music=("n",))).sum() == 1
    with pytest.raises(BadInput, match=r"filter authors.*without author_id.*music, shortest and longest"):
        facts.allowed(Filters(authors=("a",)))
