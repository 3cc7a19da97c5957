"""A view or service keeps the schema it was first applied with, whatever happens to Feast's own files."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from contracts.errors import Conflict
from contracts.home import Home
from contracts.settings import Settings
from feature_repo.apply import apply_features
from feature_repo.offline import write_snapshot
from feature_repo.raw_tables import RawTables
from feature_repo.schemas import keep_schemas, schemas_of
from feature_repo.services import SERVICES
from feature_repo.store import open_store
from feature_repo.views.catalogue import FAMILIES

H = timedelta(hours=1)


def test_a_changed_schema_needs_a_new_name(
    settings: Settings, home: Home, make_platform: Callable[..., RawTables], monkeypatch: pytest.MonkeyPatch
) -> None:
    history = FAMILIES["user_history"]
    changed = replace(history, features={"video_ids": "list<string>", "kinds": "list<string>"})
    with home.writing("test"):
        write_snapshot(home, make_platform([(0, 0, -H)]))
        assert apply_features(settings, home)["outcome"] == "applied"
        shutil.rmtree(home.feast)
        shutil.rmtree(home.cache)
        monkeypatch.setitem(FAMILIES, "user_history", changed)
        with pytest.raises(
            Conflict,
            match=r"feature view 'user_history': found a changed schema: event_times is gone; kinds is new "
            r"\(list<string>\).*name the changed one 'user_history_v2'",
        ):
            apply_features(settings, home)
        assert not home.feast.exists(), "nothing was applied"
        retyped = replace(history, features={"video_ids": "list<string>", "event_times": "list<float32>"})
        monkeypatch.setitem(FAMILIES, "user_history", retyped)
        with pytest.raises(Conflict, match=r"event_times is list<float32>, was list<int64>"):
            apply_features(settings, home)
        monkeypatch.undo()
        assert apply_features(settings, home)["outcome"] == "applied"


def test_a_changed_service_needs_a_new_version(
    home: Home, make_platform: Callable[..., RawTables], monkeypatch: pytest.MonkeyPatch
) -> None:
    service = SERVICES["m3csr_v1"]
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, make_platform([(0, 0, -H)]))
        keep_schemas(home, snapshot)
        less = replace(service, families=service.families[:-1])
        monkeypatch.setitem(SERVICES, "m3csr_v1", less)
        with pytest.raises(Conflict, match=r"feature service 'm3csr_v1': found .*families is .*'m3csr_v2'"):
            keep_schemas(home, snapshot)
        monkeypatch.setitem(SERVICES, "m3csr_v1", service)
        monkeypatch.setitem(SERVICES, "m3csr_v2", less)
        keep_schemas(home, snapshot)
    recorded = json.loads((home.offline / "schemas.json").read_text())
    assert recorded == schemas_of(home, snapshot)
    assert {"feature service m3csr_v1", "feature service m3csr_v2", "feature view video_trend"} <= set(recorded)


def test_widths_and_revisions_are_no_part_of_a_schema(home: Home, make_platform: Callable[..., RawTables]) -> None:
    """Data of another encoder, another width and fewer modalities are applied under the same names."""
    raw = make_platform([(0, 0, -H)])
    [visual, acoustic] = (raw.specs[name] for name in ("visual", "acoustic"))
    other = replace(
        raw, specs={"visual": visual.model_copy(update={"revision": "2", "width": 7}), "acoustic": acoustic}
    )
    tables = {name: table for name, table in raw.tables.items() if name != "embedding_acoustic"}
    fewer = RawTables(tables, {"visual": visual}, raw.split, "fewer", "test")
    with home.writing("test"):
        for each in (raw, other, fewer):
            keep_schemas(home, write_snapshot(home, each)[0])


def test_what_is_no_longer_defined_is_removed(
    settings: Settings, home: Home, make_platform: Callable[..., RawTables], monkeypatch: pytest.MonkeyPatch
) -> None:
    with home.writing("test"):
        write_snapshot(home, make_platform([(0, 0, -H)]))
        apply_features(settings, home)
        assert "user_two_hop" in {view.name for view in open_store(settings, home).list_feature_views()}
        monkeypatch.delitem(FAMILIES, "user_two_hop")
        monkeypatch.delitem(FAMILIES, "video_profile")  # and with it, what is computed from it at the moment
        monkeypatch.delitem(SERVICES, "iris_v1")
        apply_features(settings, home)
    store = open_store(settings, home)
    assert {"user_two_hop", "user_history"} & {view.name for view in store.list_feature_views()} == {"user_history"}
    assert store.list_on_demand_feature_views() == []
    assert sorted(service.name for service in store.list_feature_services()) == [
        "interactions_v1",
        "m3csr_v1",
        "vbpr_v1",
    ]
    m3csr = store.get_feature_service("m3csr_v1")
    assert "user_two_hop" not in {projection.name for projection in m3csr.feature_view_projections}
