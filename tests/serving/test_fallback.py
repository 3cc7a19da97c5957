"""What fills a list when the model has nothing to say of a user, in which order, and that the response says so."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from contracts.errors import BadInput, NotFound, ServiceUnavailable
from contracts.messages import Fallback, Filters
from contracts.vocabulary import Vocabulary
from serving.facts import ItemFacts
from serving.fallback import Around, Neighbours, Networks
from serving.newcomers import Newcomers
from serving.recommend import Query, Ranker
from tests.serving.conftest import ITEM_VECTORS
from training.hnsw import HnswIndex
from training.packages import LoadedPackage
from training.retrieval import ExactIndex, Index

KNOWN = pa.table({"neighbour_ids": pa.array([["p", "q"], None]), "weights": pa.array([[0.5, 0.2], None])})


class Online:
    """Online features: two networks, of which one is not materialized, and what people watched."""

    def read(self, view: str, ids: Sequence[str]) -> pa.Table:
        if view == "user_network_friends":
            raise NotFound(view, found="nothing", expected="a table", next_step="materialize")
        if view == "user_network_down":
            raise ServiceUnavailable(view, found="no answer", expected="an answer", next_step="wait")
        return KNOWN.slice(0, len(ids))

    def user_history(self, user_ids: Sequence[str]) -> list[list[str]]:
        return [{"p": ["v1", "v2", "v1"], "q": ["v2", "v5"]}[user] for user in user_ids]


@pytest.fixture
def by_row(package: LoadedPackage, monkeypatch: pytest.MonkeyPatch) -> Ranker:
    """A model that knows users by their rows only, as matrix factorization does."""
    monkeypatch.setattr(type(package.recommender), "can_score", lambda _, batch: batch.rows >= 0)
    return Ranker("1", package, neighbours=Neighbours(ITEM_VECTORS))


def steps(ranker: Ranker, query: Query, around: Around = ()) -> tuple[list[tuple[str, str]], list[Fallback]]:
    ranking = ranker.recommend([query], lambda users: [around for _ in users])[0]
    return [(item.item_id, item.step) for item in ranking.items], ranking.fallbacks


def newcomers(package: LoadedPackage, vectors: npt.NDArray[np.float32] | None) -> Newcomers:
    """Videos n0 and n1."""
    return Newcomers(Vocabulary([*package.items.ids(range(6)), "n0", "n1"]), vectors, None, None)


def test_neighbours_are_the_nearest_of_the_last_seen() -> None:
    vectors = np.array([[2, 0], [0, 3], [1, 1], [0, 0]], np.float32)
    cosines = Neighbours(vectors).of(np.array([1, -1, 0]))
    np.testing.assert_allclose(cosines, [1, 1, np.sqrt(0.5), 0], rtol=1e-6)
    assert Neighbours(vectors).of(np.array([1, 0, 0, 0]))[1] == 0, "only the last three count"
    assert not Neighbours(vectors).of(np.array([-1])).any()


def test_what_the_people_around_watch_by_their_ties() -> None:
    assert Networks(Online(), ["friends", "co_like"]).around(["u", "stranger"]) == [
        (("v2", 0.7), ("v1", 0.5), ("v5", 0.2)),
        (),
    ]


def test_a_network_store_that_is_down_is_told() -> None:
    with pytest.raises(ServiceUnavailable):
        Networks(Online(), ["down"]).around(["u"])


def test_the_chain_in_its_order(by_row: Ranker) -> None:
    around = (("v4", 0.9), ("gone", 0.8), ("v0", 0.7), ("v1", 0.6))
    items, fallbacks = steps(by_row, Query("nobody", ("v0",), (), 5), around)
    assert items == [
        ("v1", "neighbours"),
        ("v2", "neighbours"),
        ("v4", "network"),
        ("v5", "popular"),
        ("v3", "popular"),
    ]
    assert [(each.step, each.reason) for each in fallbacks] == [
        ("neighbours", "unknown_user"),
        ("network", "unknown_user"),
        ("popular", "unknown_user"),
    ]


def test_the_networks_are_read_only_where_they_are_needed(by_row: Ranker) -> None:
    def never(_: Sequence[str]) -> list[Around]:
        raise AssertionError("not needed")

    queries = [Query("u0", (), (), 3), Query("nobody", ("v0",), (), 2)]
    rankings = by_row.recommend(queries, never)
    assert [item.step for ranking in rankings for item in ranking.items] == ["model"] * 3 + ["neighbours"] * 2


def test_a_list_of_the_models_own_names_no_fallback_and_one_that_ran_out_says_so(ranker: Ranker) -> None:
    assert steps(ranker, Query("u0", (), (), 6))[1] == []
    everything = tuple(f"v{row}" for row in range(6))
    assert steps(ranker, Query("u0", (), everything, 6)) == ([], [])


def test_the_query_of_a_ranking_gives_the_same_list_again(by_row: Ranker) -> None:
    ranking = by_row.recommend([Query("nobody", (), (), 4)], lambda _: [(("v3", 2.0),)])[0]
    assert [item.step for item in ranking.items] == ["network", "popular", "popular", "popular"]
    assert by_row.rank(ranking.query) == ranking.items


@pytest.mark.parametrize("user", ["u0", "nobody"])
def test_a_withdrawn_video_is_gone_from_every_step(by_row: Ranker, user: str) -> None:
    query = Query(user, ("v1",), (), 6)
    around = (("v0", 1.0),)
    assert "v0" in dict(steps(by_row, query, around)[0])
    assert by_row.leave_out(["v0", "v5", "unknown"]) == 2
    assert sorted(dict(steps(by_row, query, around)[0])) == ["v2", "v3", "v4"]
    by_row.leave_out(["v2", "v5"])
    assert sorted(dict(steps(by_row, query, around)[0])) == ["v0", "v3", "v4"]
    by_row.leave_out([])
    assert sorted(dict(steps(by_row, query, around)[0])) == ["v0", "v2", "v3", "v4", "v5"]


@pytest.mark.parametrize("kind", [ExactIndex, HnswIndex])
def test_new_videos_are_returned_at_once_by_model_and_by_views(
    by_row: Ranker, package: LoadedPackage, kind: type[Index]
) -> None:
    ranker = Ranker("1", by_row.package, neighbours=Neighbours(ITEM_VECTORS), index=kind(ITEM_VECTORS))  # type: ignore[call-arg]
    ranker.leave_out(["v0"])
    assert ranker.admit(newcomers(package, np.array([[9, 0], [0, 9]], np.float32))) == 2
    assert [item.item_id for item in ranker.rank(Query("u0", (), (), 2))] == ["n0", "v1"]
    assert [item.item_id for item in ranker.rank(Query("u1", ("n1",), (), 2))] == ["v3", "v4"]
    stranger = steps(ranker, Query("nobody", ("v3", "n0"), (), 8))[0]
    assert stranger == [
        ("v4", "neighbours"),
        ("v5", "neighbours"),
        ("v2", "popular"),
        ("v1", "popular"),
        ("n1", "popular"),
    ]
    ranker.leave_out(["v0", "n0"])
    assert [item.item_id for item in ranker.rank(Query("u0", (), (), 1))] == ["v1"]
    assert len(package.items) == 6, "the model reads histories by its own vocabulary"


def test_new_videos_that_do_not_fit_are_refused(ranker: Ranker, package: LoadedPackage) -> None:
    with pytest.raises(BadInput, match="expected 2 components of each"):
        ranker.admit(newcomers(package, np.ones((2, 3), np.float32)))
    with pytest.raises(BadInput, match="expected a model with item vectors"):
        Ranker("7", replace(package, item_vectors=None)).admit(newcomers(package, np.ones((2, 2), np.float32)))
    assert len(ranker.items) == 6


def test_new_videos_of_which_the_model_says_nothing_are_neighbours_and_pass_filters(
    by_row: Ranker, package: LoadedPackage
) -> None:
    new = newcomers(package, None)
    facts = ItemFacts(pa.table({"video_id": ["n0", "n1"], "duration": [0.0, 10.0]}), new.items)
    by_row.admit(replace(new, content=np.array([[1, 0], [0, 1]], np.float32), facts=facts))
    by_row.leave_out(["v1"])
    assert [item.item_id for item in by_row.rank(Query("u0", ("n0",), ("n1",), 3))] == ["v0", "v2", "v3"]
    near = [("v4", "neighbours"), ("v5", "neighbours"), ("n1", "neighbours")]
    assert steps(by_row, Query("nobody", ("v3",), (), 3))[0] == near
    assert steps(by_row, Query("nobody", ("n1",), (), 3))[0] == [("v3", "neighbours"), *near[:2]]
    assert steps(by_row, Query("u0", (), (), 3, Filters(shortest=5.0)))[0] == [("n1", "popular")]


def test_users_of_a_batch_get_what_they_get_alone(by_row: Ranker) -> None:
    queries = [
        Query("u1", ("v3",), ("v5",), 2),
        Query("nobody", (), (), 3),
        Query("u0", (), (), 6),
        Query("nobody", ("v3",), (), 4),
    ]
    assert [ranking.items for ranking in by_row.recommend(queries)] == [by_row.rank(query) for query in queries]
