"""Going on without what is broken, or refusing to; and what is served meanwhile."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from contracts.current import current_snapshot_id
from contracts.database import Database
from contracts.errors import Conflict, NotFound, ValidationFailed
from contracts.home import Home
from contracts.reports import latest_report, past_reports, require_passed
from contracts.settings import Settings
from contracts.snapshot import table_path
from feature_repo.offline import current_snapshot, read_table
from validation.quarantine import BROKEN_RULE, ROW
from validation.run import validate_snapshot

USERS = 130
"""So many that a few of their events are less than one in a hundred."""


@pytest.fixture
def data(few_users):
    """A sound data set of this test's own, larger than that of the other tests."""
    return type(few_users)(users=USERS)


def _unknown_users(data, rows: tuple[int, ...]) -> None:
    users = data.tables["interactions"]["user_id"].to_pylist()
    for row in rows:
        users[row] = "nobody"
    data.put("interactions", "user_id", users)


def _nothing_but_nan(data) -> None:
    data.put_matrix(np.full_like(data.matrix(), np.nan))


@contextmanager
def _unchanged(home: Home, database: Database) -> Iterator[None]:
    """Whatever happens in the block: what is current, what is there and what was said of it stay."""

    def state() -> object:
        names = [sorted(path.name for path in directory.iterdir()) for directory in (home.offline, home.quality)]
        return current_snapshot_id(home), names, past_reports(database)

    before = state()
    yield
    assert state() == before


def test_offending_rows_are_kept_with_the_rule_and_left_out(
    settings: Settings, home: Home, database: Database, data, judged_broken
) -> None:
    _unknown_users(data, (3, 7))
    broken = data.ingest(home)
    failed = judged_broken(settings, home)
    (part,) = failed.quarantine
    assert (part.table, part.whole, part.rows, part.remedy) == ("interactions", False, 2, "drop")
    assert "users table" in part.reason
    kept = pq.read_table(Path(failed.data_docs).parent / str(part.file))
    assert kept[ROW].to_pylist() == [3, 7]
    assert kept["user_id"].to_pylist() == ["nobody"] * 2
    assert all("users table" in rule for rule in kept[BROKEN_RULE].to_pylist())

    mended = validate_snapshot(settings, home, quarantine=True)
    assert mended.success
    assert mended.parent == failed.id
    assert current_snapshot_id(home) == mended.snapshot != broken.id
    assert require_passed(database, home, mended.snapshot) == mended
    events = read_table(home, current_snapshot(home), "interactions")
    assert len(events) == data.tables["interactions"].num_rows - 2
    assert "nobody" not in events["user_id"].to_pylist()
    assert latest_report(database, broken.id) == failed, "the broken one is as it was, and stays refused"
    assert validate_snapshot(settings, home).id == mended.id, "the mended one is not judged again"


def test_broken_vectors_are_those_of_the_last_accepted_snapshot(
    settings: Settings, home: Home, database: Database, data, judged_broken
) -> None:
    sound = data.ingest(home)
    assert validate_snapshot(settings, home).success
    former = data.tables["embedding_visual"]
    data.put("videos", "title", ["another title"] * former.num_rows)
    _nothing_but_nan(data)
    data.ingest(home)
    failed = judged_broken(settings, home)
    (part,) = failed.quarantine
    assert (part.table, part.whole, part.remedy, part.file) == ("embedding_visual", True, "replace", None)
    assert failed.baseline == sound.id
    mended = validate_snapshot(settings, home, quarantine=True)
    assert (mended.success, mended.parent, mended.baseline) == (True, failed.id, sound.id)
    snapshot = current_snapshot(home)
    assert read_table(home, snapshot, "embedding_visual").equals(former)
    assert read_table(home, snapshot, "videos")["title"].to_pylist()[0] == "another title", "the rest is the new one's"
    assert snapshot.embeddings == sound.embeddings


def test_vectors_of_entities_that_are_gone_do_not_come_back(
    settings: Settings, home: Home, data, judged_broken
) -> None:
    data.ingest(home)
    validate_snapshot(settings, home)
    gone = "v7"
    data.tables["videos"] = data.tables["videos"].filter(pc.not_equal(data.tables["videos"]["video_id"], gone))
    for table in ("interactions", "embedding_acoustic"):
        data.tables[table] = data.tables[table].filter(pc.not_equal(data.tables[table]["video_id"], gone))
    _nothing_but_nan(data)
    data.ingest(home)
    judged_broken(settings, home)
    assert validate_snapshot(settings, home, quarantine=True).success
    ids = read_table(home, current_snapshot(home), "embedding_visual")["video_id"].to_pylist()
    assert gone not in ids
    assert len(ids) == 59


def test_nothing_stands_in_for_broken_vectors_of_a_first_snapshot(
    settings: Settings, home: Home, database: Database, data, judged_broken
) -> None:
    _nothing_but_nan(data)
    data.ingest(home)
    assert [part.remedy for part in judged_broken(settings, home).quarantine] == ["none"]
    with (
        _unchanged(home, database),
        pytest.raises(ValidationFailed, match=r"nothing can stand in for embedding_visual.*backbeat validate override"),
    ):
        validate_snapshot(settings, home, quarantine=True)


def test_another_encoders_vectors_are_no_replacement(
    settings: Settings, home: Home, database: Database, data, judged_broken
) -> None:
    data.ingest(home)
    validate_snapshot(settings, home)
    data.raw.specs["visual"] = data.raw.specs["visual"].model_copy(update={"revision": "2"})
    _nothing_but_nan(data)
    data.ingest(home)
    parts = {part.table: part.remedy for part in judged_broken(settings, home).quarantine}
    assert parts["embedding_visual"] == "none"
    with _unchanged(home, database), pytest.raises(ValidationFailed, match="nothing can stand in"):
        validate_snapshot(settings, home, quarantine=True)


def test_a_table_of_events_is_refused_as_a_whole(
    settings: Settings, home: Home, database: Database, data, judged_broken
) -> None:
    data.ingest(home)
    validate_snapshot(settings, home)
    _unknown_users(data, tuple(range(0, 1000, 10)))
    data.ingest(home)
    parts = {part.table: (part.whole, part.remedy) for part in judged_broken(settings, home).quarantine}
    assert parts["interactions"] == (True, "none")
    with (
        _unchanged(home, database),
        pytest.raises(ValidationFailed, match="what was materialized last is still served"),
    ):
        validate_snapshot(settings, home, quarantine=True)


def test_what_does_not_pass_without_the_rows_either_changes_nothing(
    settings: Settings, home: Home, database: Database, data, monkeypatch: pytest.MonkeyPatch, judged_broken
) -> None:
    """The wrong row is left out, so that the user who is there twice still is."""
    users = data.tables["users"]
    ids = users["user_id"].to_pylist()
    twice = pa.concat_tables([users, users.slice(0, 1)])
    data.tables["users"] = twice
    data.put("users", "user_id", [*ids, "u0"])
    data.ingest(home)
    failed = judged_broken(settings, home)
    assert [(part.table, part.remedy) for part in failed.quarantine] == [("users", "drop")]
    file = Path(failed.data_docs).parent / str(failed.quarantine[0].file)
    rows = pq.read_table(file)
    first = rows.set_column(rows.schema.get_field_index(ROW), ROW, pa.array([1], pa.int64()))
    pq.write_table(first, file)  # another user than the one who is there twice
    with _unchanged(home, database), pytest.raises(ValidationFailed, match=r"without what report .* has set aside"):
        validate_snapshot(settings, home, quarantine=True)
    assert len(past_reports(database)) == 1


def test_a_lost_quarantine_is_named(settings: Settings, home: Home, database: Database, data, judged_broken) -> None:
    _unknown_users(data, (3,))
    data.ingest(home)
    failed = judged_broken(settings, home)
    file = Path(failed.data_docs).parent / str(failed.quarantine[0].file)
    file.unlink()
    with _unchanged(home, database), pytest.raises(NotFound, match=f"no {file}.*--force --quarantine"):
        validate_snapshot(settings, home, quarantine=True)
    assert validate_snapshot(settings, home, force=True, quarantine=True).success


def test_a_lost_replacement_is_named(settings: Settings, home: Home, database: Database, data, judged_broken) -> None:
    sound = data.ingest(home)
    validate_snapshot(settings, home)
    _nothing_but_nan(data)
    data.ingest(home)
    judged_broken(settings, home)
    shutil.rmtree(home.offline / sound.id)
    with (
        _unchanged(home, database),
        pytest.raises(NotFound, match=f"no {table_path(home, sound.id, 'embedding_visual')}"),
    ):
        validate_snapshot(settings, home, quarantine=True)


def test_an_interruption_leaves_the_failed_snapshot_current(
    settings: Settings, home: Home, database: Database, data, monkeypatch: pytest.MonkeyPatch, judged_broken
) -> None:
    _unknown_users(data, (3,))
    data.ingest(home)
    judged_broken(settings, home)

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("validation.pages.write_pages", interrupted)
    with _unchanged(home, database), pytest.raises(KeyboardInterrupt):
        validate_snapshot(settings, home, quarantine=True)
    monkeypatch.undo()
    assert validate_snapshot(settings, home, quarantine=True).success


def test_what_was_mended_before_a_kill_is_not_held_against_itself(
    settings: Settings, home: Home, database: Database, data, monkeypatch: pytest.MonkeyPatch, judged_broken
) -> None:
    sound = data.ingest(home)
    validate_snapshot(settings, home)
    data.put("videos", "title", ["another title"] * data.tables["videos"].num_rows)
    _unknown_users(data, (3,))
    broken = data.ingest(home)
    judged_broken(settings, home)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("validation.mending.make_current", killed)
        with pytest.raises(KeyboardInterrupt):
            validate_snapshot(settings, home, quarantine=True)
    assert current_snapshot_id(home) == broken.id
    left = past_reports(database)[0]
    assert left.accepted, "its report was stored"
    again = validate_snapshot(settings, home, quarantine=True)
    assert (again.snapshot, again.baseline) == (left.snapshot, sound.id)
    assert current_snapshot_id(home) == left.snapshot


def test_a_sound_snapshot_needs_no_mending(settings: Settings, home: Home, data) -> None:
    snapshot = data.ingest(home)
    report = validate_snapshot(settings, home, quarantine=True)
    assert (report.success, report.snapshot, report.parent) == (True, snapshot.id, None)


def test_the_last_good_snapshot_is_served_until_the_mended_one_is_materialized(
    settings: Settings, home: Home, database: Database, data, judged_broken
) -> None:
    from feature_repo.apply import apply_features
    from feature_repo.materialize import materialize, materialized_snapshot
    from feature_repo.online import OnlineFeatures
    from feature_repo.status import feature_status

    good = data.ingest(home)
    apply_features(settings, home)
    validate_snapshot(settings, home)
    materialize(settings, home)
    seen = OnlineFeatures(settings, home, good.id).user_history(["u1"])
    _unknown_users(data, (0, 1))
    bad = data.ingest(home)
    apply_features(settings, home)
    judged_broken(settings, home)
    with pytest.raises(ValidationFailed, match=f"snapshot {bad.id}"):
        materialize(settings, home)
    assert OnlineFeatures(settings, home, good.id).user_history(["u1"]) == seen
    assert feature_status(settings, home)["served"] == good.id
    mended = validate_snapshot(settings, home, quarantine=True)
    assert materialized_snapshot(database, home, good.id) == good.id, "the mended one is not online yet"
    apply_features(settings, home)
    materialize(settings, home)
    assert materialized_snapshot(database, home, good.id) == mended.snapshot


def test_files_that_changed_since_are_not_mended(settings: Settings, home: Home, data, judged_broken) -> None:
    from validation.mending import mend_snapshot

    _unknown_users(data, (3,))
    snapshot = data.ingest(home)
    failed = judged_broken(settings, home)
    table_path(home, snapshot.id, "users").touch()
    database = Database(settings, home)
    with pytest.raises(Conflict, match=f"files that have changed since report {failed.id}"):
        mend_snapshot(settings, home, database, failed)
    database.close()
