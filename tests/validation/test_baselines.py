"""Which accepted report a snapshot is compared with, what is read of it, and what is thrown away."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import BadInput, NotFound
from contracts.home import Home
from contracts.reports import ValidationReport, store_report
from contracts.snapshot import PUSHED, Snapshot
from feature_repo.offline import write_snapshot
from validation.baselines import (
    MANIFEST,
    choose_reference,
    declined_baseline,
    load_baseline,
    profile_directory,
    prune_profiles,
)
from validation.override import accept_report
from validation.statistics.profile import measure_vectors

Judge = Callable[..., Snapshot]


@pytest.fixture
def judged(home: Home, database: Database, data) -> Judge:
    """``judged(seed, success=True, …)``: ingest other vectors, and leave behind what a judgement of them would."""
    made = 0

    def judge(seed: int, success: bool = True, *, profiles: bool = True, **raw: str) -> Snapshot:
        nonlocal made
        made += 1
        data.put_matrix(np.random.default_rng(seed).normal(size=data.matrix().shape).astype(np.float32))
        with home.writing("test"):
            snapshot, _ = write_snapshot(home, replace(data.raw, **raw))
        report = ValidationReport(
            id=f"report{made}",
            snapshot=snapshot.id,
            created_at=utc_now() + timedelta(minutes=made),
            success=success,
            suites=[],
            data_docs="index.html",
            dataset=snapshot.dataset,
            statistics={"embedding_visual": {"rows": float(seed)}, "users": {"rows": 40.0}},
        )
        store_report(database, report)
        if profiles:
            spec = snapshot.embeddings["visual"]
            directory = profile_directory(home, report.id, spec.digest)
            directory.mkdir(parents=True)
            vectors, owners = data.tables["embedding_visual"], data.tables["videos"]
            measure_vectors(vectors, owners, "video_id", spec).profile.save(directory)
            (home.quality / report.id / MANIFEST).write_text(snapshot.model_dump_json())
        return snapshot

    return judge


def test_the_newest_accepted_one_of_the_data_set(home: Home, database: Database, judged: Judge) -> None:
    first = judged(1)
    assert choose_reference(home, database, first) is None, "nothing was before"
    second, failed = judged(2), judged(3, success=False)
    other = judged(4, dataset="other")
    assert choose_reference(home, database, other) is None
    reference = choose_reference(home, database, failed)
    assert reference is not None
    assert reference.snapshot == second
    assert [line.snapshot for line in reference.before] == [first.id, second.id], "oldest first"
    of_second = choose_reference(home, database, second)
    assert of_second is not None
    assert of_second.snapshot == first, "never the snapshot itself"
    accept_report(database, "report3", "is as it should be", "ann")
    reference = choose_reference(home, database, first)
    assert reference is not None
    assert reference.snapshot == failed, "a person has accepted it"


def test_a_snapshot_counts_by_its_newest_report(home: Home, database: Database, judged: Judge) -> None:
    judged(1)
    judged(1, success=False)
    assert choose_reference(home, database, judged(2)) is None


def test_another_seed_is_another_world(home: Home, database: Database, judged: Judge) -> None:
    one = judged(1, source="simulator users=40 seed=1")
    judged(2, source="simulator users=40 seed=2")
    again = judged(3, source="simulator users=40 seed=1" + PUSHED)
    reference = choose_reference(home, database, again)
    assert reference is not None
    assert reference.snapshot == one
    named = choose_reference(home, database, again, judged(4, source="simulator users=40 seed=3").id)
    assert named is not None, "but whoever names it may have it"


def test_what_is_asked_for(home: Home, database: Database, judged: Judge) -> None:
    first, second, third = judged(1), judged(2), judged(3)
    rejected = judged(4, success=False)
    assert choose_reference(home, database, third, "none") is None
    reference = choose_reference(home, database, third, first.id)
    assert reference is not None
    assert reference.snapshot == first
    assert [line.snapshot for line in reference.before] == [first.id], "what came later is no part of its history"
    with pytest.raises(BadInput, match="the snapshot that is judged"):
        choose_reference(home, database, second, second.id)
    for unknown in ("nosuch", rejected.id):
        with pytest.raises(NotFound, match=f"accepted snapshot '{unknown}'.*--baseline none"):
            choose_reference(home, database, second, unknown)


def test_what_is_read(home: Home, database: Database, judged: Judge) -> None:
    first, second = judged(1), judged(2)
    reference = choose_reference(home, database, judged(3))
    assert reference is not None
    baseline = load_baseline(home, database, reference)
    assert baseline.snapshot == second
    digest = first.embeddings["visual"].digest
    assert set(baseline.profiles) == {digest}
    assert len(baseline.profiles[digest].ids) == 60
    assert [each["rows"] for each in baseline.history[digest]] == [1.0, 2.0]
    assert len(baseline.history["users"]) == 2


def test_statistics_of_another_encoder_teach_nothing(home: Home, database: Database, judged: Judge, data) -> None:
    judged(1)
    specs = data.raw.specs
    newer = specs | {"visual": specs["visual"].model_copy(update={"revision": "2"})}
    judged(2, specs=newer)
    reference = choose_reference(home, database, judged(3, specs=newer))
    assert reference is not None
    history = load_baseline(home, database, reference).history
    assert [each["rows"] for each in history[newer["visual"].digest]] == [2.0]
    assert len(history["users"]) == 2


def test_at_most_twenty_teach(home: Home, database: Database, judged: Judge) -> None:
    for seed in range(22):
        judged(seed, profiles=seed == 21)
    reference = choose_reference(home, database, judged(99))
    assert reference is not None
    digest = reference.snapshot.embeddings["visual"].digest
    rows = [each["rows"] for each in load_baseline(home, database, reference).history[digest]]
    assert rows == list(range(2, 22))


@pytest.mark.parametrize("lost", ["profiles", "profile.json", "sample.npy", "entities.parquet"])
def test_what_is_gone_or_damaged_is_said_and_never_passed_over(
    home: Home, database: Database, judged: Judge, lost: str
) -> None:
    snapshot = judged(1)
    kept = profile_directory(home, "report1", snapshot.embeddings["visual"].digest)
    reference = choose_reference(home, database, judged(2))
    assert reference is not None
    if lost == "profiles":
        shutil.rmtree(kept.parent)
    else:
        (kept / lost).write_bytes(b"garbage")
    ways = rf"baseline snapshot {snapshot.id} \(report report1\): found (no whole|a damaged) {kept}.*--baseline none"
    with pytest.raises(BadInput, match=ways):
        load_baseline(home, database, reference)
    if lost != "profiles":
        (kept / lost).unlink()
        with pytest.raises(NotFound, match=ways):
            load_baseline(home, database, reference)


def test_a_lost_manifest_is_read_beside_the_tables_while_they_are_there(
    home: Home, database: Database, judged: Judge
) -> None:
    first = judged(1)
    second = judged(2)
    (home.quality / "report1" / MANIFEST).unlink()
    reference = choose_reference(home, database, second)
    assert reference is not None
    assert reference.snapshot == first
    shutil.rmtree(home.offline / first.id)
    with pytest.raises(NotFound, match=f"found no whole {home.quality / 'report1' / MANIFEST}"):
        choose_reference(home, database, second)


def test_profiles_nothing_will_be_compared_with_are_thrown_away(home: Home, database: Database, judged: Judge) -> None:
    for seed, success in ((1, True), (2, True), (3, False), (4, True), (5, False), (6, True), (6, True)):
        judged(seed, success)
    judged(1, source="simulator seed=1", dataset="simulated")
    prune_profiles(home, database, "sound")
    left = {path.parent.name for path in home.quality.glob("*/profiles")}
    assert left == {"report7", "report4", "report2", "report5", "report8"}
    assert (home.quality / "report1" / MANIFEST).is_file(), "only profiles go"


def test_every_simulated_world_keeps_its_own(home: Home, database: Database, judged: Judge) -> None:
    for seed in range(5):
        judged(seed, source=f"simulator seed={seed}")
    prune_profiles(home, database, "sound")
    assert len(list(home.quality.glob("*/profiles"))) == 5


def test_what_was_learned_of_a_revision_goes_with_it_when_it_is_put_in_use(
    home: Home, database: Database, judged: Judge, data
) -> None:
    first = data.raw.specs["visual"]
    second = first.model_copy(update={"revision": "2"})
    judged(1)
    judged(2, specs=data.raw.specs | {"visual": second})
    judged(3)
    reference = choose_reference(home, database, judged(4, specs=data.raw.specs | {"visual": second}))
    assert reference is not None
    history = load_baseline(home, database, reference).history
    assert [each["rows"] for each in history[first.digest]] == [1.0, 3.0]
    assert second.digest not in history, "the accepted snapshot has none of it"


def test_a_baseline_older_than_the_profiles_that_are_kept(home: Home, database: Database, judged: Judge) -> None:
    oldest, *newer = [judged(seed) for seed in range(4)]
    now = judged(9, success=False)
    prune_profiles(home, database, "sound")
    reference = choose_reference(home, database, now, oldest.id)
    assert reference is not None
    others = ", ".join(each.id for each in reversed(newer))
    with pytest.raises(NotFound, match=rf"kept of the three newest accepted snapshots; expected one of {others}\."):
        load_baseline(home, database, reference)


def test_what_is_declined(home: Home, database: Database, judged: Judge) -> None:
    first = judged(1)
    assert declined_baseline(home, database, first, None) is None, "there is nothing to be compared with"
    second, now = judged(2), judged(3)
    for asked, declined in ((None, None), (second.id, None), (first.id, second.id), ("none", second.id)):
        reference = choose_reference(home, database, now, asked)
        assert declined_baseline(home, database, now, reference) == declined
    other_world = judged(4, source="simulator seed=1")
    assert declined_baseline(home, database, other_world, None) is None


def test_manifests_that_are_lost_stop_only_who_is_compared_with_them(
    home: Home, database: Database, judged: Judge
) -> None:
    first, second, now = judged(1), judged(2), judged(3)
    (home.quality / "report1" / MANIFEST).write_text("{")
    reference = choose_reference(home, database, now)
    assert reference is not None
    assert (len(reference.before), reference.notes) == (2, ()), "the one beside the tables is whole"
    (home.offline / first.id / "snapshot.json").write_bytes((home.offline / second.id / "snapshot.json").read_bytes())
    reference = choose_reference(home, database, now)
    assert reference is not None
    assert [line.snapshot for line in reference.before] == [second.id]
    assert "report report1 has lost its manifest" in reference.notes[0]
    with pytest.raises(BadInput, match=f"found a damaged {home.quality / 'report1' / MANIFEST}"):
        choose_reference(home, database, now, first.id)
