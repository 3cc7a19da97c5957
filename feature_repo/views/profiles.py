"""What is written about a video when it is published."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from contracts.snapshot import Snapshot
from feature_repo.views.builder import CHUNK_ROWS, BuildContext, Builder, schema_of_view
from feature_repo.views.sequences import codes, instants

if TYPE_CHECKING:
    from feature_repo.views.catalogue import View

__all__ = ["video_profile"]


def video_profile(view: "View", snapshot: Snapshot) -> Builder:
    """The rows of the videos' table, with the instant of publication as a feature of its own."""
    return Builder(("videos",), partial(_rows, view), {"videos": "video_id"})


def _rows(view: "View", tables: Mapping[str, pa.Table], context: BuildContext) -> Iterator[pa.Table]:
    videos = tables["videos"]
    key, times, known = codes(videos["video_id"]).rows, instants(videos["event_time"]), instants(videos["ingested_at"])
    order = np.lexsort((known, times, key))
    again = np.zeros(len(order), bool)
    again[1:] = True
    for column in (key, times, known):
        again[1:] &= column[order][1:] == column[order][:-1]
    rows = videos.take(pa.array(order[~again]))
    rows = rows.append_column("published_at", rows["event_time"].cast(pa.int64()))
    schema = schema_of_view(view)
    for start in range(0, rows.num_rows, CHUNK_ROWS):
        yield rows.slice(start, CHUNK_ROWS).select(schema.names).cast(schema)
