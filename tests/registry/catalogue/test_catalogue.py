import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta

import pytest
import sqlalchemy as sa
from mlflow.tracking import MlflowClient

from contracts.addresses import mlflow_tracking_url
from contracts.catalogue_rows import CatalogueMetricRow, CatalogueSyncRow, CatalogueVersionRow
from contracts.database import Database
from contracts.errors import NotFound
from contracts.home import Home
from contracts.settings import Settings
from contracts.surfaces import PRIMARY_METRICS, Tag
from registry.catalogue.catalogue import Catalogue
from registry.catalogue.query import VersionQuery
from registry.catalogue.server_source import ServerSource
from registry.catalogue.source import DatabaseSource, NoSource, Source
from registry.catalogue.step import Overtaken, compare, look, revision_of
from tests.registry.conftest import SURFACE, Shelf

PRIMARY = PRIMARY_METRICS[SURFACE]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def catalogue(request: pytest.FixtureRequest, shelf: Shelf) -> Iterator[Catalogue]:
    """A catalogue in each database, of a home with an empty MLflow."""
    database = request.getfixturevalue("database_of_shelf")(request.param)
    yield Catalogue(shelf.settings, shelf.home, database)
    database.close()


@pytest.fixture
def database_of_shelf(shelf: Shelf, new_postgres: object, request: pytest.FixtureRequest) -> Iterator[object]:
    """Opens the platform's tables for the shelf."""
    from contextlib import ExitStack

    from contracts.settings import load_settings

    with ExitStack() as stack:

        def make(kind: str) -> Database:
            if kind == "sqlite":
                return Database(shelf.settings, shelf.home)
            url = stack.enter_context(new_postgres())  # type: ignore[operator]
            return Database(load_settings(home=shelf.home.root, profile="production", database_url=url), shelf.home)

        yield make


def register(shelf: Shelf, model: str = "mf", metric: float | None = 0.1, snapshot: str = "snap-1") -> str:
    return shelf.register(model, metric, snapshot, measured=False)


def numbers(catalogue: Catalogue, **query: object) -> list[int]:
    return [int(v.version) for v in catalogue.page(SURFACE, VersionQuery.model_validate(query)).versions]


def test_it_has_what_mlflow_has(catalogue: Catalogue, shelf: Shelf) -> None:
    register(shelf, "mf", 0.1)
    register(shelf, "lightgcn", 0.2)
    shelf.client.log_metric(shelf.store.get(SURFACE, "2").run_id, f"{PRIMARY}_low", 0.18)
    shelf.client.log_metric(shelf.store.get(SURFACE, "2").run_id, f"{PRIMARY}_high", 0.22)
    shelf.client.log_param(shelf.store.get(SURFACE, "2").run_id, "dimension", "64")
    shelf.client.set_model_version_tag(SURFACE, "2", Tag.AUTHOR, "ada")
    for theirs in shelf.store.versions(SURFACE):
        ours = catalogue.get(SURFACE, theirs.version)
        assert (ours.model, ours.variant, ours.snapshot) == (theirs.model, theirs.variant, theirs.snapshot)
        assert (ours.stage, ours.protocol, ours.run_id) == (theirs.state, theirs.protocol, theirs.run_id)
        assert (ours.primary, ours.tags, ours.source) == (theirs.primary_metric, theirs.tags, theirs.source)
        assert abs(ours.created_at - theirs.created_at) < timedelta(milliseconds=1)
    second = catalogue.get(SURFACE, "2")
    assert (second.low, second.high, second.author) == (0.18, 0.22, "ada")
    assert second.parameters == {"dimension": "64"}
    assert catalogue.counts() == {SURFACE: 2, "background-music": 0, "music": 0}


def test_new_versions_and_moves_are_seen_at_the_next_look(catalogue: Catalogue, shelf: Shelf) -> None:
    register(shelf)
    assert numbers(catalogue) == [1]
    register(shelf)
    shelf.client.set_registered_model_alias(SURFACE, "champion", "1")
    shelf.client.set_model_version_tag(SURFACE, "2", Tag.STATE, "retired")
    catalogue.refresh(now=True)
    assert {v.version: v.stage for v in catalogue.page(SURFACE, VersionQuery()).versions} == {
        "1": "champion",
        "2": "retired",
    }
    assert catalogue.get(SURFACE, "champion").version == "1"
    assert catalogue.holders()[SURFACE]["champion"].version == "1"
    shelf.client.delete_registered_model_alias(SURFACE, "champion")
    catalogue.refresh(now=True)
    assert catalogue.get(SURFACE, "1").stage == "registered"
    assert "champion" not in catalogue.holders()[SURFACE]


def test_what_changes_behind_our_back_is_seen_within_seconds(catalogue: Catalogue, shelf: Shelf) -> None:
    register(shelf, "mf", 0.1)
    assert catalogue.get(SURFACE, "1").variant == "mf"
    shelf.client.set_model_version_tag(SURFACE, "1", Tag.VARIANT, "no-bias")
    shelf.client.set_registered_model_alias(SURFACE, "champion", "1")
    shelf.client.log_metric(shelf.store.get(SURFACE, "1").run_id, "extra", 7.0)
    end = time.monotonic() + 12
    while time.monotonic() < end:
        seen = catalogue.get(SURFACE, "1")
        if (seen.variant, seen.stage, seen.metrics.get("extra")) == ("no-bias", "champion", 7.0):
            return
        time.sleep(0.1)
    pytest.fail(f"still {seen}")


def test_nothing_is_written_where_nothing_changed(catalogue: Catalogue, shelf: Shelf) -> None:
    register(shelf)
    catalogue.refresh()
    catalogue.compare()
    before = catalogue.revision
    catalogue.compare()
    catalogue.refresh(now=True)
    assert catalogue.revision == before


def test_deleted_versions_leave(catalogue: Catalogue, shelf: Shelf) -> None:
    for _ in range(3):
        register(shelf)
    assert numbers(catalogue) == [3, 2, 1]
    shelf.client.delete_model_version(SURFACE, "2")
    catalogue.refresh(now=True)
    assert numbers(catalogue) == [3, 1]
    shelf.client.delete_registered_model(SURFACE)
    catalogue.compare()
    assert numbers(catalogue) == []


def test_sorting(catalogue: Catalogue, shelf: Shelf) -> None:
    for model, metric in (("b", 0.2), ("a", 0.3), ("c", None), ("a", 0.1)):
        register(shelf, model, metric)
    for number, value in (("1", 5.0), ("3", 1.0)):
        shelf.client.log_metric(shelf.store.get(SURFACE, number).run_id, "depth", value)
    assert numbers(catalogue) == [4, 3, 2, 1]
    assert numbers(catalogue, sort="version") == [1, 2, 3, 4]
    assert numbers(catalogue, sort="-primary") == numbers(catalogue, sort=f"-{PRIMARY}") == [2, 1, 4, 3]
    assert numbers(catalogue, sort="primary") == [4, 1, 2, 3], "what was not measured comes last either way"
    assert numbers(catalogue, sort="model") == [4, 2, 1, 3]
    assert numbers(catalogue, sort="-depth") == [1, 3, 4, 2]
    assert numbers(catalogue, sort="depth", metric="depth", least="2") == [1]
    assert numbers(catalogue, sort="-created", size=2, page=2) == [2, 1]


def test_filtering(catalogue: Catalogue, shelf: Shelf) -> None:
    for model, metric, snapshot in (("mf", 0.1, "s1"), ("mf", 0.2, "s2"), ("knn", 0.3, "s1")):
        register(shelf, model, metric, snapshot)
    shelf.client.set_registered_model_alias(SURFACE, "champion", "2")
    assert numbers(catalogue, model="mf") == [2, 1]
    assert numbers(catalogue, model="mf", snapshot="s1") == [1]
    assert numbers(catalogue, stage="champion") == [2]
    assert numbers(catalogue, least="0.15", most="0.25") == [2]
    assert numbers(catalogue, metric=PRIMARY, least="0.3") == [3]
    assert numbers(catalogue, model="", least=" ") == [3, 2, 1], "empty fields of a form ask for nothing"
    page = catalogue.page(SURFACE, VersionQuery(snapshot="s1", size=1))
    assert (page.total, page.pages, len(page.versions)) == (2, 2, 1)
    choices, metrics = catalogue.choices(SURFACE)
    assert choices["model"] == [("mf", 2), ("knn", 1)]
    assert metrics == [PRIMARY]


def test_searching(catalogue: Catalogue, shelf: Shelf) -> None:
    register(shelf, "LightGCN", 0.1)
    register(shelf, "mf", 0.2)
    shelf.client.log_param(shelf.store.get(SURFACE, "2").run_id, "Learning_Rate", "0.05%")
    assert numbers(catalogue, q="lightgcn") == numbers(catalogue, q="LIGHT") == [1]
    assert numbers(catalogue, q="learning_rate=0.05%") == [2]
    assert numbers(catalogue, q="learning_rate=0.05% mf") == [2]
    assert numbers(catalogue, q="%") == [2], "no wildcard"
    assert numbers(catalogue, q="0_05") == []
    assert numbers(catalogue, q="nobody") == numbers(catalogue, q="' OR 1=1 --") == []
    assert 1 in numbers(catalogue, q="1")


def test_figures_that_are_no_numbers(catalogue: Catalogue, shelf: Shelf) -> None:
    register(shelf, "mf", float("nan"))
    register(shelf, "mf", float("inf"))
    register(shelf, "mf", 0.1)
    assert [catalogue.get(SURFACE, n).primary for n in "123"] == [None, None, 0.1]
    assert catalogue.get(SURFACE, "1").metrics == {PRIMARY: None}
    assert numbers(catalogue, sort="-primary")[0] == 3
    assert numbers(catalogue, least="0") == [3]


def test_unknown_names(catalogue: Catalogue, shelf: Shelf) -> None:
    with pytest.raises(NotFound, match=r"version '1'.*nothing is registered.*backbeat train"):
        catalogue.get(SURFACE, "1")
    register(shelf)
    register(shelf)
    catalogue.refresh(now=True)
    for wrong in ("7", "champion", "٣", "x", "99999999999999", "1 "):
        with pytest.raises(NotFound, match="one of 2 versions, 1 to 2"):
            catalogue.get(SURFACE, wrong)
    with pytest.raises(NotFound, match=r"surface 'vidio-feed'.*'video-feed'"):
        catalogue.page("vidio-feed", VersionQuery())
    with pytest.raises(NotFound, match=r"metric 'primari'.*'primary'"):
        catalogue.page(SURFACE, VersionQuery(sort="-primari"))
    with pytest.raises(NotFound, match="metric 'x'"):
        catalogue.page(SURFACE, VersionQuery(metric="x", least=1))


def test_another_process_that_was_faster(catalogue: Catalogue, shelf: Shelf) -> None:
    register(shelf)
    catalogue.refresh()
    database = catalogue._database

    class Slow(DatabaseSource):
        """Something else writes while this one reads."""

        def versions(self, since: int = 0) -> object:  # type: ignore[override]
            found = super().versions(since)
            with database.session() as session:
                session.execute(sa.update(CatalogueSyncRow).values(revision=CatalogueSyncRow.revision + 1))
            return found

    register(shelf)
    slow = Slow(mlflow_tracking_url(shelf.settings, shelf.home))
    for step in (look, compare):
        with pytest.raises(Overtaken):
            step(slow, database)
    catalogue.refresh(now=True)
    assert numbers(catalogue) == [2, 1]


def test_a_home_without_mlflow(database: Database, settings: object, home: object) -> None:
    catalogue = Catalogue(settings, home, database)  # type: ignore[arg-type]
    assert catalogue.counts()[SURFACE] == 0
    assert catalogue.fault is None
    assert not home.mlflow_database.exists()  # type: ignore[attr-defined]
    empty = NoSource()
    assert (empty.states(), empty.stamps(), empty.runs([])) == ({}, {}, {})


def test_what_is_known_stays_readable_where_mlflow_is_gone(shelf: Shelf) -> None:
    register(shelf)
    database = Database(shelf.settings, shelf.home)
    assert numbers(Catalogue(shelf.settings, shelf.home, database)) == [1]
    gone = DatabaseSource("postgresql+psycopg://nobody@127.0.0.1:1/mlflow")
    catalogue = Catalogue(shelf.settings, shelf.home, database, gone)
    assert numbers(catalogue) == [1]
    assert catalogue.fault is not None
    assert "127.0.0.1:1" in str(catalogue.fault)
    away = shelf.home.mlflow_database.rename(shelf.home.root / "elsewhere.db")
    for catalogue in (Catalogue(shelf.settings, shelf.home, database), Catalogue(shelf.settings, shelf.home, database)):
        assert numbers(catalogue) == [1]
        assert catalogue.fault is not None
        assert "restore it" in str(catalogue.fault)
    away.rename(shelf.home.mlflow_database)
    catalogue.refresh(now=True)
    assert catalogue.fault is None
    shelf.home.mlflow_database.write_bytes(b"garbage" * 1000)
    catalogue = Catalogue(shelf.settings, shelf.home, database)
    assert numbers(catalogue) == [1]
    assert catalogue.fault is not None
    assert "MLflow's database" in str(catalogue.fault)


@pytest.mark.parametrize("kind", ["database", "server"])
def test_both_sources_say_the_same(kind: str, shelf: Shelf) -> None:
    url = mlflow_tracking_url(shelf.settings, shelf.home)
    source: Source = DatabaseSource(url) if kind == "database" else ServerSource(url)
    register(shelf, "mf", 0.1)
    register(shelf, "knn", float("inf"))
    shelf.client.set_registered_model_alias(SURFACE, "shadow", "2")
    found, _ = source.versions()
    assert sorted(v.number for v in found) == [1, 2]
    second = next(v for v in found if v.number == 2)
    theirs = shelf.store.get(SURFACE, "2")
    assert (second.tags, second.run_id, second.source) == (theirs.tags, theirs.run_id, theirs.source)
    assert source.aliases() == {(SURFACE, 2): ["shadow"]}
    run = source.runs([second.run_id])[second.run_id]
    assert run.metrics == {PRIMARY: None}
    assert run.user == MlflowClient(url).get_run(second.run_id).info.user_id
    assert [v.number for v in source.versions(since=second.updated)[0]][:1] == [2]
    database = Database(shelf.settings, shelf.home)
    catalogue = Catalogue(shelf.settings, shelf.home, database, source)
    assert numbers(catalogue) == [2, 1]
    shelf.client.set_model_version_tag(SURFACE, "1", Tag.STATE, "candidate")
    catalogue.compare()
    assert catalogue.get(SURFACE, "1").stage == "candidate"


def test_a_server_that_does_not_answer(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    catalogue = Catalogue(
        shelf.settings, shelf.home, Database(shelf.settings, shelf.home), ServerSource("http://127.0.0.1:1")
    )
    assert numbers(catalogue) == []
    assert catalogue.fault is not None
    assert "127.0.0.1:1" in str(catalogue.fault)


def test_metrics_have_rows_of_their_own_and_those_of_the_machine_have_none(catalogue: Catalogue, shelf: Shelf) -> None:
    register(shelf, "mf", 0.1)
    shelf.client.log_metric(shelf.store.get(SURFACE, "1").run_id, "system/cpu", 3.0)
    catalogue.compare()
    with catalogue._database.session() as session:
        assert session.query(CatalogueMetricRow.name).all() == [(PRIMARY,)]
        assert session.query(CatalogueVersionRow).count() == 1
    assert revision_of(catalogue._database)[1] > 1_600_000_000_000


def test_an_address_holds_a_query() -> None:
    query = VersionQuery(model="a&b", sort="-primary", page=3)
    assert query.address() == "?model=a%26b&sort=-primary&page=3"
    assert query.address(page=1, model=None) == "?sort=-primary"
    assert VersionQuery().address() == "?"
    assert query.is_filtered
    assert not VersionQuery(sort="model").is_filtered


@pytest.mark.service
def test_mlflow_on_postgres(
    database: Database, settings: Settings, home: Home, new_postgres: Callable[[], AbstractContextManager[str]]
) -> None:
    with new_postgres() as url:
        client = MlflowClient(tracking_uri=url, registry_uri=url)
        experiment = client.create_experiment("e", home.artifacts.as_uri())
        client.create_registered_model(SURFACE)
        source = DatabaseSource(url)
        catalogue = Catalogue(settings, home, database, source)
        assert catalogue.counts()[SURFACE] == 0
        before = source.token()
        run = client.create_run(experiment).info
        client.log_metric(run.run_id, PRIMARY, 0.25)
        client.log_metric(run.run_id, "wrong", float("nan"))
        client.log_param(run.run_id, "dimension", "64")
        client.create_model_version(SURFACE, f"{run.artifact_uri}/package", run.run_id, {Tag.MODEL: "mf"})
        client.create_model_version(SURFACE, f"{run.artifact_uri}/package", run.run_id, {Tag.MODEL: "knn"})
        client.set_registered_model_alias(SURFACE, "champion", "1")
        assert source.token() != before
        catalogue.refresh(now=True)
        first = catalogue.get(SURFACE, "champion")
        assert (first.version, first.model, first.primary, first.parameters) == ("1", "mf", 0.25, {"dimension": "64"})
        assert first.metrics == {PRIMARY: 0.25, "wrong": None}
        client.set_model_version_tag(SURFACE, "2", Tag.STATE, "retired")
        client.delete_model_version(SURFACE, "1")
        catalogue.refresh(now=True)
        assert numbers(catalogue) == [2]
        assert catalogue.get(SURFACE, "2").stage == "retired"
        client.set_model_version_tag(SURFACE, "2", Tag.VARIANT, "renamed")
        catalogue.compare()
        assert catalogue.get(SURFACE, "2").variant == "renamed"
        source.close()


def test_a_copy_that_cannot_be_written_is_still_read(shelf: Shelf) -> None:
    register(shelf)
    database = Database(shelf.settings, shelf.home)
    catalogue = Catalogue(shelf.settings, shelf.home, database)
    assert numbers(catalogue) == [1]
    database.engine.dispose()
    sa.event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA query_only=ON"))
    register(shelf)
    catalogue.refresh(now=True)
    assert numbers(catalogue) == [1]
    assert catalogue.fault is not None
    assert "attempt to write a readonly database" in str(catalogue.fault)
    catalogue.close()
