"""The chain of one version: ranked, then popular; never what was watched or excluded."""

from dataclasses import replace

import pytest

from contracts.messages import RecommendedItem
from serving.recommend import Query, Ranker
from training.packages import LoadedPackage


def ids(items: list[RecommendedItem], step: str | None = None) -> list[str]:
    return [item.item_id for item in items if step in (None, item.step)]


def test_a_known_user_gets_the_models_order(ranker: Ranker) -> None:
    items = ranker.rank(Query("u0", (), (), 3))
    assert [(item.item_id, item.score, item.step) for item in items] == [
        ("v0", 5.0, "model"),
        ("v1", 4.0, "model"),
        ("v2", 3.0, "model"),
    ]


def test_history_and_exclusions_are_left_out(ranker: Ranker) -> None:
    assert ids(ranker.rank(Query("u1", ("v3",), ("v5", "never-heard-of"), 1))) == ["v4"]


def test_a_stranger_without_history_gets_what_is_popular(ranker: Ranker) -> None:
    items = ranker.rank(Query("nobody", (), ("v5",), 3))
    assert [(item.item_id, item.score, item.step) for item in items] == [
        ("v4", 5.0, "popular"),
        ("v3", 4.0, "popular"),
        ("v2", 3.0, "popular"),
    ]


def test_a_stranger_with_a_history_is_ranked_by_it(ranker: Ranker) -> None:
    items = ranker.rank(Query("nobody", ("v3",), (), 2))
    assert ids(items, "model") == ["v4", "v5"]


def test_a_history_of_unknown_videos_says_nothing(ranker: Ranker) -> None:
    assert ids(ranker.rank(Query("nobody", ("x", "y"), (), 1)), "popular") == ["v5"]


@pytest.mark.parametrize("user", ["u0", "nobody"])
def test_a_list_ends_where_the_catalogue_does(ranker: Ranker, user: str) -> None:
    items = ranker.rank(Query(user, ("v1",), ("v2",), 500))
    assert sorted(ids(items)) == ["v0", "v3", "v4", "v5"]


def test_nothing_left_is_an_empty_list(ranker: Ranker) -> None:
    everything = tuple(f"v{row}" for row in range(6))
    assert ranker.rank(Query("u0", everything, everything, 5)) == []


@pytest.mark.parametrize(
    "query",
    [
        Query("u0", (), (), 3),
        Query("u1", ("v3",), ("v5", "never-heard-of"), 1),
        Query("nobody", ("v3",), (), 2),
        Query("nobody", (), (), 4),
    ],
)
def test_without_item_vectors_the_model_scores_every_video(
    ranker: Ranker, package: LoadedPackage, query: Query
) -> None:
    scorer = Ranker("7", replace(package, item_vectors=None))
    assert scorer.rank(query) == ranker.rank(query)


def test_whether_the_model_knows_the_user_is_the_models_to_say(ranker: Ranker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not whether its vector happens to be zero."""
    model = type(ranker.package.recommender)
    monkeypatch.setattr(model, "can_score", lambda _, batch: batch.rows < 0)
    assert ids(ranker.rank(Query("u0", (), (), 2)), "popular") == ["v5", "v4"]
    assert len(ids(ranker.rank(Query("nobody", (), (), 2)), "model")) == 2
