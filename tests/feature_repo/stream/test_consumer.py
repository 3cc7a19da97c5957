"""What is pushed is online at once and offline once, the same as if it had been there from the start."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import Conflict
from contracts.home import Home
from contracts.job_run import new_job
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from contracts.tables import INTERACTIONS
from feature_repo.apply import apply_features
from feature_repo.materialization.online import OnlineView
from feature_repo.materialization.sources import sources_of
from feature_repo.materialize import materialize
from feature_repo.offline import read_table, write_snapshot
from feature_repo.raw_tables import RawTables, microseconds, table_of
from feature_repo.simulator import simulate
from feature_repo.store import open_store
from feature_repo.stream.batch import Batch, new_batch_id
from feature_repo.stream.consumer import JOB_KIND, Consumer
from feature_repo.stream.inbox import DirectoryInbox, open_inbox
from feature_repo.stream.landing import Landing, merge
from feature_repo.views.builders import builders_of
from feature_repo.views.catalogue import views_of

CUT = datetime(2025, 1, 8, tzinfo=UTC)
"""What was known before is ingested; the rest is pushed."""


def split_by_arrival(raw: RawTables) -> tuple[RawTables, dict[str, pa.Table]]:
    before, after = {}, {}
    for name, table in raw.tables.items():
        early = pc.less(table["ingested_at"], pa.scalar(CUT, table.schema.field("ingested_at").type))
        before[name], after[name] = table.filter(early), table.filter(pc.invert(early))
    return replace(raw, tables=before), {name: table for name, table in after.items() if table.num_rows}


@pytest.fixture(scope="module")
def platform() -> RawTables:
    return simulate(users=40, videos=60, days=10, seed=3, events=600, late=0.1)


@pytest.fixture
def begun(
    settings: Settings, home: Home, database: Database, platform: RawTables, passed: Callable[..., None]
) -> tuple[Snapshot, dict[str, pa.Table]]:
    """The first week, applied and materialized; and the tables of the days after it."""
    base, rest = split_by_arrival(platform)
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, base)
        apply_features(settings, home)
    passed(database, snapshot.id)
    materialize(settings, home)
    return snapshot, rest


def batches(dataset: str, rest: dict[str, pa.Table], seed: int = 0) -> Iterator[Batch]:
    """The rows in order of arrival, cut into batches at random; entities before what names them."""
    rng = np.random.default_rng(seed)
    order = ["users", "music", "videos", "posts"]
    for name in sorted(rest, key=lambda name: (order.index(name) if name in order else 9, name)):
        table = rest[name].sort_by("ingested_at")
        cuts = np.sort(rng.integers(0, table.num_rows + 1, 3))
        for low, high in zip([0, *cuts], [*cuts, table.num_rows], strict=True):
            if high > low:
                yield Batch(new_batch_id(), dataset, name, table.slice(low, high - low))


def online_rows(settings: Settings, home: Home, project: str, view: str, ids: list[str]) -> list[dict[str, object]]:
    store = open_store(settings, home, project)
    (source,) = sources_of(store, [view])
    return OnlineView(store, source).read(ids, datetime(2025, 1, 1, tzinfo=UTC)).to_pylist()


def assert_online_is_as_if_ingested(settings: Settings, home: Home, served: Snapshot) -> None:
    """Every streaming view online, against the newest rows of the views of a snapshot that has everything."""
    with home.writing("test"):
        whole, _, _ = merge(home, served.dataset)
        apply_features(settings, home)
    builders, compared = builders_of(home, whole), 0
    for name, view in views_of(home, whole).items():
        if view.derived and not builders[name].streams:
            continue
        table = pq.read_table(view.path).sort_by(
            [(view.key, "ascending"), ("event_time", "ascending"), ("ingested_at", "ascending")]
        )
        newest = {row[view.key]: row for row in table.to_pylist()}
        assert newest, f"{name} has rows to compare"
        ids = sorted(newest)
        found = online_rows(settings, home, served.id, name, ids)
        for row, entity in zip(found, ids, strict=True):
            expected = {key: newest[entity][key] for key in (*view.features, "event_time")}
            assert {key: row[key] for key in expected} == expected, f"{name} of {entity}"
            compared += 1
    assert compared > 100


def test_streamed_rows_are_online_and_offline_as_if_ingested(
    settings: Settings, home: Home, begun: tuple[Snapshot, dict[str, pa.Table]], platform: RawTables
) -> None:
    snapshot, rest = begun
    assert {"interactions", "posts", "listens", "embedding_post_textual"} <= set(rest)
    inbox = open_inbox(settings, home)
    sent = list(batches(snapshot.dataset, rest))
    for batch in sent:
        inbox.put(batch)
    consumer = Consumer(settings, home)
    run = consumer.run(once=True)
    assert (run.state, consumer.taken.batches, consumer.taken.refused) == ("done", len(sent), 0)
    assert consumer.taken.rows == sum(batch.rows.num_rows for batch in sent)
    assert inbox.waiting(0) == []
    landed = Landing(home, snapshot.dataset).tables()
    assert {name: table.num_rows for name, table in landed.items()} == {n: t.num_rows for n, t in rest.items()}
    assert_online_is_as_if_ingested(settings, home, snapshot)


@pytest.mark.parametrize("where", ["landing", "online", "confirming"])
def test_a_consumer_that_dies_leaves_nothing_lost_or_doubled(
    settings: Settings,
    home: Home,
    begun: tuple[Snapshot, dict[str, pa.Table]],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    snapshot, rest = begun
    for batch in batches(snapshot.dataset, rest, seed=1):
        open_inbox(settings, home).put(batch)
    place = {
        "landing": (Landing, "land"),
        "online": (OnlineView, "write"),
        "confirming": (DirectoryInbox, "confirm"),
    }[where]
    real, calls = getattr(*place), iter(range(10_000))

    def die_at_the_third(*arguments: object) -> object:
        if next(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(*place, die_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            Consumer(settings, home).run(once=True)
    Consumer(settings, home).run(once=True)
    landed = Landing(home, snapshot.dataset).tables()
    assert {name: table.num_rows for name, table in landed.items()} == {n: t.num_rows for n, t in rest.items()}
    assert_online_is_as_if_ingested(settings, home, snapshot)


def view_event(user: str, video: str, moment: datetime) -> pa.Table:
    return table_of(
        INTERACTIONS,
        np.array([microseconds(moment)]),
        user_id=pa.array([user]),
        video_id=pa.array([video]),
        kind=pa.array(["view"]),
        weight=pa.array([1.0], pa.float32()),
    )


def test_rows_that_name_strangers_are_set_aside(
    settings: Settings, home: Home, begun: tuple[Snapshot, dict[str, pa.Table]]
) -> None:
    snapshot, _ = begun
    now = utc_now()
    rows = pa.concat_tables(
        [view_event("u1", "v1", now), view_event("stranger", "v1", now), view_event("u1", "v?", now)]
    )
    open_inbox(settings, home).put(Batch("b1", snapshot.dataset, "interactions", rows))
    consumer = Consumer(settings, home)
    consumer.run(once=True)
    assert (consumer.taken.rows, consumer.taken.refused) == (1, 2)
    assert Landing(home, snapshot.dataset).tables()["interactions"].num_rows == 1
    reason = (home.stream / "refused" / "b1.json").read_text()
    assert "2 of 3 rows that name unknown ids, the first user_id 'stranger', video_id 'v1'" in reason
    assert pq.read_table(home.stream / "refused" / "b1.parquet").num_rows == 2
    (row,) = online_rows(settings, home, snapshot.id, "user_history", ["u1"])
    assert row["video_ids"][-1] == "v1"
    assert row["event_time"] == now


def test_what_is_no_batch_is_set_aside_and_the_rest_goes_on(
    settings: Settings, home: Home, begun: tuple[Snapshot, dict[str, pa.Table]]
) -> None:
    snapshot, _ = begun
    inbox = home.stream / "inbox"
    inbox.mkdir(parents=True)
    (inbox / "0001-bad.parquet").write_bytes(b"rubbish")
    open_inbox(settings, home).put(Batch("b2", snapshot.dataset, "interactions", view_event("u1", "v1", utc_now())))
    consumer = Consumer(settings, home)
    consumer.run(once=True)
    assert (consumer.taken.batches, consumer.taken.rows, consumer.taken.refused) == (1, 1, 1)
    assert (home.stream / "refused" / "0001-bad.parquet").read_bytes() == b"rubbish"
    assert list(inbox.iterdir()) == []


def test_batches_of_another_data_set_land_for_later(
    settings: Settings, home: Home, begun: tuple[Snapshot, dict[str, pa.Table]]
) -> None:
    open_inbox(settings, home).put(Batch("b1", "elsewhere", "interactions", view_event("u1", "v1", utc_now())))
    consumer = Consumer(settings, home)
    consumer.run(once=True)
    assert consumer.taken.online == 0
    assert Landing(home, "elsewhere").tables()["interactions"].num_rows == 1


def test_one_consumer_at_a_time(
    settings: Settings, home: Home, database: Database, begun: tuple[Snapshot, dict[str, pa.Table]]
) -> None:
    snapshot, _ = begun
    with new_job(database, JOB_KIND, snapshot.dataset, [snapshot.dataset]) as first:
        with pytest.raises(Conflict, match=f"job {first.id} at work on it"):
            Consumer(settings, home).run(once=True)


def test_a_snapshot_that_takes_over_gets_what_had_landed(
    settings: Settings,
    home: Home,
    database: Database,
    begun: tuple[Snapshot, dict[str, pa.Table]],
    passed: Callable[..., None],
) -> None:
    snapshot, _ = begun
    inbox = open_inbox(settings, home)
    moment = utc_now()
    inbox.put(Batch("b1", snapshot.dataset, "interactions", view_event("u1", "v1", moment)))
    consumer = Consumer(settings, home)
    consumer.run(once=True)
    with home.writing("test"):
        second, added, _ = merge(home, snapshot.dataset)
        apply_features(settings, home)
    assert added == {"interactions": 1}
    # Pushed after the merge and before the new snapshot serves: it must be in both projects in the end.
    inbox.put(Batch("b2", snapshot.dataset, "interactions", view_event("u1", "v2", moment + timedelta(seconds=1))))
    consumer = Consumer(settings, home)
    consumer.run(once=True)
    (old,) = online_rows(settings, home, snapshot.id, "user_history", ["u1"])
    passed(database, second.id)
    materialize(settings, home)
    Consumer(settings, home).run(once=True)
    (new,) = online_rows(settings, home, second.id, "user_history", ["u1"])
    assert new == old
    assert new["video_ids"][-2:] == ["v1", "v2"]
    assert read_table(home, second, "interactions").num_rows == read_table(home, snapshot, "interactions").num_rows + 1
