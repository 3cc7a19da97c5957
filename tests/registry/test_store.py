"""Look-up and selection on a real MLflow registry."""

import math
from datetime import UTC
from pathlib import Path

import numpy as np
import pytest

from contracts.current import current_snapshot_id
from contracts.errors import NotFound, ServiceUnavailable
from contracts.home import Home
from contracts.settings import load_settings
from contracts.surfaces import OTHER_STUDY, Tag
from registry.lifecycle import Standing
from registry.store import ModelStore, ModelVersion

SURFACE = "video-feed"


def _best(shelf) -> str:
    return shelf.store.get(SURFACE, "best").version


def test_versions_come_newest_first_with_all_that_is_known(shelf) -> None:
    shelf.register("mf", 0.1)
    shelf.register("lightgcn", 0.2, measured=False)
    shelf.client.set_registered_model_alias(SURFACE, "champion", "1")
    newest, oldest = shelf.store.versions(SURFACE)
    assert (newest.version, newest.model, newest.state, newest.aliases) == ("2", "lightgcn", "registered", ())
    assert (oldest.version, oldest.model, oldest.state, oldest.aliases) == ("1", "mf", "champion", ("champion",))
    assert newest.metrics == {"validation_recall_at_20": 0.2}
    assert newest.snapshot == "snap-1"
    assert newest.created_at.tzinfo is UTC
    assert newest.run_id
    assert newest.source.startswith("file:")


def test_more_versions_than_one_page_holds(shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(5):
        shelf.register()
    monkeypatch.setattr("registry.store._PAGE", 2)
    assert [v.version for v in shelf.store.versions(SURFACE)] == ["5", "4", "3", "2", "1"]
    assert all(v.metrics for v in shelf.store.versions(SURFACE))


def test_an_unknown_surface_names_the_nearest(shelf) -> None:
    with pytest.raises(NotFound, match=r"surface 'video-fed'.*'video-feed'"):
        shelf.store.versions("video-fed")


def test_a_surface_without_versions(shelf) -> None:
    assert shelf.store.versions("music") == []
    with pytest.raises(NotFound, match="none is known yet"):
        shelf.store.get("music", "champion")
    with pytest.raises(NotFound, match="best version of music: found 0 measured versions"):
        shelf.store.get("music", "best")


def test_reading_a_home_without_a_registry_makes_none(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "none")
    assert ModelStore(settings, Home.open(settings)).versions(SURFACE) == []
    assert not (tmp_path / "none").exists()


def test_selecting_by_number_and_alias(shelf) -> None:
    shelf.register()
    shelf.register()
    shelf.client.set_registered_model_alias(SURFACE, "shadow", "1")
    assert shelf.store.get(SURFACE, "2").version == "2"
    assert shelf.store.get(SURFACE, "shadow").version == "1"
    with pytest.raises(NotFound, match="video-feed version 'champion': found no"):
        shelf.store.get(SURFACE, "champion")
    with pytest.raises(NotFound, match="'runner-up'"):
        shelf.store.get(SURFACE, "runnerup")
    assert shelf.store.by_alias(SURFACE, "champion") is None


def test_best_is_the_highest_sound_metric_and_the_older_of_equals(shelf) -> None:
    for metric in (0.1, 0.3, 0.3, None, math.nan):
        shelf.register(metric=metric)
    assert _best(shelf) == "2"
    assert shelf.store.get(SURFACE, "runner-up").version == "3"


def test_best_leaves_out_retired_versions_and_runner_up_the_champion(shelf) -> None:
    for metric in (0.3, 0.2, 0.1):
        shelf.register(metric=metric)
    shelf.client.set_model_version_tag(SURFACE, "1", Tag.STATE, "retired")
    assert _best(shelf) == "2"
    shelf.client.set_registered_model_alias(SURFACE, "champion", "3")
    with pytest.raises(NotFound, match="runner-up version of video-feed: found 3 measured versions"):
        shelf.store.get(SURFACE, "runner-up")


def test_best_looks_only_at_the_current_data(shelf) -> None:
    shelf.register(metric=0.9, snapshot="snap-0")
    shelf.register(metric=0.1, snapshot="snap-1")
    shelf.register(metric=0.8, snapshot="snap-2")
    assert _best(shelf) == "2"
    shelf.point_at("snap-2")
    assert _best(shelf) == "3"
    shelf.point_at("snap-3")
    with pytest.raises(NotFound, match="best version of video-feed: found 0 measured versions on the current data"):
        _best(shelf)


def test_best_looks_only_at_the_protocol_of_the_newest_version(shelf) -> None:
    shelf.register(metric=0.9)
    shelf.register(metric=0.1)
    shelf.client.set_model_version_tag(SURFACE, "1", Tag.PROTOCOL, "older")
    assert _best(shelf) == "2"


def test_a_version_of_a_papers_study_is_never_best(shelf) -> None:
    for metric in (0.2, 0.9):
        shelf.register(metric=metric)
    shelf.client.set_model_version_tag(SURFACE, "2", Tag.PROTOCOL, "of the study")
    shelf.client.set_model_version_tag(SURFACE, "2", Tag.STUDY, OTHER_STUDY)
    assert _best(shelf) == "1"


def test_the_pointer_is_the_one_that_ingest_writes(home: Home, make_mmssl, tmp_path: Path) -> None:
    from feature_repo.offline import write_snapshot
    from feature_repo.readers.mmssl import read_mmssl

    assert current_snapshot_id(home) is None
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, read_mmssl(make_mmssl(tmp_path / "data"), None))
    assert current_snapshot_id(home) == snapshot.id


def test_aliases_win_over_tags_that_a_killed_process_left(shelf) -> None:
    shelf.register()
    shelf.register()
    shelf.client.set_model_version_tag(SURFACE, "1", Tag.STATE, "champion")
    shelf.client.set_registered_model_alias(SURFACE, "champion", "2")
    assert shelf.states() == {"1": "retired", "2": "champion"}


def test_a_package_on_this_machine_is_used_where_it_lies(shelf) -> None:
    shelf.register()
    package = shelf.package("1")
    assert package.is_relative_to(shelf.home.artifacts)
    assert (package / "manifest.json").is_file()
    assert not (shelf.home.cache / "packages").exists()


def test_a_package_elsewhere_is_fetched_once(shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf.register(measured=False)
    local = shelf.store.get(SURFACE, "1")
    elsewhere = ModelVersion(**{**local.__dict__, "source": f"runs:/{local.run_id}/package"})
    first = shelf.store.package_path(elsewhere)
    assert first.is_relative_to(shelf.home.cache / "packages")
    assert sorted(p.name for p in first.iterdir()) == ["golden.json", "manifest.json", "weights.safetensors"]
    monkeypatch.setattr(ModelStore, "_fetch", None)
    assert shelf.store.package_path(elsewhere) == first


def test_a_package_that_is_gone(shelf) -> None:
    import shutil

    shelf.register()
    version = shelf.store.get(SURFACE, "1")
    shutil.rmtree(shelf.package("1"))
    with pytest.raises(NotFound, match=r"package of video-feed version 1 .* found no such directory"):
        shelf.store.package_path(version)
    elsewhere = ModelVersion(**{**version.__dict__, "source": f"runs:/{'0' * 32}/package"})
    with pytest.raises(NotFound, match="package of video-feed version 1 at runs:/0"):
        shelf.store.package_path(elsewhere)
    assert not list((shelf.home.cache / "packages").glob("*")), "nothing half-fetched stays"


def test_assigning_and_reading_back(shelf) -> None:
    shelf.register()
    shelf.register()
    wanted = Standing({"champion": "2", "shadow": None}, {"2": "champion", "1": "retired"})
    before = shelf.store.standing(SURFACE, wanted)
    assert before == Standing({"champion": None, "shadow": None}, {"2": "registered", "1": "registered"})
    shelf.store.assign(SURFACE, wanted)
    assert shelf.store.standing(SURFACE, wanted) == wanted
    shelf.store.assign(SURFACE, before)
    assert shelf.store.standing(SURFACE, wanted) == before


def test_a_database_server_that_is_not_there_is_named_at_once(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    settings = load_settings(
        home=tmp_path / "home", profile="production", mlflow_url="postgresql+psycopg://me:secret@127.0.0.1:1/mlflow"
    )
    with pytest.raises(ServiceUnavailable, match=r"setting BACKBEAT_MLFLOW_URL, postgresql.*me:\*\*\*@127") as caught:
        ModelStore(settings, Home.open(settings)).versions(SURFACE)
    assert "secret" not in str(caught.value)


def test_an_infinite_metric_is_not_the_best(shelf) -> None:
    shelf.register(metric=np.inf)
    shelf.register(metric=0.2)
    assert _best(shelf) == "2"


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "postgresql+psycopg://u@127.0.0.1:1/mlflow"])
def test_an_mlflow_that_is_down_is_said_at_once(tmp_path: Path, url: str) -> None:
    settings = load_settings(home=tmp_path / "home", profile="production", mlflow_url=url)
    with pytest.raises(ServiceUnavailable, match=r"BACKBEAT_MLFLOW_URL.*127\.0\.0\.1.*backbeat doctor"):
        ModelStore(settings, Home.open(settings)).holders("video-feed")


def test_a_damaged_mlflow_is_named(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "home")
    home = Home.open(settings)
    home.root.mkdir()
    home.mlflow_database.write_bytes(b"garbage" * 1000)
    with pytest.raises(ServiceUnavailable, match=r"MLflow's database .*mlflow\.db: found .*not a database"):
        ModelStore(settings, home).holders("video-feed")
