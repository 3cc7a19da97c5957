"""Tables as they were ingested, or an error that says which is not."""

import os

import numpy as np
import pyarrow.parquet as pq
import pytest

from contracts.errors import BadInput, Conflict, NotFound
from contracts.home import Home
from contracts.snapshot import table_path
from validation.tables import JudgedTables


def test_what_was_ingested(home: Home, data) -> None:
    snapshot = data.ingest(home)
    read: list[str] = []
    tables = JudgedTables(home, snapshot)
    tables.on_read = read.append
    assert set(tables) == set(snapshot.tables)
    assert len(tables) == len(snapshot.tables)
    assert tables["users"].equals(data.tables["users"])
    assert tables["users"] is tables["users"], "rows are kept"
    assert tables["embedding_visual"] is tables["embedding_visual"], "and the last vectors"
    visual = tables["embedding_visual"]
    tables["embedding_acoustic"]
    assert tables["embedding_visual"] is not visual, "of which only one table is in memory"
    assert read == ["users", "embedding_visual", "embedding_acoustic"], "told once"
    assert tables.get("posts") is None
    tables.close()
    assert sorted(read) == sorted(snapshot.tables)


@pytest.mark.parametrize("table", ["users", "embedding_visual"])
def test_another_content_under_the_same_name(home: Home, data, table: str) -> None:
    """As after a disk fault, or by somebody's hand."""
    snapshot = data.ingest(home)
    path = table_path(home, snapshot.id, table)
    rows = pq.read_table(path)
    pq.write_table(rows.take(np.arange(len(rows))[::-1]), path)
    message = rf"table .{table}. of snapshot {snapshot.id}: found {path} with content"
    with pytest.raises(BadInput, match=message) as caught:
        JudgedTables(home, snapshot)[table]
    assert "remove that file and ingest the data again" in str(caught.value)
    data.ingest(home)
    with pytest.raises(BadInput):
        JudgedTables(home, snapshot)[table]
    path.unlink()
    again = data.ingest(home)
    assert again.id == snapshot.id
    JudgedTables(home, again).close()


def test_half_a_file_and_none(home: Home, data) -> None:
    snapshot = data.ingest(home)
    path = table_path(home, snapshot.id, "videos")
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(BadInput, match=f"found a damaged file {path}.*ingest the data again"):
        JudgedTables(home, snapshot)["videos"]
    path.unlink()
    with pytest.raises(NotFound, match=f"found no {path}"):
        JudgedTables(home, snapshot)["videos"]


@pytest.mark.parametrize("fault", ["touched", "removed", "damaged", "other rows", "manifest"])
def test_what_changes_while_it_is_judged(home: Home, data, fault: str) -> None:
    snapshot = data.ingest(home)
    tables = JudgedTables(home, snapshot)
    assert len(tables["users"]) == 40
    path = table_path(home, snapshot.id, "videos")
    if fault == "touched":
        os.utime(path)
    elif fault == "removed":
        path.unlink()
    elif fault == "damaged":
        path.write_bytes(b"garbage")
    elif fault == "other rows":
        pq.write_table(pq.read_table(path).slice(1), path)
    else:
        other = snapshot.model_copy(update={"source": "elsewhere"})
        path.with_name("snapshot.json").write_text(other.model_dump_json())
    named = "the manifest" if fault == "manifest" else "videos"
    with pytest.raises(Conflict, match=f"snapshot {snapshot.id}: found {named} changed while it was being validated"):
        tables.close()
