"""The files of derived views: complete, sorted, whole or absent, and taken up again after an interruption."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from contracts.home import Home
from contracts.snapshot import Snapshot
from contracts.tables import schema_of
from feature_repo.offline import write_snapshot
from feature_repo.simulator import simulate
from feature_repo.views.builder import schema_of_view
from feature_repo.views.builders import BUILDERS, builders_of
from feature_repo.views.catalogue import FAMILIES, views_of
from feature_repo.views.derived import derived_directory, ensure_derived


@pytest.fixture
def snapshot(home: Home) -> Snapshot:
    """A small simulated platform in a home without features."""
    with home.writing("test"):
        return write_snapshot(home, simulate(users=40, videos=60, days=6, seed=1, events=400))[0]


def test_every_derived_view_has_its_file(home: Home, snapshot: Snapshot) -> None:
    with home.writing("test"):
        directory, computed = ensure_derived(home, snapshot)
        assert computed
        assert ensure_derived(home, snapshot) == (directory, False)
    assert directory == derived_directory(home, snapshot.id)
    derived = {name: view for name, view in views_of(home, snapshot).items() if view.derived}
    assert {view.path for view in derived.values()} == set(directory.iterdir())
    for view in derived.values():
        table = pq.read_table(view.path)
        assert table.schema.equals(schema_of_view(view)), view.name
        order = table.sort_by([(view.key, "ascending"), ("event_time", "ascending")])
        assert table.select([view.key, "event_time"]).equals(order.select([view.key, "event_time"])), view.name
        assert table.num_rows, view.name


def test_every_derived_family_has_a_builder(home: Home, snapshot: Snapshot) -> None:
    """Its tables are in the contract, and a pushed table has the column that names who changes."""
    assert set(BUILDERS) == {name for name, family in FAMILIES.items() if family.derived}
    for name, builder in builders_of(home, snapshot).items():
        assert set(builder.streams) <= set(builder.needs), name
        for table, column in builder.streams.items():
            assert column in schema_of(table).names, name


def test_an_interrupted_run_keeps_what_it_has_and_shows_nothing(
    home: Home, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = list(builders_of(home, snapshot))
    target = derived_directory(home, snapshot.id)
    building = target.with_name(f"{target.name}.building")
    written: list[str] = []
    write = pq.ParquetWriter.__init__

    def stop_at_the_fourth(self: pq.ParquetWriter, where: Path, *args: object, **kwargs: object) -> None:
        written.append(str(where))
        write(self, where, *args, **kwargs)
        if len(written) == 4:
            raise KeyboardInterrupt

    with home.writing("test"):
        with monkeypatch.context() as patched:
            patched.setattr(pq.ParquetWriter, "__init__", stop_at_the_fourth)
            with pytest.raises(KeyboardInterrupt):
                ensure_derived(home, snapshot)
        assert not target.exists()
        assert sorted(path.name for path in building.iterdir()) == sorted(f"{name}.parquet" for name in names[:3])
        kept = {path.name: path.stat().st_mtime_ns for path in building.iterdir()}
        (building / f".{names[3]}.parquet.12345678.partial").write_bytes(b"what a killed process leaves")
        assert ensure_derived(home, snapshot) == (target, True)
    assert not building.exists()
    assert {name: (target / name).stat().st_mtime_ns for name in kept} == kept
    assert sorted(path.name for path in target.iterdir()) == sorted(f"{name}.parquet" for name in names)


def test_a_view_that_is_new_to_the_code_is_added(home: Home, snapshot: Snapshot) -> None:
    with home.writing("test"):
        directory, _ = ensure_derived(home, snapshot)
        before = pq.read_table(directory / "user_two_hop.parquet")
        (directory / "user_two_hop.parquet").unlink()
        others = {path: path.stat().st_mtime_ns for path in directory.iterdir()}
        assert ensure_derived(home, snapshot) == (directory, True)
    assert pq.read_table(directory / "user_two_hop.parquet").equals(before)
    assert {path: path.stat().st_mtime_ns for path in others} == others


def test_wide_rows_lie_in_small_groups(home: Home, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever reads a file in chunks holds at least one group of it."""
    monkeypatch.setattr("feature_repo.views.derived._GROUP_ROWS", {True: 7, False: 50})
    with home.writing("test"):
        directory, _ = ensure_derived(home, snapshot)
    for name, most in (("user_history", 7), ("video_clusters", 50)):
        groups = pq.ParquetFile(directory / f"{name}.parquet").metadata
        assert groups.num_row_groups > 1
        assert max(groups.row_group(n).num_rows for n in range(groups.num_row_groups)) == most


def test_centres_outlive_the_cache(home: Home, snapshot: Snapshot) -> None:
    """Derived views may be deleted and computed again: clusters keep their numbers."""
    import shutil

    with home.writing("test"):
        directory, _ = ensure_derived(home, snapshot)
        clusters = pq.read_table(directory / "video_clusters.parquet")
        assert list(home.centres.iterdir())
        shutil.rmtree(home.cache)
        again, computed = ensure_derived(home, snapshot)
    assert computed
    assert pa.Table.equals(clusters, pq.read_table(again / "video_clusters.parquet"))
