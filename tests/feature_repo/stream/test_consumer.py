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


def batches(snapshot: Snapshot, rest: dict[str, pa.Table], seed: int = 0) -> Iterator[Batch]:
    """The rows in order of arrival, cut into batches at random; entities before what names them."""
    rng = np.random.default_rng(seed)
    order = ["users", "music", "videos", "posts"]
    for name in sorted(rest, key=lambda name: (order.index(name) if name in order else 9, name)):
        table = rest[name].sort_by("ingested_at")
        cuts = np.sort(rng.integers(0, table.num_rows + 1, 3))
        for low, high in zip([0, *cuts], [*cuts, table.num_rows], strict=True):
            if high > low:
                spec = snapshot.embeddings.get(name.removeprefix("embedding_"))
                rows = table.slice(low, high - low)
                yield Batch(new_batch_id(), snapshot.dataset, name, rows, spec.digest if spec else "")


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
    inbox = open_inbox(settings, home, snapshot.dataset)
    sent = list(batches(snapshot, rest))
    for batch in sent:
        inbox.put(batch)
    consumer = Consumer(settings, home)
    run = consumer.run(once=True)
    assert (run.state, consumer.taken.batches, consumer.taken.refused) == ("done", len(sent), 0)
    assert consumer.taken.rows == sum(batch.rows.num_rows for batch in sent)
    assert inbox.waiting(0) == []
    landed = Landing(home, snapshot.dataset).tables(snapshot)
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
    for batch in batches(snapshot, rest, seed=1):
        open_inbox(settings, home, snapshot.dataset).put(batch)
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
    landed = Landing(home, snapshot.dataset).tables(snapshot)
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
    open_inbox(settings, home, snapshot.dataset).put(Batch("b1", snapshot.dataset, "interactions", rows))
    consumer = Consumer(settings, home)
    consumer.run(once=True)
    assert (consumer.taken.rows, consumer.taken.refused) == (1, 2)
    assert Landing(home, snapshot.dataset).tables(snapshot)["interactions"].num_rows == 1
    reason = (home.stream / "refused" / "interactions.b1.unknown.json").read_text()
    assert "an unknown user_id, video_id in 2 of 3 rows, the first user_id 'stranger', video_id 'v1'" in reason
    assert pq.read_table(home.stream / "refused" / "interactions.b1.unknown.parquet").num_rows == 2
    (row,) = online_rows(settings, home, snapshot.id, "user_history", ["u1"])
    assert row["video_ids"][-1] == "v1"
    assert row["event_time"] >= now


def test_what_is_no_batch_is_set_aside_and_the_rest_goes_on(
    settings: Settings, home: Home, begun: tuple[Snapshot, dict[str, pa.Table]]
) -> None:
    snapshot, _ = begun
    inbox = home.stream / "inbox" / snapshot.dataset
    inbox.mkdir(parents=True)
    (inbox / "0001-bad.parquet").write_bytes(b"rubbish")
    open_inbox(settings, home, snapshot.dataset).put(
        Batch("b2", snapshot.dataset, "interactions", view_event("u1", "v1", utc_now()))
    )
    consumer = Consumer(settings, home)
    consumer.run(once=True)
    assert (consumer.taken.batches, consumer.taken.rows, consumer.taken.refused) == (1, 1, 1)
    assert (home.stream / "refused" / "0001-bad.parquet").read_bytes() == b"rubbish"
    assert list(inbox.iterdir()) == []


def refusal(home: Home, name: str) -> str:
    return (home.stream / "refused" / f"{name}.json").read_text()


def test_what_would_contradict_the_tables_is_set_aside(
    settings: Settings, home: Home, begun: tuple[Snapshot, dict[str, pa.Table]]
) -> None:
    """A later merge keeps the first row of a key, so the online store must not be told another one."""
    snapshot, _ = begun
    inbox = open_inbox(settings, home, snapshot.dataset)
    videos, vectors = read_table(home, snapshot, "videos")[:2], read_table(home, snapshot, "embedding_visual")[:2]
    titles = videos.set_column(3, videos.schema.field("title"), pa.array([videos["title"][0].as_py(), "another"]))
    doubled = pa.array([vectors["vector"][0].as_py(), [0.0] * snapshot.embeddings["visual"].width])
    other = vectors.set_column(1, vectors.schema.field("vector"), doubled.cast(pa.list_(pa.float32())))
    inbox.put(Batch("b1", snapshot.dataset, "videos", titles))
    inbox.put(Batch("b2", snapshot.dataset, "embedding_visual", other, snapshot.embeddings["visual"].digest))
    consumer = Consumer(settings, home)
    consumer.run(once=True)
    assert (consumer.taken.rows, consumer.taken.refused) == (2, 2)
    assert "another row of a key that is there already in 1 of 2 rows" in refusal(home, "videos.b1.differs")
    assert pq.read_table(home.stream / "refused" / "embedding_visual.b2.differs.parquet").num_rows == 1
    ids = videos["video_id"].to_pylist()
    found = online_rows(settings, home, snapshot.id, "video_profile", ids)
    assert [row["title"] for row in found] == videos["title"].to_pylist()


def test_batches_of_other_data_sets_encoders_and_used_ids_are_set_aside(
    settings: Settings, home: Home, begun: tuple[Snapshot, dict[str, pa.Table]]
) -> None:
    snapshot, _ = begun
    now, inbox = utc_now(), open_inbox(settings, home, snapshot.dataset)
    inbox.put(Batch("b1", "elsewhere", "interactions", view_event("u1", "v1", now)))
    inbox.put(
        Batch("b2", snapshot.dataset, "embedding_visual", read_table(home, snapshot, "embedding_visual")[:1], "f" * 12)
    )
    inbox.put(Batch("b3", snapshot.dataset, "interactions", view_event("u1", "v1", now)))
    inbox.put(Batch("b3", snapshot.dataset, "interactions", view_event("u2", "v2", now)))
    consumer = Consumer(settings, home)
    consumer.run(once=True)
    inbox.put(Batch("b3", snapshot.dataset, "interactions", view_event("u1", "v1", now)))
    consumer.run(once=True)
    assert (consumer.taken.rows, consumer.taken.repeated, consumer.taken.refused) == (1, 1, 3)
    assert "rows of the data set 'elsewhere'" in refusal(home, "interactions.b1.elsewhere")
    assert "vectors of the spec ffffffffffff" in refusal(home, "embedding_visual.b2.elsewhere")
    assert "rows under an id that others landed under before" in refusal(home, "interactions.b3.reused")
    (row,) = online_rows(settings, home, snapshot.id, "user_history", ["u2"])
    assert row is None or row["event_time"] is None or row["event_time"] < now, "only what landed is online"
    assert Landing(home, snapshot.dataset).tables(snapshot)["interactions"]["user_id"].to_pylist() == ["u1"]


def test_a_consumer_that_was_there_first_writes_once_there_is_where_to(
    settings: Settings, home: Home, database: Database, platform: RawTables, passed: Callable[..., None]
) -> None:
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, split_by_arrival(platform)[0])
    open_inbox(settings, home, snapshot.dataset).put(
        Batch("b1", snapshot.dataset, "interactions", view_event("u1", "v1", utc_now()))
    )
    vectors = read_table(home, snapshot, "embedding_visual")[:1]
    open_inbox(settings, home, snapshot.dataset).put(
        Batch("b2", snapshot.dataset, "embedding_visual", vectors, snapshot.embeddings["visual"].digest)
    )
    consumer = Consumer(settings, home)
    consumer.run(once=True)
    assert consumer.taken.online == 0
    assert not home.centres.exists(), "pushed vectors are nothing to fit centres on"
    with home.writing("test"):
        apply_features(settings, home)
    passed(database, snapshot.id)
    materialize(settings, home)
    consumer.run(once=True)
    (row,) = online_rows(settings, home, snapshot.id, "user_history", ["u1"])
    assert row["video_ids"][-1] == "v1"


def test_views_of_other_encoders_are_left_as_they_are(
    settings: Settings, home: Home, begun: tuple[Snapshot, dict[str, pa.Table]], platform: RawTables
) -> None:
    """The newest snapshot has a new visual encoder; what is served still has the old one."""
    served, rest = begun
    spec = served.embeddings["visual"].model_copy(update={"encoder": "newer"})
    before, _ = split_by_arrival(platform)
    with home.writing("test"):
        write_snapshot(home, replace(before, specs={**before.specs, "visual": spec}))
        apply_features(settings, home)
    video = next(row for row in rest["videos"].to_pylist() if row["music_id"] is not None)
    music = video["music_id"]
    old = online_rows(settings, home, served.id, "music_adoption", [music])
    inbox = open_inbox(settings, home, served.dataset)
    pushed = pa.Table.from_pylist([video], rest["videos"].schema)
    inbox.put(Batch("b1", served.dataset, "videos", pushed))
    consumer = Consumer(settings, home)
    consumer.run(once=True)
    assert consumer.taken.rows == 1
    (profile,) = online_rows(settings, home, served.id, "video_profile", [video["video_id"]])
    assert profile["music_id"] == music, "what means the same is kept up to date"
    assert online_rows(settings, home, served.id, "music_adoption", [music]) == old


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
    inbox = open_inbox(settings, home, snapshot.dataset)
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
