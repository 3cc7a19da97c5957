"""What a version has beside its model in a home that holds its data, and in one that does not."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import BadInput
from contracts.home import Home
from contracts.manifest import IndexInfo
from contracts.messages import Filters
from contracts.settings import load_settings
from feature_repo.offline import write_snapshot
from feature_repo.online import OnlineFeatures
from feature_repo.readers.mmssl import read_mmssl
from serving.building import build_ranker, networks_around
from serving.recommend import Query
from tests.serving.conftest import ITEM_VECTORS
from training.hnsw import HnswIndex
from training.packages import LoadedPackage
from training.retrieval import ExactIndex, Found, Index

SETTINGS = load_settings(device="cpu")


@pytest.fixture
def trained(tmp_path: Path, make_mmssl: Callable[..., Path], package: LoadedPackage) -> tuple[Home, LoadedPackage]:
    """A home with data of two blocks of videos, even and odd ones, and the package as if trained on it."""
    home = Home.open(load_settings(home=tmp_path / "home", device="cpu"))
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, read_mmssl(make_mmssl(tmp_path / "data", blocks=2)))
    return home, replace(package, manifest=package.manifest.model_copy(update={"snapshot": snapshot.id}))


def test_neighbours_are_by_content(trained: tuple[Home, LoadedPackage], monkeypatch: pytest.MonkeyPatch) -> None:
    home, package = trained
    monkeypatch.setattr(type(package.recommender), "can_score", lambda _, batch: batch.rows >= 0)
    ranker = build_ranker(SETTINGS, home, "1", package)
    found = [item.item_id for item in ranker.rank(Query("nobody", ("v0",), (), 2)) if item.step == "neighbours"]
    assert sorted(found) == ["v2", "v4"], "of v0's block; by item vectors it were v1 and v2"


def test_filters_read_the_table_of_videos(trained: tuple[Home, LoadedPackage]) -> None:
    ranker = build_ranker(SETTINGS, trained[0], "1", trained[1])
    with pytest.raises(BadInput, match=r"filter authors.*a catalogue without author_id.*published_since"):
        ranker.rank(Query("u0", (), (), 3, Filters(authors=("a",))))


def test_without_its_data_a_version_ranks_and_has_its_own_neighbours(
    tmp_path: Path, package: LoadedPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(package.recommender), "can_score", lambda _, batch: batch.rows >= 0)
    home = Home.open(load_settings(home=tmp_path / "home", device="cpu"))
    ranker = build_ranker(SETTINGS, home, "1", package)
    assert [item.item_id for item in ranker.rank(Query("nobody", ("v0",), (), 2))] == ["v1", "v2"]
    with pytest.raises(BadInput, match="no table of the items"):
        ranker.rank(Query("u0", (), (), 3, Filters(authors=("a",))))


def test_the_networks_of_a_snapshot(trained: tuple[Home, LoadedPackage]) -> None:
    home, package = trained
    features = OnlineFeatures(load_settings(home=home.root), home, package.manifest.snapshot)
    assert networks_around(home, package.manifest.snapshot, features) is not None
    assert networks_around(home, "0" * 16, features) is None


@pytest.mark.parametrize(
    ("packed", "setting", "served"),
    [
        ("exact", "auto", "ExactIndex"),
        ("exact", "hnsw", "HnswIndex"),
        ("hnsw", "auto", "HnswIndex"),
        ("hnsw", "exact", "ExactIndex"),
    ],
)
def test_the_index_is_the_packed_one_unless_the_settings_say_otherwise(
    trained: tuple[Home, LoadedPackage], monkeypatch: pytest.MonkeyPatch, packed: str, setting: str, served: str
) -> None:
    home, package = trained
    if packed == "hnsw":
        info = IndexInfo(kind="hnsw", recall=1.0)
        graph = HnswIndex(ITEM_VECTORS)
        package = replace(package, manifest=package.manifest.model_copy(update={"index": info}), index=graph)
    asked: list[str] = []

    def watched(kind: type[ExactIndex] | type[HnswIndex]) -> Callable[..., list[Found]]:
        search = kind.search_all

        def search_all(self: Index, *rest: Any) -> list[Found]:
            asked.append(type(self).__name__)
            return search(self, *rest)  # type: ignore[arg-type]

        return search_all

    for kind in (ExactIndex, HnswIndex):
        monkeypatch.setattr(kind, "search_all", watched(kind))
    ranker = build_ranker(load_settings(device="cpu", index=setting), home, "1", package)
    assert [item.item_id for item in ranker.rank(Query("u0", (), (), 3))] == ["v0", "v1", "v2"]
    assert asked == [served]
