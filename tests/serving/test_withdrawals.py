"""What is withdrawn leaves the lists of a running engine within a look, and comes back as quickly."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import text

from backbeat.cli import invoke
from contracts.database import Database
from contracts.errors import NotFound
from contracts.home import Home
from contracts.messages import RecommendRequest
from contracts.withdrawals import admit_items, withdraw_items
from serving.engine import Engine
from serving.following import Follower
from serving.lineup import Lineup
from serving.metrics import serving_metrics
from serving.recommend import Ranker
from serving.records import Recorder
from serving.shadow import Shadow
from serving.withdrawals import WithdrawnItems
from tests.serving.waiting import until
from training.packages import LoadedPackage


@pytest.fixture
def engine(database: Database, ranker: Ranker, histories: Callable[..., Any]) -> Iterator[Engine]:
    with closing(Engine("video-feed", Lineup(ranker, histories()), Recorder(database))) as engine:
        yield engine


def best(engine: Engine) -> str:
    return engine.answer(RecommendRequest(user_id="u0", k=1)).response.items[0].item_id


def test_a_running_engine_follows(engine: Engine, database: Database) -> None:
    following = WithdrawnItems(database, engine, 0.01)
    following.start()
    withdraw_items(database, "video", ["v0", "unknown"], "ann", "deleted")
    until(lambda: best(engine) == "v1")
    withdraw_items(database, "video", ["v1"], "ann", "deleted")
    until(lambda: best(engine) == "v2")
    admit_items(database, "video", ["v0"], "ann", "a mistake")
    until(lambda: best(engine) == "v0")
    assert engine.left_out == {"v1", "unknown"}
    following.close()


def test_what_is_withdrawn_stays_so_for_champions_and_shadows_that_come_later(
    engine: Engine, database: Database, package: LoadedPackage, histories: Callable[..., Any], aside: Any
) -> None:
    withdraw_items(database, "video", ["v0"], "ann", "deleted")
    rows: list[Any] = []
    shadow = Shadow("2", "hand-made", aside(), rows.append)
    assert shadow.settled(60)
    WithdrawnItems(database, engine, 60.0).look()
    engine.swap(Lineup(Ranker("3", package), histories(), (shadow,)))
    answer = engine.answer(RecommendRequest(user_id="u0", k=2))
    engine.aside(answer)
    assert shadow.close()
    wanted = ["v1", "v2"]
    assert [item.item_id for item in answer.response.items] == wanted
    assert [item["item_id"] for item in rows[0].items] == wanted


def test_music_of_the_same_id_stays(engine: Engine, database: Database) -> None:
    withdraw_items(database, "music", ["v0"], "ann", "licence ended")
    WithdrawnItems(database, engine, 60.0).look()
    assert best(engine) == "v0"


def test_a_database_that_does_not_answer_is_an_alert_and_nothing_comes_back(engine: Engine, database: Database) -> None:
    withdraw_items(database, "video", ["v0"], "ann", "deleted")
    following = WithdrawnItems(database, engine, 60.0)
    follower = Follower(
        engine,
        lambda: {"champion": "1"},
        None,
        serving_metrics(),
        60.0,
        watches=(following,),  # type: ignore[arg-type]
    )
    follower.look()
    assert follower.status()["alerts"] == []
    with database.session() as session:
        session.execute(text("alter table withdrawn_items rename to elsewhere"))
    follower.look()
    (alert,) = follower.status()["alerts"]
    assert (alert["kind"], best(engine)) == ("withdrawals", "v1")
    with database.session() as session:
        session.execute(text("alter table elsewhere rename to withdrawn_items"))
    follower.look()
    assert follower.status()["alerts"] == []


def test_the_commands(home: Home, database: Database) -> None:
    with home.writing("test"):
        assert database.engine
    place = ["--home", str(home.root)]
    assert invoke(["videos", "withdraw", "v1", "v2", "--reason", "deleted", *place])["new"] == 2
    assert invoke(["videos", "withdraw", "m1", "--music", "--reason", "licence ended", *place])["new"] == 1
    assert invoke(["videos", "admit", "v1", "--reason", "a mistake", *place]) == {"admitted": ["v1"]}
    (left,) = invoke(["videos", "withdrawn", *place])["withdrawn"]
    assert (left["item_id"], left["reason"]) == ("v2", "deleted")
    assert [each["item_id"] for each in invoke(["videos", "withdrawn", "--music", *place])["withdrawn"]] == ["m1"]
    with pytest.raises(NotFound, match="'v1'"):
        invoke(["videos", "admit", "v1", "--reason", "again", *place])
