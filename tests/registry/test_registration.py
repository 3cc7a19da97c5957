"""Tests of packages that were trained elsewhere."""

import shutil
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from backbeat.cli import invoke
from contracts.errors import BadInput, NotFound
from contracts.home import Home
from contracts.manifest import read_manifest, seal
from contracts.settings import load_settings
from contracts.surfaces import OTHER_STUDY, OWN_STUDY, Tag
from registry.registration import register_package
from registry.store import ModelStore
from tests.registry.conftest import PRIMARY, SURFACE, Shelf


def elsewhere(shelf: Shelf, into: Path, **facts: object) -> Path:
    """A package of another home, with these facts in its manifest."""
    version = shelf.register("fism")
    shutil.copytree(shelf.package(version), into)
    manifest = read_manifest(into)
    (into / "manifest.json").unlink()
    seal(into, manifest.model_copy(update={"metrics": {PRIMARY: 0.1}, "config": {"dimension": 16}, **facts}))
    return into


@pytest.fixture
def here(tmp_path: Path, empty_mlflow: Path) -> Shelf:
    """Another home than ``shelf``."""
    settings = load_settings(home=tmp_path / "here")
    home = Home.open(settings)
    with home.writing("test"):
        shutil.copyfile(empty_mlflow, home.mlflow_database)
    return Shelf(settings, home)


def test_a_package_becomes_a_version_that_is_the_same(shelf: Shelf, here: Shelf, tmp_path: Path) -> None:
    package = elsewhere(shelf, tmp_path / "package")
    before = {path.name: path.read_bytes() for path in package.iterdir()}
    version, new = register_package(here.settings, here.home, package, "ada")
    assert new
    assert (version.model, version.variant, version.state, version.aliases) == ("fism", "fism", "registered", ())
    assert version.metrics == {PRIMARY: 0.1}
    manifest = read_manifest(package)
    assert version.tags[Tag.AUTHOR] == "ada"
    assert version.tags[Tag.PACKAGE_SHA256] == manifest.package_sha256
    assert version.protocol == manifest.protocol.digest
    copied = here.store.package_path(version)
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == before
    assert {path.name: path.read_bytes() for path in package.iterdir()} == before
    run = here.client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params == {"dimension": "16"}
    again, new = register_package(here.settings, here.home, package, "bob")
    assert not new
    assert again == version
    assert len(here.store.versions(SURFACE)) == 1


def test_it_is_judged_like_any_other(shelf: Shelf, here: Shelf, tmp_path: Path) -> None:
    version, _ = register_package(here.settings, here.home, elsewhere(shelf, tmp_path / "package"), "ada")
    here.judge()
    assert here.store.get(SURFACE, version.version).state == "registered"
    with pytest.raises(Exception, match="guardrails"):  # Its manifest seals the primary metric alone.
        here.promote(version.version)


@pytest.mark.parametrize("known", [True, False])
def test_only_what_the_surface_s_protocol_measured_rivals_its_versions(
    shelf: Shelf, here: Shelf, tmp_path: Path, known: bool
) -> None:
    own = here.register("mf", metric=0.05, snapshot="snap-1" if known else "snap-2")
    here.client.set_model_version_tag(SURFACE, own, Tag.STUDY, OWN_STUDY)
    version, _ = register_package(here.settings, here.home, elsewhere(shelf, tmp_path / "package"), "ada")
    assert version.tags[Tag.STUDY] == (OWN_STUDY if known else OTHER_STUDY)


def test_a_first_version_makes_the_surface(shelf: Shelf, tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path / "new")
    home = Home.open(settings)
    package = elsewhere(shelf, tmp_path / "package")
    with home.writing("test"):
        version, new = register_package(settings, home, package, "ada")
    assert new
    assert ModelStore(settings, home).get(SURFACE, "1") == version


def test_an_altered_package_is_refused(shelf: Shelf, here: Shelf, tmp_path: Path) -> None:
    package = elsewhere(shelf, tmp_path / "package")
    (package / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(BadInput, match=r"weights\.safetensors"):
        register_package(here.settings, here.home, package, "ada")
    with pytest.raises(NotFound):
        register_package(here.settings, here.home, tmp_path / "nothing", "ada")
    assert here.store.versions(SURFACE) == []


def test_a_surface_that_is_none_is_refused(shelf: Shelf, here: Shelf, tmp_path: Path) -> None:
    package = elsewhere(shelf, tmp_path / "package", surface="podcasts")
    with pytest.raises(NotFound, match="podcasts"):
        register_package(here.settings, here.home, package, "ada")


def test_a_copy_that_breaks_off_leaves_a_failed_run_and_no_version(
    shelf: Shelf, here: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("no space left on device")

    package = elsewhere(shelf, tmp_path / "package")
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_artifacts", broken)
        with pytest.raises(OSError, match="no space"):
            register_package(here.settings, here.home, package, "ada")
    assert here.store.versions(SURFACE) == []
    assert [run.info.status for run in here.client.search_runs([here.experiment])] == ["FAILED"]
    assert register_package(here.settings, here.home, package, "ada")[1]


def test_on_the_command_line(shelf: Shelf, here: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = elsewhere(shelf, tmp_path / "package")
    assert invoke(["models", "register", str(package), "--home", str(here.home.root)])["new"]
    assert "video-feed version 1 (fism) is registered." in capsys.readouterr().out
    assert not invoke(["models", "register", str(package), "--home", str(here.home.root)])["new"]
    assert "version 1 (fism) is that package already" in capsys.readouterr().out
