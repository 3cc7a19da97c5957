"""Who is champion, what it expects of embeddings, and what a snapshot would do to its lists."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from contracts.addresses import mlflow_artifact_url, mlflow_tracking_url
from contracts.clock import utc_now
from contracts.errors import ServiceUnavailable
from contracts.home import Home
from contracts.manifest import IndexInfo, ModelManifest
from contracts.settings import Settings, load_settings
from contracts.surfaces import PACKAGE_ARTIFACT, VIDEO_FEED, Tag
from feature_repo.frame import common_vocabularies, frame_of_tables
from feature_repo.offline import write_snapshot
from feature_repo.readers.mmssl import read_mmssl
from training.models.vbpr import Vbpr, VbprConfig
from training.packages import write_package
from training.questions import QUESTIONS
from training.recommender import Catalogue
from validation.champion import expected_specs, holders
from validation.impact import impact_of


class Place:
    """A home with a good snapshot, one with its visual vectors turned round, and VBPR as champion."""

    def __init__(self, root: Path, data: Path) -> None:
        self.settings = load_settings(home=root / "home", device="cpu")
        self.home = Home.open(self.settings)
        raw = read_mmssl(data, "blocks")
        table = raw.tables["embedding_visual"]
        turned = table.set_column(1, table.schema.field(1), table["vector"].take(list(range(len(table)))[::-1]))
        with self.home.writing("test"):
            self.bad, _ = write_snapshot(self.home, replace(raw, tables={**raw.tables, "embedding_visual": turned}))
            self.good, _ = write_snapshot(self.home, raw)
            self._register()

    def _register(self) -> None:
        users, items = common_vocabularies(self.home, self.good)
        names = {name: name for name in self.good.video_modalities}
        frame = frame_of_tables(self.home, self.good, "vbpr_v1", names, users=users, items=items)
        config = VbprConfig(dimension=8, content_dimension=8, max_epochs=10, learning_rate=0.05, batch_size=64)
        model = Vbpr(config, Catalogue.of(frame))
        model.fit(frame, seed=0)
        manifest = ModelManifest(
            model="vbpr",
            variant="vbpr",
            surface=VIDEO_FEED,
            shape="two-tower",
            config=config.model_dump(mode="json"),
            seed=0,
            code_revision="test",
            feature_service="vbpr_v1",
            snapshot=self.good.id,
            validation_report="r",
            embedding_specs=frame.specs,
            vocabularies={"users": users.digest, "items": items.digest},
            protocol=QUESTIONS["videos"].fingerprint(self.good),
            metrics={},
            index=IndexInfo(kind="exact", recall=1.0),
            library_versions={},
            created_at=utc_now(),
        )
        made = self.home.root / "made"
        made.mkdir()
        write_package(made, model, frame, manifest)
        url = mlflow_tracking_url(self.settings, self.home)
        client = MlflowClient(tracking_uri=url, registry_uri=url)
        run = client.create_run(client.create_experiment("test", mlflow_artifact_url(self.settings, self.home)))
        client.log_artifacts(run.info.run_id, str(made), PACKAGE_ARTIFACT)
        shutil.rmtree(made)
        client.create_registered_model(VIDEO_FEED)
        source = f"{run.info.artifact_uri}/{PACKAGE_ARTIFACT}"
        version = client.create_model_version(VIDEO_FEED, source, run.info.run_id, {Tag.MODEL: "vbpr"})
        client.set_registered_model_alias(VIDEO_FEED, "champion", version.version)


@pytest.fixture(scope="module")
def place(make_mmssl: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Place:
    root = tmp_path_factory.mktemp("place")
    return Place(root, make_mmssl(root / "data"))


def contents(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_size for path in root.rglob("*") if path.is_file()}


def test_where_nothing_is_registered_no_process_is_started(
    settings: Settings, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    assert holders(settings, home) == []
    assert expected_specs(settings, home, "blocks") == {}
    assert holders(load_settings(home=settings.home, profile="production"), home) == []


def test_what_the_champion_expects(place: Place) -> None:
    wanted = {"champion 1 of video-feed": place.good.video_modalities}
    assert expected_specs(place.settings, place.home, "blocks") == wanted
    assert expected_specs(place.settings, place.home, "other") == {}


def test_a_registry_that_cannot_be_read(place: Place, settings: Settings, home: Home) -> None:
    with home.writing("test"):
        home.mlflow_database.write_text("no database")
    with pytest.raises(ServiceUnavailable, match="model registry"):
        expected_specs(settings, home, "blocks")
    assert "model registry" in impact_of(settings, home, place.bad, place.good)["missing"]


def test_the_price_of_a_snapshot(place: Place) -> None:
    before = contents(place.home.root)
    found = impact_of(place.settings, place.home, place.bad, place.good)
    assert (found["surface"], found["champion"], found["model"]) == ("video-feed", "1", "vbpr")
    assert (found["snapshot"], found["baseline"]) == (place.bad.id, place.good.id)
    assert found["reads_content"]
    assert found["churn"]["20"] > 0.1
    assert found["metrics"]["recall_at_20"]["change"] < 0
    assert contents(place.home.root) == before


def test_no_figures_without_something_to_compare(place: Place, settings: Settings, home: Home) -> None:
    def why(*arguments: Any) -> str:
        found = impact_of(*arguments)
        assert list(found) == ["missing"]
        return str(found["missing"])

    assert why(place.settings, place.home, place.bad, None).startswith("no accepted snapshot of this data set")
    assert why(settings, home, place.bad, place.good) == "no champion of video-feed whose lists could change"
    gone = place.good.model_copy(update={"id": "gone"})
    assert why(place.settings, place.home, place.bad, gone).startswith(
        "the lists of champion 1 of video-feed could not be measured: snapshot gone: found no"
    )


def test_a_champion_whose_package_is_gone(place: Place) -> None:
    (champion,) = holders(place.settings, place.home)
    assert champion.model == "vbpr"
    assert champion.package is not None
    aside = champion.package.rename(champion.package.with_name("aside"))
    try:
        assert expected_specs(place.settings, place.home, "blocks") == {}
        found = impact_of(place.settings, place.home, place.bad, place.good)
    finally:
        aside.rename(champion.package)
    assert found == {"missing": "the package of champion 1 of video-feed is gone"}
