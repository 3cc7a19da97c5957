"""An engine with an experiment: who gets which list, and what is recorded of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.experiments import Experiment, default_rule
from contracts.messages import RecommendedItem, RecommendRequest
from contracts.platform import ResponseRow
from serving.analysis.assignment import Assignment
from serving.answering import Answer
from serving.engine import Engine
from serving.experiments.live import LiveExperiment
from serving.lineup import Lineup
from serving.recommend import Query, Ranker, Ranking
from serving.records import Recorder
from training.packages import LoadedPackage


def experiment(mode: Any, **values: Any) -> Experiment:
    """One of version 2 against version 1."""
    own = {"ab": {"weight": 0.5}, "interleaving": {}, "exploration": {"epsilon": 0.5, "top": 6}}
    facts = {"started_at": utc_now(), "started_by": "ada", "reason": "why not", "rule": default_rule(mode)}
    challenger = None if mode == "exploration" else "2"
    return Experiment(
        **{"name": "spring", "surface": "video-feed", "mode": mode, "champion": "1", "challenger": challenger}
        | facts
        | own[mode]
        | values
    )


@pytest.fixture
def challenger(package: LoadedPackage) -> Ranker:
    """u0 gets v2, v1, v0 of it, where the champion says v0, v1, v2."""
    vectors = np.array([[3, 0], [4, 0], [5, 0], [0, 3], [0, 4], [0, 5]], dtype=np.float32)
    return Ranker("2", replace(package, item_vectors=vectors))


class Faulty(Ranker):
    """Answers nothing, or what cannot be shown."""

    said: list[RecommendedItem] | None = None

    def recommend(self, queries: Any, around: Any = None) -> list[Ranking]:
        if self.said is None:
            raise RuntimeError("no such tensor")
        return [Ranking(self.said, query) for query in queries]


@contextmanager
def engine(database: Database, lineup: Lineup) -> Iterator[Engine]:
    running = Engine("video-feed", lineup, Recorder(database))
    try:
        yield running
    finally:
        running.close()


def asked(running: Engine, *users: str, k: int = 3) -> list[Answer]:
    answers = [running.answer(RecommendRequest(user_id=user, k=k)) for user in users]
    for answer in answers:
        running.aside(answer)
    return answers


def ids(answer: Answer) -> list[str]:
    return [item.item_id for item in answer.response.items]


def rows(database: Database) -> list[ResponseRow]:
    with database.session() as session:
        found = session.query(ResponseRow).order_by(ResponseRow.at).all()
        session.expunge_all()
        return found


def test_users_stay_in_their_arm_and_get_its_list(
    ranker: Ranker, challenger: Ranker, histories: Callable[..., Any], database: Database
) -> None:
    running = experiment("ab")
    users = ["u0", "u1", *(f"stranger-{number}" for number in range(20))]
    with engine(database, Lineup(ranker, histories(), experiment=LiveExperiment(running, challenger))) as serving:
        first, again = asked(serving, *users), asked(serving, *users)
    assignment = Assignment("spring", running.weights)
    arms = [assignment.arm(user) for user in users]
    assert set(arms) == {"champion", "challenger"}
    for answers in (first, again):
        assert [answer.response.arm for answer in answers] == arms
        versions = {"champion": "1", "challenger": "2"}
        assert [answer.response.version for answer in answers] == [versions[arm] for arm in arms]
        assert {answer.response.experiment for answer in answers} == {"spring"}
    orders = {"champion": ["v0", "v1", "v2"], "challenger": ["v2", "v1", "v0"]}
    assert ids(first[0]) == orders[arms[0]]
    stored = rows(database)
    assert [(row.experiment, row.arm) for row in stored] == [("spring", arm) for arm in arms * 2]
    assert {(row.teams, row.propensities) for row in stored} == {(None, None)}


def test_a_batch_is_split_as_its_users_are(ranker: Ranker, challenger: Ranker) -> None:
    live = LiveExperiment(experiment("ab"), challenger)
    queries = [Query(f"u{number}", (), (), 2) for number in range(12)]
    together = live.serve(ranker, queries, None, ["x"] * 12)
    one_by_one = [live.serve(ranker, [query], None, ["x"])[0] for query in queries]
    assert [each.arm for each in together] == [each.arm for each in one_by_one]
    assert [each.ranking.items for each in together] == [each.ranking.items for each in one_by_one]
    assert [each.ranking.query.user_id for each in together] == [query.user_id for query in queries]


def test_an_interleaved_list_says_whose_each_item_is(
    ranker: Ranker, challenger: Ranker, histories: Callable[..., Any], database: Database
) -> None:
    live = LiveExperiment(experiment("interleaving"), challenger)
    with engine(database, Lineup(ranker, histories(), experiment=live)) as serving:
        answers = asked(serving, *["u0"] * 20, k=3)
    assert {tuple(ids(answer)[:2]) for answer in answers} == {("v0", "v2"), ("v2", "v0")}, "a coin says who begins"
    for answer, row in zip(answers, rows(database), strict=True):
        assert answer.response.arm == "interleaved"
        assert answer.response.version == "1"
        assert row.teams is not None
        assert [item["item_id"] for item in row.items] == ids(answer)
        owner = {"v0": 0, "v2": 1}
        assert [owner[item] for item in ids(answer)[:2]] == row.teams[:2]
        scores = {item.item_id: item.score for item in answer.response.items}
        assert (scores["v0"], scores["v2"]) == (5.0, 5.0), "each by the version whose item it is"


def test_an_exploration_logs_the_chances(ranker: Ranker, histories: Callable[..., Any], database: Database) -> None:
    live = LiveExperiment(experiment("exploration"), None)
    with engine(database, Lineup(ranker, histories(), experiment=live)) as serving:
        answers = asked(serving, *["u0"] * 30, k=2)
    arms = {answer.response.arm for answer in answers}
    assert arms == {"champion", "shuffled"}
    for answer, row in zip(answers, rows(database), strict=True):
        own = [item == place for item, place in zip(ids(answer), ["v0", "v1"], strict=True)]
        assert row.propensities == pytest.approx([0.5 * is_own + 0.5 / 6 for is_own in own])
        assert answer.query.k == 2, "shadows are asked what the client asked"
        if answer.response.arm == "champion":
            assert ids(answer) == ["v0", "v1"]
    assert {item for answer in answers for item in ids(answer)} > {"v0", "v1"}


@pytest.mark.parametrize("mode", ["ab", "interleaving"])
@pytest.mark.parametrize(
    "said",
    [
        None,
        [RecommendedItem(item_id="v1", score=float("nan"), step="model")],
        [RecommendedItem(item_id="v1", score=1.0, step="model")] * 2,
    ],
    ids=["raises", "says nan", "repeats"],
)
def test_a_challenger_that_fails_costs_no_answer_and_is_remembered(
    ranker: Ranker, package: LoadedPackage, mode: Any, said: list[RecommendedItem] | None
) -> None:
    faulty = Faulty("2", package)
    faulty.said = said
    live = LiveExperiment(experiment(mode, **({"weight": 0.999} if mode == "ab" else {})), faulty)
    (served,) = live.serve(ranker, [Query("u0", (), (), 3)], None, ["r1"])
    assert [item.item_id for item in served.ranking.items] == ["v0", "v1", "v2"]
    assert served.ranker.version == "1"
    assert served.arm == ("challenger" if mode == "ab" else "interleaved")
    assert served.teams is None


def test_without_an_experiment_nothing_is_said_of_one(
    ranker: Ranker, histories: Callable[..., Any], database: Database
) -> None:
    with engine(database, Lineup(ranker, histories())) as serving:
        (answer,) = asked(serving, "u0")
        assert serving.status()["experiment"] is None
    assert (answer.response.experiment, answer.response.arm) == (None, None)
    (row,) = rows(database)
    assert (row.experiment, row.arm, row.propensities, row.teams) == (None, None, None, None)


def test_the_status_says_what_runs(
    ranker: Ranker, challenger: Ranker, histories: Callable[..., Any], database: Database
) -> None:
    live = LiveExperiment(experiment("ab"), challenger)
    with engine(database, Lineup(ranker, histories(), experiment=live)) as serving:
        found = serving.status()["experiment"]
        assert (found["name"], found["mode"]) == ("spring", "ab")
        assert found["weights"] == {"champion": 0.5, "challenger": 0.5}
        assert serving.lineup.rankers == (ranker, challenger)
        assert serving.leave_out(["v0", "v2", "nobody"]) == 2
        assert not {"v0", "v2"} & {item for user in ("u0", "u1") for item in ids(asked(serving, user)[0])}
