"""A scorer of a large catalogue ranks candidates: from the training that measures them to the lists that are served."""

import io
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.database import Database
from contracts.home import Home
from contracts.settings import Settings, load_settings
from feature_repo.apply import apply_features
from feature_repo.offline import write_snapshot
from feature_repo.readers.mmssl import read_mmssl
from registry.store import ModelStore
from serving.building import build_ranker
from serving.recommend import Query, Ranker
from serving.replaying import Recorded, Replayer
from serving.shadow_process import answer_until_closed
from tests.serving.conftest import ITEM_VECTORS
from tests.verdicts import judge
from training.golden import check_golden
from training.hnsw import HnswIndex
from training.packages import LoadedPackage, load_package
from training.train import train

COUNT = 40
"""Of 64 videos."""


@pytest.fixture(scope="module")
def trained(make_mmssl: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Home, Path]:
    """A home with a version of NeuMF, for which 20 candidates were too few, and its package."""
    root = tmp_path_factory.mktemp("candidates")
    settings = load_settings(home=root / "home", device="cpu", scorer_candidates=COUNT // 2)
    home = Home.open(settings)
    with home.writing("test"):
        snapshot, _ = write_snapshot(home, read_mmssl(make_mmssl(root / "data", blocks=2)))
        apply_features(settings, home)
        judge(settings, home, snapshot.id, success=True)
        made = train(settings, home, "neumf", {"max_epochs": 5, "learning_rate": 0.05, "batch_size": 64})
    store = ModelStore(settings, home)
    return settings, home, store.package_path(store.get(made.surface, made.version))


@pytest.fixture
def ranker(trained: tuple[Settings, Home, Path]) -> Ranker:
    settings, home, path = trained
    return build_ranker(settings, home, "1", load_package(path))


def queries() -> list[Query]:
    """Of users with a history and without one, and lists of several lengths."""
    users = [Query(f"u{row}", [f"v{(row + 2 * step) % 64}" for step in range(3)], (), 20) for row in range(9)]
    return [*users, Query("u9", (), (), 7), Query("u10", ("v1",), ("v2", "v5"), 30), Query("u11", ("v3",), (), 60)]


def watched(ranker: Ranker, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many items the model is asked about at a time."""
    model, asked = ranker.package.recommender, []
    score = model.score

    def counted(batch: Any, items: Any = None) -> Any:
        asked.append(len(items))
        return score(batch, items)

    monkeypatch.setattr(model, "score", counted)
    return asked


def test_a_training_packs_candidates_and_what_they_miss(trained: tuple[Settings, Home, Path]) -> None:
    package = load_package(trained[2])
    manifest = package.manifest
    assert (manifest.shape, manifest.candidates, manifest.index.kind) == ("scorer", COUNT, "exact")
    assert 0.95 <= manifest.index.recall <= 1
    assert manifest.index.recall == manifest.metrics["index_recall_at_20"]
    assert {"index_recall_at_10", "index_recall_at_50", "score_latency_ms_p99"} < set(manifest.metrics)
    assert package.candidate_vectors is not None
    assert check_golden(package) == 10


def test_only_candidates_are_scored(ranker: Ranker, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = watched(ranker, monkeypatch)
    ranked = ranker.recommend(queries())
    assert asked == [COUNT] * 11 + [60]
    assert all(item.step == "model" for ranking in ranked for item in ranking.items)
    for query, ranking in zip(queries(), ranked, strict=True):
        found = [item.item_id for item in ranking.items]
        assert len(found) == query.k
        assert not {*query.history, *query.exclude} & set(found)


def test_the_best_of_them_are_the_best_of_all_as_often_as_was_measured(ranker: Ranker) -> None:
    whole = Ranker("1", replace(ranker.package, candidate_vectors=None))
    shares = []
    for query in queries()[:9]:
        best, found = ({item.item_id for item in each.rank(query)} for each in (whole, ranker))
        shares.append(len(best & found) / len(best))
    assert np.mean(shares) > 0.9


def test_lists_are_the_same_to_the_last_bit_alone_and_among_others(ranker: Ranker) -> None:
    alone = [ranker.rank(query) for query in queries()]
    assert [ranking.items for ranking in ranker.recommend(queries())] == alone
    assert [ranking.items for ranking in ranker.recommend(queries()[::-1])] == alone[::-1]


def test_a_shadow_and_a_replay_rank_the_same_candidates(trained: tuple[Settings, Home, Path], ranker: Ranker) -> None:
    settings, home, path = trained
    served = [[item.as_dict() for item in ranker.rank(query)] for query in queries()]
    asked = [vars(query) | {"filters": None} for query in queries()]
    timing = {"offered_at": time.monotonic(), "deadline_s": 600.0, "reading_ms": 0.0}
    lines = [json.dumps({"id": str(row), "query": query, **timing}) for row, query in enumerate(asked)]
    sink = io.BytesIO()
    shadow = build_ranker(settings, home, "1", load_package(path))
    answer_until_closed(shadow, shadow.rank, io.BytesIO("\n".join(lines).encode()), sink)
    answers = [json.loads(line) for line in sink.getvalue().splitlines()[1:]]
    assert [answer["items"] for answer in answers] == served
    with closing(Database(settings, home)) as database:
        replayer = Replayer(settings, home, database)
        for query, items in zip(asked, served, strict=True):
            online = {"left_out": [], "newest": None}
            assert replayer.again(Recorded("r", "video-feed", "1", items, query, online, None, None)) == items


def test_a_withdrawn_video_makes_room_for_another_candidate(ranker: Ranker, monkeypatch: pytest.MonkeyPatch) -> None:
    query = queries()[0]
    best = ranker.rank(query)[0].item_id
    assert ranker.leave_out([best]) == 1
    asked = watched(ranker, monkeypatch)
    assert best not in [item.item_id for item in ranker.rank(query)]
    assert asked == [COUNT]


def test_where_nothing_may_be_returned_nothing_is(ranker: Ranker) -> None:
    everything = [f"v{row}" for row in range(64)]
    assert ranker.rank(Query("u0", ("v1",), everything, 5)) == []


def test_the_settings_may_ask_for_a_graph(trained: tuple[Settings, Home, Path], ranker: Ranker) -> None:
    settings = load_settings(home=trained[1].root, device="cpu", index="hnsw")
    by_graph = build_ranker(settings, trained[1], "1", load_package(trained[2]))
    assert by_graph._candidates is not None
    assert isinstance(by_graph._candidates.index, HnswIndex)
    # Of shorter histories many items are equally far away, and the graph may find others of those.
    assert [by_graph.rank(query) for query in queries()[:9]] == [ranker.rank(query) for query in queries()[:9]]


def shortlisted(package: LoadedPackage, count: int) -> Ranker:
    """The hand-made model as a scorer of so many candidates, by its own vectors."""
    manifest = package.manifest.model_copy(update={"shape": "scorer", "candidates": count})
    return Ranker("1", replace(package, manifest=manifest, item_vectors=None, candidate_vectors=ITEM_VECTORS))


def test_scores_are_the_model_s_and_not_those_that_candidates_are_found_by(package: LoadedPackage) -> None:
    ranker = shortlisted(package, 4)
    # By v0's vector v1 and v2 are near; most viewed are v5 and v4; u1 likes the second axis.
    found = [(item.item_id, item.score, item.step) for item in ranker.rank(Query("u1", ("v0",), (), 4))]
    assert found == [("v4", 4.0, "model"), ("v5", 3.0, "model"), ("v1", 0.0, "model"), ("v2", 0.0, "model")]


def test_a_known_user_without_a_history_gets_the_best_of_the_most_viewed(package: LoadedPackage) -> None:
    found = [item.item_id for item in shortlisted(package, 2).rank(Query("u0", (), ("v5",), 2))]
    assert sorted(found) == ["v3", "v4"]


def test_a_stranger_gets_what_is_popular(package: LoadedPackage) -> None:
    items = shortlisted(package, 2).rank(Query("nobody", (), (), 2))
    assert [(item.item_id, item.step) for item in items] == [("v5", "popular"), ("v4", "popular")]
