"""Moves that are killed at every step, and fifty people who promote at once; on SQLite and Postgres, MLflow on both."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from contracts.errors import Conflict, ServiceUnavailable
from contracts.home import Home
from contracts.promotion_rows import MoveRow, StandingRow
from contracts.settings import Settings, load_settings
from registry.audit import audit_log
from registry.drift import find_drift
from registry.gates import Verdict
from registry.lifecycle import standing_after
from registry.moves import Proposal, make_move
from registry.opening import open_registry
from registry.outbox import Move, Resumed, carry_out, resume_moves, watermark
from tests.registry.conftest import SURFACE, Shelf

STEPS = ["claimed", "alias champion", "alias shadow", "tag new", "tag old", "audited", "finished"]

CHILDREN = multiprocessing.get_context("forkserver")
CHILDREN.set_forkserver_preload(["mlflow.tracking", "mlflow.store.db.utils", "registry.moves"])


def _judge(_: Any) -> list[Verdict]:
    return []


def _move(settings: Settings, version: str, to: str, actor: str, judge: Any = _judge, watch: Any = None) -> None:
    with open_registry(settings, Home.open(settings)) as registry:
        proposal = Proposal("promote", registry.store.get(SURFACE, version), to, "test", actor)
        make_move(registry, proposal, judge, watch or (lambda _: None))


def _killed_at(step: str, settings: Settings, version: str) -> None:
    """Runs in a process of its own, which dies at a step as if the machine had been switched off."""

    def watch(done: str) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    _move(settings, version, "champion", "the dead", watch=watch)


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgres", marks=pytest.mark.service)])
def shelf(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, new_postgres: Any
) -> Iterator[Shelf]:
    """A registry with champion 1, in both databases alike."""
    root = tmp_path_factory.mktemp("outbox") / "home"
    if request.param == "sqlite":
        yield _stocked(load_settings(home=root))
        return
    with new_postgres() as ours, new_postgres() as mlflows:
        yield _stocked(
            load_settings(
                home=root,
                profile="production",
                database_url=ours,
                mlflow_url=mlflows,
                artifact_url=(root / "artifacts").as_uri(),
            )
        )


def _stocked(settings: Settings) -> Shelf:
    home = Home.open(settings)
    with home.writing("test"):
        pass
    shelf = Shelf(settings, home)
    shelf.register()
    _move(settings, "1", "champion", "founder")
    return shelf


def _next_to_champion(shelf: Shelf) -> tuple[str, str]:
    """The champion, and a new version that is shadow."""
    new = shelf.register()
    _move(shelf.settings, new, "shadow", "ann")
    return shelf.store.holders(SURFACE)["champion"], new


@pytest.mark.parametrize("step", STEPS)
def test_a_move_killed_at_any_step_is_ended_by_whoever_writes_next(shelf: Shelf, step: str) -> None:
    old, new = _next_to_champion(shelf)
    rows = len(audit_log(shelf.settings, shelf.home, SURFACE))
    named = step.replace("new", new).replace("old", old)
    child = CHILDREN.Process(target=_killed_at, args=(named, shelf.settings, new))
    child.start()
    child.join(120)
    assert child.exitcode == -signal.SIGKILL
    assert shelf.store.holders(SURFACE)["champion"] == (old if step == "claimed" else new), "one champion meanwhile"
    with open_registry(shelf.settings, shelf.home) as registry:
        ended = resume_moves(registry)
        assert resume_moves(registry) == [], "nothing is left"
        if step == "finished":
            assert ended == []
        else:
            outcome: Literal["undone", "finished"] = "undone" if step == "claimed" else "finished"
            assert ended == [Resumed(SURFACE, new, "promote", "the dead", outcome)]
        assert find_drift(registry, SURFACE) == []
        with registry.database.session() as session:
            ours = {row.alias: row.version for row in session.query(StandingRow).filter_by(surface=SURFACE)}
            assert session.query(MoveRow).filter(MoveRow.pending_on.is_not(None)).count() == 0
    holders = shelf.store.holders(SURFACE)
    assert holders == {alias: version for alias, version in ours.items() if version is not None}
    tags = {v.version: v.tags["backbeat.state"] for v in shelf.store.versions(SURFACE)}
    newest = audit_log(shelf.settings, shelf.home, SURFACE)
    assert len(newest) == rows + 1, "told once"
    if step == "claimed":
        assert (holders["champion"], holders["shadow"], tags[new], tags[old]) == (old, new, "shadow", "champion")
        assert (newest[0]["action"], newest[0]["after"]) == ("promote undone", "shadow")
    else:
        assert (holders.get("champion"), holders.get("shadow"), tags[new], tags[old]) == (
            new,
            None,
            "champion",
            "retired",
        )
        assert (newest[0]["action"], newest[0]["displaced"], newest[0]["actor"]) == ("promote", old, "the dead")


def test_the_living_are_left_alone_and_named(shelf: Shelf) -> None:
    _, new = _next_to_champion(shelf)
    reached, go_on = threading.Event(), threading.Event()

    def watch(step: str) -> None:
        if step == "claimed":
            reached.set()
            assert go_on.wait(60)

    mover = threading.Thread(target=_move, args=(shelf.settings, new, "champion", "ann", _judge, watch))
    mover.start()
    assert reached.wait(60)
    with open_registry(shelf.settings, shelf.home) as registry:
        assert resume_moves(registry) == []
        with pytest.raises(Conflict, match=f"found ann moving version {new} to champion since") as caught:
            _move(shelf.settings, shelf.register(), "champion", "bob")
        assert "backbeat models audit" in caught.value.next_step
    go_on.set()
    mover.join()
    assert shelf.store.holders(SURFACE)["champion"] == new


def test_readers_see_one_champion_at_every_moment(shelf: Shelf) -> None:
    allowed = [shelf.store.holders(SURFACE)["champion"], *(shelf.register() for _ in range(4))]
    seen: list[str | None] = []
    done = threading.Event()

    def read() -> None:
        client = MlflowClient(tracking_uri=shelf.client.tracking_uri, registry_uri=shelf.client.tracking_uri)
        while not done.is_set():
            champion = client.get_registered_model(SURFACE).aliases.get("champion")
            seen.append(None if champion is None else str(champion))

    reader = threading.Thread(target=read)
    reader.start()
    for version in allowed[1:]:
        _move(shelf.settings, version, "champion", "ann")
    done.set()
    reader.join()
    assert set(seen) <= set(allowed), "never nobody"
    order = [champion for champion, _ in itertools.groupby(seen)]
    assert order == [version for version in allowed if version in order], "each once, in turn"


def test_one_who_seemed_dead_cannot_go_on(shelf: Shelf) -> None:
    old, new = _next_to_champion(shelf)

    def watch(step: str) -> None:
        if step == "claimed":
            with open_registry(shelf.settings, shelf.home) as other:
                with other.database.session() as session:
                    session.query(MoveRow).filter_by(pending_on=SURFACE).update({"pid": 2**22 + 1, "born": "x:y:z"})
                    session.query(MoveRow).filter_by(pending_on=SURFACE).update({"host": "elsewhere"})
                    stale = session.query(MoveRow).filter_by(pending_on=SURFACE).one()
                    stale.heartbeat_at = stale.at.replace(year=2020)
                assert [e.outcome for e in resume_moves(other)] == ["undone"]

    with pytest.raises(Conflict, match="another process that has taken it up"):
        _move(shelf.settings, new, "champion", "ann", watch=watch)
    assert shelf.store.holders(SURFACE) == {"champion": old, "shadow": new}


def test_a_move_that_cannot_be_undone_is_left_to_whoever_writes_next(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, new = _next_to_champion(shelf)

    def lose_mlflow(step: str) -> None:
        if step == "alias champion":
            monkeypatch.setattr(MlflowClient, "get_registered_model", _down)
            monkeypatch.setattr(MlflowClient, "delete_registered_model_alias", _down)

    with pytest.raises(ServiceUnavailable, match="found the network is gone"):
        _move(shelf.settings, new, "champion", "ann", watch=lose_mlflow)
    with open_registry(shelf.settings, shelf.home) as registry:
        with pytest.raises(ServiceUnavailable, match="found the network is gone"):
            resume_moves(registry)
    monkeypatch.undo()
    with open_registry(shelf.settings, shelf.home) as registry:
        assert [(e.version, e.outcome) for e in resume_moves(registry)] == [(new, "finished")]
    assert shelf.store.holders(SURFACE) == {"champion": new}


def _down(*_: Any) -> None:
    raise MlflowException("the network is gone")


def test_a_surface_that_was_just_set_free_is_claimed_again(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    _, new = _next_to_champion(shelf)
    asked: list[str] = []

    def judge(_: Any) -> list[Verdict]:
        with open_registry(shelf.settings, shelf.home) as other, other.database.session() as session:
            done = session.query(MoveRow).order_by(MoveRow.id.desc()).limit(1).one()
            done.pending_on = SURFACE
        return []

    def ends_meanwhile(database: Any, surface: str) -> int:
        if asked:
            with database.session() as session:
                session.query(MoveRow).filter_by(pending_on=SURFACE).update({"pending_on": None})
        asked.append(surface)
        return watermark(database, surface)

    monkeypatch.setattr("registry.outbox.watermark", ends_meanwhile)
    monkeypatch.setattr("registry.moves.watermark", ends_meanwhile)
    _move(shelf.settings, new, "champion", "ann", judge)
    assert len(asked) == 2
    assert shelf.store.holders(SURFACE)["champion"] == new


def test_an_alias_moved_in_mlflow_while_it_was_judged(shelf: Shelf) -> None:
    old, new = _next_to_champion(shelf)
    third = shelf.register()

    def judge(_: Any) -> list[Verdict]:
        shelf.client.set_registered_model_alias(SURFACE, "champion", third)
        return []

    with pytest.raises(Conflict, match=f"champion is {third}.*backbeat models drift"):
        _move(shelf.settings, new, "champion", "ann", judge)
    assert shelf.store.holders(SURFACE)["champion"] == third, "not ours to undo"
    shelf.client.set_registered_model_alias(SURFACE, "champion", old)


def test_a_move_elsewhere_on_the_surface_is_no_conflict(shelf: Shelf) -> None:
    one, two = shelf.register(), shelf.register()

    def judge(_: Any) -> list[Verdict]:
        _move(shelf.settings, two, "candidate", "bob")
        return []

    _move(shelf.settings, one, "champion", "ann", judge)
    assert (shelf.states()[one], shelf.states()[two]) == ("champion", "candidate")


def test_a_stale_watermark_is_a_conflict_with_the_winner(shelf: Shelf) -> None:
    one, two = shelf.register(), shelf.register()
    with open_registry(shelf.settings, shelf.home) as registry:
        seen = watermark(registry.database, SURFACE)
        holder = registry.store.holders(SURFACE)["champion"]
        after = standing_after(two, "registered", "champion", holder)
        before = registry.store.standing(SURFACE, after)
        _move(shelf.settings, one, "champion", "ann")
        audit = {"before": "registered", "after": "champion", "displaced": holder, "verdicts": [], "reason": "x"}
        with pytest.raises(Conflict, match=f"ann was first: version {one} is champion since"):
            carry_out(registry, Move(SURFACE, two, "promote", "bob", before, after, audit), seen)
    assert shelf.store.holders(SURFACE)["champion"] == one


def _racer(settings: Settings, version: str, actor: str, gate: Any, said: Any) -> None:
    def judge(_: Any) -> list[Verdict]:
        gate.wait(120)
        return []

    try:
        _move(settings, version, "champion", actor, judge)
        said.put((actor, version, None))
    except Conflict as conflict:
        said.put((actor, version, str(conflict)))
    except BaseException as other:
        said.put((actor, version, f"{type(other).__name__}: {other}"))
        raise


def test_fifty_promote_at_once_and_one_wins(shelf: Shelf) -> None:
    versions = [shelf.register() for _ in range(5)]
    rows = len(audit_log(shelf.settings, shelf.home, SURFACE))
    gate, said = CHILDREN.Barrier(50), CHILDREN.Queue()
    racers: list[Any] = []
    for number in range(50):
        kind: Any = CHILDREN.Process if number % 10 == 0 else threading.Thread
        work = (shelf.settings, versions[number % 5], f"person-{number}", gate, said)
        racers.append(kind(target=_racer, args=work))
    for racer in racers:
        racer.start()
    results = [said.get(timeout=180) for _ in racers]
    for racer in racers:
        racer.join()
    (winner,) = [(actor, version) for actor, version, conflict in results if conflict is None]
    named = f"{winner[0]} was first: version {winner[1]}", f"{winner[0]} moving version {winner[1]}"
    lost = [conflict for _, _, conflict in results if conflict is not None]
    assert len(lost) == 49
    assert [conflict for conflict in lost if not any(words in conflict for words in named)] == []
    log = audit_log(shelf.settings, shelf.home, SURFACE)[:-rows]
    moved = [(row["actor"], row["version"]) for row in log if row["action"] == "promote"]
    refused = {row["actor"] for row in log if row["action"] == "promote refused"}
    assert moved == [winner]
    assert refused == {f"person-{number}" for number in range(50)} - {winner[0]}
    assert shelf.store.holders(SURFACE)["champion"] == winner[1]
    assert [v for v, state in shelf.states().items() if state == "champion"] == [winner[1]]
