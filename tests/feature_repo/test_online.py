"""The online store: what was materialized comes back, newest stays, and every way a run can end is known."""

import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from contracts.database import Database
from contracts.errors import NotFound, ServiceUnavailable, ValidationFailed
from contracts.home import Home
from contracts.jobs import latest_job
from contracts.materializing import MATERIALIZE
from contracts.settings import Settings, load_settings
from feature_repo.apply import apply_features
from feature_repo.materialize import materialize, materialized_snapshot
from feature_repo.offline import current_snapshot, write_snapshot
from feature_repo.online import OnlineFeatures
from feature_repo.raw_tables import RawTables
from feature_repo.services import services_of
from feature_repo.simulator import simulate
from feature_repo.status import feature_status
from feature_repo.store import open_store, project_name
from feature_repo.views.catalogue import views_of

H = timedelta(hours=1)
EVENTS = [(0, 0, -3 * H), (1, 1, -2 * H), (0, 2, -H), (2, 3, H), (1, 4, 30 * H)]


def expected_histories(raw: RawTables) -> dict[str, list[str]]:
    events = raw.tables["interactions"].to_pandas().sort_values("event_time", kind="stable")
    return {str(user): own["video_id"].tolist()[-50:] for user, own in events.groupby("user_id")}


def test_histories_read_back_equal(featured: Any) -> None:
    online = OnlineFeatures(featured.settings, featured.home, featured.snapshot.id)
    expected = expected_histories(featured.raw)
    users = featured.raw.tables["users"]["user_id"].to_pylist()
    assert online.user_history(users) == [expected.get(user, []) for user in users]
    assert online.user_history(["u1"]) == [expected["u1"]]
    online.close()
    assert online.user_history(["u1", "nobody", "u1"]) == [expected["u1"], [], expected["u1"]]
    assert online.user_history([]) == []
    online.close()


def test_vectors_and_counts_read_back_equal(featured: Any) -> None:
    store = open_store(featured.settings, featured.home)
    videos = featured.raw.tables["videos"]["video_id"].to_pylist()
    answer = store.get_online_features(
        [f"{featured.snapshot.embeddings['visual'].view}:vector", "video_popularity:views"],
        [{"video_id": video} for video in [*videos, "nothing"]],
    ).to_dict()
    vectors = featured.raw.tables["embedding_visual"]["vector"].to_pylist()
    np.testing.assert_array_equal(np.array(answer["vector"][:-1], np.float32), np.array(vectors, np.float32))
    assert answer["vector"][-1] is None
    events = featured.raw.tables["interactions"].to_pylist()
    watched = [event["video_id"] for event in events if event["kind"] == "view"]
    assert [n or 0 for n in answer["views"]] == [watched.count(video) for video in [*videos, "nothing"]]


def test_more_rows_than_one_batch_are_all_written(
    settings: Settings, home: Home, database: Database, passed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Feast by itself writes the first chunk of a table of several and says nothing."""
    monkeypatch.setattr("feature_repo.store._BATCH_ROWS", 7)
    raw = simulate(users=40, videos=60, days=5, seed=2, events=400)
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, raw)
        apply_features(settings, home)
        passed(database, snapshot.id)
        materialize(settings, home)
    expected = expected_histories(raw)
    users = sorted(expected)
    assert OnlineFeatures(settings, home, snapshot.id).user_history(users) == [expected[user] for user in users]


def test_materialize_needs_a_passed_report_and_applied_features(
    settings: Settings, home: Home, database: Database, passed: Callable[..., None], make_platform: Callable[..., Any]
) -> None:
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, make_platform(EVENTS))
        with pytest.raises(ValidationFailed, match="no validation report"):
            materialize(settings, home)
        passed(database, snapshot.id, success=False)
        with pytest.raises(ValidationFailed, match="with failed suites"):
            materialize(settings, home)
        assert latest_job(database, MATERIALIZE) is None
    (later := database).close()
    with later.session() as session:
        from contracts.platform import ValidationRow

        session.query(ValidationRow).delete()
    passed(database, snapshot.id)
    with pytest.raises(NotFound, match="backbeat features apply"), home.writing("test"):
        materialize(settings, home)
    with pytest.raises(NotFound, match=r"no snapshot of its data set materialized.*backbeat features materialize"):
        OnlineFeatures(settings, home, snapshot.id).user_history(["user-0"])


@pytest.fixture
def ready(
    settings: Settings, home: Home, database: Database, passed: Callable[..., None], make_platform: Callable[..., Any]
) -> Iterator[Home]:
    """A home with a small platform applied and judged, and its writer lock held."""
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, make_platform(EVENTS))
        apply_features(settings, home)
        passed(database, snapshot.id)
        yield home


def test_repeating_changes_nothing(settings: Settings, ready: Home, database: Database) -> None:
    assert apply_features(settings, ready)["outcome"] == "unchanged"
    assert materialize(settings, ready)["outcome"] == "materialized"
    assert materialize(settings, ready)["outcome"] == "unchanged"
    assert materialize(settings, ready, force=True)["outcome"] == "materialized"
    store = open_store(settings, ready)
    assert sorted(v.name for v in store.list_feature_views()) == sorted(views_of(ready, current_snapshot(ready)))
    assert sorted(s.name for s in store.list_feature_services()) == sorted(services_of(current_snapshot(ready)))
    visual = current_snapshot(ready).embeddings["visual"]
    assert store.get_feature_view(visual.view).tags["encoder"] == "hand"
    status = feature_status(settings, ready)
    assert (status["applied"], status["validated"], status["materialized"]) == (True, "passed", "done")
    assert status["served"] == status["snapshot"] == current_snapshot(ready).id


def test_lost_derived_tables_are_computed_again(settings: Settings, ready: Home) -> None:
    shutil.rmtree(ready.cache)
    with pytest.raises(NotFound, match="backbeat features apply"):
        materialize(settings, ready)
    assert apply_features(settings, ready)["outcome"] == "applied"
    assert materialize(settings, ready)["outcome"] == "materialized"


@pytest.mark.parametrize(
    ("how", "state"), [(KeyboardInterrupt(), "interrupted"), (RuntimeError("store is gone"), "failed")]
)
def test_a_run_that_was_cut_short_is_run_again(
    settings: Settings,
    ready: Home,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    how: BaseException,
    state: str,
) -> None:
    from feature_repo.stores.sqlite import NewestSqliteOnlineStore

    written = NewestSqliteOnlineStore.store_rows
    calls: list[str] = []

    def cut_short(self: Any, config: Any, view: Any, rows: Any) -> int:
        calls.append(view.name)
        if len(calls) == 2:
            raise how
        return written(self, config, view, rows)

    monkeypatch.setattr(NewestSqliteOnlineStore, "store_rows", cut_short)
    with pytest.raises(type(how)):
        materialize(settings, ready)
    job = latest_job(database, MATERIALIZE)
    assert job is not None
    assert job.state == state
    assert materialized_snapshot(database, ready, current_snapshot(ready).id) is None
    monkeypatch.undo()
    assert materialize(settings, ready)["outcome"] == "materialized"
    assert OnlineFeatures(settings, ready, current_snapshot(ready).id).user_history(["user-0"]) == [
        ["video-0", "video-2"]
    ]


def test_a_repeated_run_cut_short_does_not_stop_serving(
    settings: Settings, ready: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from feature_repo.stores.sqlite import NewestSqliteOnlineStore

    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    materialize(settings, ready)
    monkeypatch.setattr(NewestSqliteOnlineStore, "store_rows", interrupted)
    with pytest.raises(KeyboardInterrupt):
        materialize(settings, ready, force=True)
    assert OnlineFeatures(settings, ready, current_snapshot(ready).id).user_history(["user-0"]) == [
        ["video-0", "video-2"]
    ]


def test_a_lost_feature_store_is_filled_again(settings: Settings, ready: Home) -> None:
    snapshot = current_snapshot(ready).id
    materialize(settings, ready)
    for lost in (ready.feast / "online.db", ready.feast):
        if lost.is_dir():
            shutil.rmtree(lost)
            with pytest.raises(NotFound, match=r"gone from the feature store.*backbeat features apply"):
                OnlineFeatures(settings, ready, snapshot).user_history(["user-0"])
            with pytest.raises(NotFound, match="backbeat features apply"):
                materialize(settings, ready)
        else:
            lost.unlink()
        apply_features(settings, ready)
        assert materialize(settings, ready)["outcome"] == "materialized"
        assert materialize(settings, ready)["outcome"] == "unchanged"
        assert OnlineFeatures(settings, ready, snapshot).user_history(["user-0"]) == [["video-0", "video-2"]]


@pytest.mark.parametrize("how", ["gone", "of an earlier version"])
def test_an_online_store_without_the_rows_says_what_to_do(settings: Settings, ready: Home, how: str) -> None:
    snapshot = current_snapshot(ready).id
    materialize(settings, ready)
    reader = OnlineFeatures(settings, ready, snapshot)
    assert reader.user_history(["user-0"]) == [["video-0", "video-2"]]
    with sqlite3.connect(ready.feast / "online.db") as connection:
        table = f'"{project_name(snapshot)}_user_history"'
        connection.execute(f"DROP TABLE {table}")
        if how != "gone":
            connection.execute(
                f"CREATE TABLE {table} (entity_key BLOB, feature_name TEXT, value BLOB, event_us INTEGER)"
            )
    with pytest.raises(NotFound, match=r"an online store without them .*run `backbeat features materialize`"):
        reader.user_history(["user-0"])


def test_two_data_sets_in_one_home_never_mix(
    settings: Settings, ready: Home, database: Database, passed: Callable[..., None], make_platform: Callable[..., Any]
) -> None:
    """Both know user-0 and video-4. A model reads the newest features of its own data, whichever is current."""
    materialize(settings, ready)
    mine = current_snapshot(ready).id
    other = replace(make_platform([(0, 4, -90 * H), (1, 3, -80 * H)]), dataset="other")
    theirs, _ = write_snapshot(ready, other)
    read = OnlineFeatures(settings, ready, mine).user_history
    with pytest.raises(NotFound, match="no snapshot of its data set materialized"):
        OnlineFeatures(settings, ready, theirs.id).user_history(["user-0"])
    apply_features(settings, ready)
    passed(database, theirs.id)
    materialize(settings, ready)
    assert read(["user-0"]) == [["video-0", "video-2"]]
    assert OnlineFeatures(settings, ready, mine).user_history(["user-0"]) == [["video-0", "video-2"]]
    assert OnlineFeatures(settings, ready, theirs.id).user_history(["user-0"]) == [["video-4"]]
    newer, _ = write_snapshot(ready, make_platform([*EVENTS, (0, 1, 40 * H)]))
    assert materialized_snapshot(database, ready, mine) == mine, "not before it is materialized"
    apply_features(settings, ready)
    passed(database, newer.id)
    materialize(settings, ready)
    assert OnlineFeatures(settings, ready, mine).user_history(["user-0"]) == [["video-0", "video-2", "video-1"]]
    write_snapshot(ready, other)
    assert materialized_snapshot(database, ready, mine) == newer.id, "the newest of the same data"
    shutil.rmtree(ready.offline / mine)
    assert materialized_snapshot(database, ready, mine) == mine, "whose data is unknown reads its own features only"
    assert materialized_snapshot(database, ready, "never seen") is None


def test_a_new_snapshot_is_served_when_it_is_materialized(
    settings: Settings,
    ready: Home,
    database: Database,
    passed: Callable[..., None],
    make_platform: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Same ids, older events, another world: nothing of the first may show through."""
    monkeypatch.setattr("feature_repo.online._WAIT_S", 60)
    materialize(settings, ready)
    first = current_snapshot(ready).id
    second, _ = write_snapshot(ready, make_platform([(0, 4, -90 * H), (1, 3, -80 * H)]))
    assert materialized_snapshot(database, ready, first) == first
    reader, restless = (OnlineFeatures(settings, ready, first, recheck_s=seconds) for seconds in (3600, 0))
    for each in (reader, restless):
        assert each.user_history(["user-0"]) == [["video-0", "video-2"]]
    apply_features(settings, ready)
    passed(database, second.id)
    materialize(settings, ready)
    assert reader.user_history(["user-0"]) == [["video-0", "video-2"]], "until it looks again"
    assert restless.user_history(["user-0"]) == [["video-4"]]
    assert reader.refresh()
    assert reader.user_history(["user-0", "user-1", "user-2"]) == [["video-4"], ["video-3"], []]
    assert not reader.refresh()
    reader.close()
    assert not reader.refresh(), "nothing is read"
    assert reader.user_history(["user-0"]) == [["video-4"]]
    write_snapshot(ready, make_platform(EVENTS))
    assert materialized_snapshot(database, ready, first) == first, "back to the first data"


def test_while_a_failed_snapshot_is_current_the_last_good_one_is_served(
    settings: Settings, ready: Home, database: Database, passed: Callable[..., None], make_platform: Callable[..., Any]
) -> None:
    materialize(settings, ready)
    good = current_snapshot(ready).id
    bad, _ = write_snapshot(ready, make_platform([*EVENTS, (0, 1, 40 * H)]))
    apply_features(settings, ready)
    passed(database, bad.id, success=False)
    with pytest.raises(ValidationFailed, match=f"snapshot {bad.id}.*backbeat validate override"):
        materialize(settings, ready)
    assert OnlineFeatures(settings, ready, good).user_history(["user-0"]) == [["video-0", "video-2"]]
    status = feature_status(settings, ready)
    assert (status["snapshot"], status["validated"], status["served"]) == (bad.id, "failed", good)
    assert status["next"] == ["backbeat validate report"], "nothing else would go through the gate"


def test_a_materialized_snapshot_that_newer_rules_refuse_gives_way_to_one_that_passed(
    settings: Settings, ready: Home, database: Database, passed: Callable[..., None], make_platform: Callable[..., Any]
) -> None:
    materialize(settings, ready)
    first = current_snapshot(ready).id
    second, _ = write_snapshot(ready, make_platform([*EVENTS, (0, 1, 40 * H)]))
    apply_features(settings, ready)
    passed(database, second.id)
    materialize(settings, ready)
    assert materialized_snapshot(database, ready, first) == second.id
    passed(database, second.id, success=False)
    assert materialized_snapshot(database, ready, first) == first
    passed(database, first, success=False)
    assert materialized_snapshot(database, ready, first) == second.id, "there is no better one"


def test_readers_come_to_a_new_snapshot_by_themselves(
    settings: Settings, ready: Home, database: Database, passed: Callable[..., None], make_platform: Callable[..., Any]
) -> None:
    """Threads that read all the time see the old rows, then the new ones, and nothing else; no read fails."""
    materialize(settings, ready)
    first = current_snapshot(ready).id
    patient, reader = (OnlineFeatures(settings, ready, first, recheck_s=seconds) for seconds in (3600, 0))
    assert patient.user_history(["user-0"]) == [["video-0", "video-2"]]
    second, _ = write_snapshot(ready, make_platform([*EVENTS, (0, 1, 40 * H)]))
    apply_features(settings, ready)
    passed(database, second.id)
    seen: list[list[list[str]]] = []
    over = threading.Event()

    def read() -> None:
        before: list[str] = []
        while not over.is_set():
            (now,) = reader.user_history(["user-0"])
            if now != before:
                seen.append([before, now])
                before = now

    def wait_for(changes: int) -> None:
        until = time.monotonic() + 60
        while len(seen) < changes and time.monotonic() < until and not any(each.done() for each in reads):
            time.sleep(0.01)

    with ThreadPoolExecutor(2) as pool:
        reads = [pool.submit(read) for _ in range(2)]
        try:
            wait_for(2)
            materialize(settings, ready)
            wait_for(4)
        finally:
            over.set()
        for each in reads:
            each.result()
    old, new = ["video-0", "video-2"], ["video-0", "video-2", "video-1"]
    assert sorted(seen) == sorted([[[], old], [old, new]] * 2)
    assert patient.user_history(["user-0"]) == [old]


def test_readers_go_on_where_the_snapshot_cannot_be_looked_up(
    settings: Settings, ready: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    materialize(settings, ready)
    reader = OnlineFeatures(settings, ready, current_snapshot(ready).id, recheck_s=0)
    assert reader.user_history(["user-0"]) == [["video-0", "video-2"]]
    looked: list[str] = []

    def away(*_arguments: object) -> None:
        looked.append(threading.current_thread().name)
        raise ServiceUnavailable("database", found="silence", expected="an answer", next_step="start it")

    monkeypatch.setattr("feature_repo.online.materialized_snapshot", away)
    with pytest.raises(ServiceUnavailable, match="found silence"):
        reader.refresh()
    until = time.monotonic() + 60
    while looked.count("online-features") < 2 and time.monotonic() < until:
        assert reader.user_history(["user-0"]) == [["video-0", "video-2"]]
        time.sleep(0.01)
    assert looked.count("online-features") >= 2
    assert "cannot tell whether other online features are to be read: database: found silence" in caplog.text


def test_production_addresses_are_asked_for(home: Home) -> None:
    settings = load_settings(home=home.root, profile="production", database_url="sqlite://")
    with pytest.raises(NotFound, match="BACKBEAT_FEAST_REGISTRY_URL"):
        open_store(settings, home, "x")
    settings = load_settings(home=home.root, profile="production", feast_registry_url="sqlite://")
    with pytest.raises(NotFound, match="BACKBEAT_REDIS_URL"):
        open_store(settings, home, "x")
