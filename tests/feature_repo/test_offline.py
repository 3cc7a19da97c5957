"""Snapshots: equal data has one id, and a home shows whole snapshots only."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from contracts.embeddings import EmbeddingSpec
from contracts.errors import BadInput, NotFound
from contracts.home import Home
from feature_repo.offline import (
    current_snapshot,
    manifest_of,
    read_snapshot,
    read_table,
    snapshot_directory,
    write_snapshot,
)
from feature_repo.raw_tables import RawTables
from feature_repo.simulator import simulate

H = timedelta(hours=1)
SPEC = EmbeddingSpec(
    modality="visual", encoder="e", revision="1", preprocessing="none", width=3, dtype="float32", normalisation="none"
).model_dump(mode="json")
EVENTS = [(0, 0, -3 * H), (1, 1, -2 * H), (0, 2, -H), (2, 3, H), (1, 4, 30 * H)]


@pytest.fixture
def raw(make_platform: Callable[..., RawTables]) -> RawTables:
    return make_platform(EVENTS)


def test_equal_data_is_found_again(home: Home, raw: RawTables, make_platform: Callable[..., RawTables]) -> None:
    with home.writing("test"):
        first, created = write_snapshot(home, raw)
        again, created_again = write_snapshot(home, make_platform(EVENTS))
    assert (created, created_again) == (True, False)
    assert again == first == current_snapshot(home)
    assert [p.name for p in home.offline.iterdir() if p.is_dir()] == [first.id]


def test_chunks_do_not_change_the_id(home: Home, raw: RawTables) -> None:
    chunked = {name: pa.concat_tables([table[:2], table[2:]]) for name, table in raw.tables.items()}
    with home.writing("test"):
        first, _ = write_snapshot(home, raw)
        _, created = write_snapshot(home, replace(raw, tables=chunked))
    assert not created
    assert read_table(home, first, "interactions").equals(raw.tables["interactions"])


def test_any_other_value_is_another_snapshot(
    home: Home, raw: RawTables, make_platform: Callable[..., RawTables]
) -> None:
    specs = dict(raw.specs)
    specs["visual"] = specs["visual"].model_copy(update={"revision": "2"})
    split = raw.split.model_copy(update={"nominal": True})
    others = [
        make_platform([*EVENTS[:-1], (1, 3, 30 * H)]),
        make_platform([*EVENTS[:-1], (1, 4, 31 * H)]),
        make_platform(EVENTS, users=4),
        make_platform(EVENTS, published=[-H * 999] * 5),
        replace(raw, specs=specs),
        replace(raw, dataset="another name"),
        replace(raw, split=split),
    ]
    with home.writing("test"):
        ids = {write_snapshot(home, other)[0].id for other in [raw, *others]}
    assert len(ids) == 1 + len(others)
    assert current_snapshot(home).split.nominal


def test_going_back_to_earlier_data(home: Home, raw: RawTables, make_platform: Callable[..., RawTables]) -> None:
    with home.writing("test"):
        first, _ = write_snapshot(home, raw)
        write_snapshot(home, make_platform(EVENTS[:3]))
        back, created = write_snapshot(home, raw)
    assert not created
    assert current_snapshot(home) == back == first


def test_reads_columns(home: Home, raw: RawTables) -> None:
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, raw)
    assert read_table(home, snapshot, "videos", ["video_id"]).column_names == ["video_id"]
    with pytest.raises(NotFound, match="table 'music' of snapshot"):
        read_table(home, snapshot, "music")
    with pytest.raises(NotFound, match="snapshot 0123: found no"):
        read_snapshot(home, "0123")


def test_a_home_without_data_says_what_to_do(home: Home) -> None:
    with pytest.raises(NotFound, match="found nothing there"):
        current_snapshot(home)
    with home.writing("test"):
        pass
    with pytest.raises(NotFound, match=r"found no data in it.*backbeat ingest"):
        current_snapshot(home)


def test_a_table_of_another_schema_changes_nothing(home: Home, raw: RawTables) -> None:
    spoiled = {**raw.tables, "users": raw.tables["users"].drop_columns(["ingested_at"])}
    with pytest.raises(BadInput, match="offline table 'users'"), home.writing("test"):
        write_snapshot(home, replace(raw, tables=spoiled))
    assert not home.root.exists()


def test_a_full_disk_leaves_no_home_behind(home: Home, raw: RawTables, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("feature_repo.offline.pq.write_table", full)
    with pytest.raises(BadInput, match="no space left on the disk"), home.writing("test"):
        write_snapshot(home, raw)
    assert not home.root.exists()


def test_tables_lie_in_the_snapshot_directory(home: Home, raw: RawTables) -> None:
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, raw)
    directory: Path = snapshot_directory(home, snapshot.id)
    assert {p.stem for p in directory.glob("*.parquet")} == set(raw.tables) == set(snapshot.tables)


def test_a_snapshot_that_lost_a_table_is_written_again(home: Home) -> None:
    raw = simulate(users=20, videos=60, days=5, seed=1, events=200)
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, raw)
        (snapshot_directory(home, snapshot.id) / "users.parquet").unlink()
        again, created = write_snapshot(home, raw)
    assert (again.id, created) == (snapshot.id, True)
    assert read_table(home, again, "users").num_rows == 20


@pytest.mark.parametrize("part", ["embeddings", "split", "tables", "dataset", "id", "damaged"])
def test_a_manifest_that_somebody_has_changed_is_refused(home: Home, raw: RawTables, part: str) -> None:
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, raw)
    path = snapshot_directory(home, snapshot.id) / "snapshot.json"
    written = json.loads(path.read_text())
    if part == "embeddings":
        written[part]["visual"] = written[part].get("visual", SPEC) | {"encoder": "another"}
    elif part == "split":
        written[part]["train_until"] = "2020-01-01T00:00:00Z"
    elif part == "tables":
        written[part]["users"]["sha256"] = "0" * 64
    else:
        written[part] = "another"
    path.write_text("{" if part == "damaged" else json.dumps(written))
    with pytest.raises(
        BadInput, match=rf"snapshot {snapshot.id}: found a manifest {path} that is not as it was written"
    ):
        current_snapshot(home)


def test_a_manifest_of_another_snapshot_is_refused(home: Home, raw: RawTables) -> None:
    with home.writing("test"):
        first, _ = write_snapshot(home, raw)
        second, _ = write_snapshot(home, replace(raw, dataset="another name"))
    shutil.copy(*(snapshot_directory(home, each.id) / "snapshot.json" for each in (first, second)))
    with pytest.raises(BadInput, match=f"it is of snapshot {first.id}"):
        current_snapshot(home)


def test_a_manifest_of_a_version_with_fewer_facts_is_read() -> None:
    """What a spec did not have when the id was made is no part of it."""
    facts = {name: SPEC[name] for name in SPEC if name not in ("entity", "available_from")}
    content = {
        "dataset": "d",
        "tables": {"users": "1" * 64},
        "embeddings": {"visual": facts},
        "split": {"train_until": "2024-01-01T00:00:00Z", "validation_until": "2024-01-02T00:00:00Z", "nominal": True},
    }
    identity = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    more = {"id": identity, "source": "s", "created_at": "2024-01-03T00:00:00Z"}
    tables = {"users": {"rows": 3, "sha256": "1" * 64}}
    assert manifest_of(json.dumps(content | more | {"tables": tables}).encode()).embeddings["visual"].entity == "video"
