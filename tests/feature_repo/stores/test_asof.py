"""The offline store's other duties: saved data sets, pushed rows, logs, and requests it cannot answer."""

from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from contracts.errors import BadInput, NotFound
from feature_repo.quiet import quietly
from feature_repo.stores.asof import AsOfOfflineStore
from feature_repo.stores.source import source_file
from tests.feature_repo.stores.conftest import NOON, values

with quietly():
    from feast import FileSource
    from feast.data_format import DeltaFormat
    from feast.errors import SavedDatasetLocationAlreadyExists
    from feast.infra.offline_stores.file_source import SavedDatasetFileStorage

S = timedelta(seconds=1)
ROWS = [("a", 1, NOON), ("a", 2, NOON + S, NOON + 5 * S), ("a", 3, NOON + 2 * S), ("b", 4, NOON)]


def asked(*users: str) -> pd.DataFrame:
    return pd.DataFrame({"user_id": users, "event_timestamp": NOON})


def test_order_is_kept_and_the_request_untouched(make_world: Any) -> None:
    world = make_world(values(*ROWS))
    frame = asked("b", "a", "nobody", "a").assign(note=["x", "y", "z", None])
    before = frame.copy()
    with quietly():
        answer = world.store.get_historical_features(frame, ["values:count"]).to_df()
    assert list(answer.columns) == ["user_id", "event_timestamp", "note", "count"]
    assert answer["user_id"].tolist() == ["b", "a", "nobody", "a"]
    assert answer["note"].tolist() == ["x", "y", "z", None]
    assert answer["count"].fillna(-1).tolist() == [4, 1, -1, 1]
    pd.testing.assert_frame_equal(frame, before)


def test_pulled_rows(make_world: Any) -> None:
    world = make_world(values(*ROWS))
    source = world.view.batch_source
    fixed = (world.store.config, source, ["user_id"], ["count"], "event_time")

    def pulled(start: Any, end: Any, all_rows: bool = False, known: str | None = "ingested_at") -> list[Any]:
        pull = "pull_all_from_table_or_query" if all_rows else "pull_latest_from_table_or_query"
        return list(getattr(AsOfOfflineStore, pull)(*fixed, known, start, end).to_arrow()["count"].to_pylist())

    assert pulled(NOON, NOON + S) == [1, 4]
    assert pulled(NOON, NOON + S, known=None) == [2, 4]
    assert pulled((NOON + S).replace(tzinfo=None), NOON + 2 * S) == [3]
    assert pulled(NOON, NOON + 5 * S) == [3, 4]
    assert pulled(None, None, all_rows=True) == [1, 2, 3, 4]
    assert pulled(NOON + S, NOON + 5 * S, all_rows=True) == [2, 3]
    assert pulled(None, NOON, all_rows=True) == [1, 4]


def test_a_saved_data_set(make_world: Any, tmp_path: Any) -> None:
    world = make_world(values(*ROWS))
    storage = SavedDatasetFileStorage(path=str(tmp_path / "saved" / "rows.parquet"))
    with quietly():
        job = world.store.get_historical_features(asked("a", "b"), ["values:count"])
        world.store.create_saved_dataset(job, "rows", storage)
        assert world.store.get_saved_dataset("rows").to_arrow()["count"].to_pylist() == [1, 4]
        with pytest.raises(SavedDatasetLocationAlreadyExists):
            job.persist(storage)
        job.persist(storage, allow_overwrite=True)


def test_files_of_snapshots_are_not_written(make_world: Any) -> None:
    world = make_world(values(*ROWS))
    before = world.path.read_bytes()
    rows = values(("c", 9, NOON)).to_pandas()
    with pytest.raises(BadInput, match=r"rows for values: found a write into the .* `backbeat features push TABLE"):
        world.store.write_to_offline_store("values", rows)
    assert world.path.read_bytes() == before


def test_logs_become_files(tmp_path: Any) -> None:
    logging = SimpleNamespace(destination=SimpleNamespace(path=str(tmp_path / "logs")))
    table = values(("a", 1, NOON))
    pq.write_table(table, tmp_path / "log.parquet")
    for data in (table, tmp_path / "log.parquet"):
        AsOfOfflineStore.write_logged_features(None, data, None, logging, None)
    assert pq.read_table(tmp_path / "logs").num_rows == 2


def test_requests_that_cannot_be_answered(make_world: Any) -> None:
    world = make_world(values(*ROWS))
    ask = world.store.get_historical_features
    with quietly():
        with pytest.raises(BadInput, match="found SQL; expected a data frame"):
            ask("SELECT 1", ["values:count"])
        with pytest.raises(BadInput, match="found none; expected a data frame"):
            ask(None, ["values:count"], start_date=NOON, end_date=NOON + S)
        with pytest.raises(
            BadInput, match="entities for values: found columns id, event_timestamp; expected a column user_id"
        ):
            ask(asked("a").rename(columns={"user_id": "id"}), ["values:count"]).to_arrow()
        world.path.unlink()
        with pytest.raises(NotFound, match=r"source values: found no file .*values.parquet.*backbeat features apply"):
            ask(asked("a"), ["values:count"]).to_arrow()


def test_sources_of_another_kind() -> None:
    delta = FileSource(name="d", path="d", timestamp_field="t", file_format=DeltaFormat())
    for source in (delta, FileSource(name="s", path="s3://bucket/x.parquet", timestamp_field="t"), None):
        with pytest.raises(BadInput, match="expected a FileSource of a Parquet file on a local or mounted disk"):
            source_file(source, None)
