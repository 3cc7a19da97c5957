"""Asking, deciding, waiving, drift and what is left, as a user types them."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from backbeat.cli import invoke
from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import ApprovalMissing, BadInput, Conflict, GateRefused, NotFound, RequestRefused, StillWaiting
from contracts.platform import ResponseRow
from contracts.promotion_rows import MoveRow
from registry import promotion, requests
from registry.commands import models
from registry.moves import Proposal, make_move
from registry.opening import open_registry
from registry.policy import POLICY_FILE
from registry.request_book import list_requests

SURFACE = "video-feed"


@pytest.fixture(autouse=True)
def _packages_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages of these tests are no models; that the real check refuses them is shown elsewhere."""
    for module, moves in ((promotion, ("promote", "rollback")), (requests, ("request_promotion", "approve"))):
        for move in moves:
            monkeypatch.setattr(module, move, partial(getattr(module, move), replay=lambda _: None))


@pytest.fixture
def become(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Be another user from now on."""
    return lambda name: monkeypatch.setattr("getpass.getuser", lambda: name)


@pytest.fixture
def typed(shelf: Any, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Type ``backbeat models …``; what it prints."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        code = invoke(["models", *arguments, "--home", str(shelf.home.root)])
        out = capsys.readouterr().out
        return f"exit {code}\n{out}" if isinstance(code, int) else out

    return run


@pytest.fixture
def guarded(shelf: Any) -> Any:
    """One version on good data; champion needs somebody's yes."""
    (shelf.home.root / POLICY_FILE).write_text('[every.moves.champion]\ngates = ["package"]\napprovals = 1\n')
    shelf.judge()
    shelf.register()
    return shelf


def _open_request(shelf: Any) -> str:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        with open_registry(shelf.settings, shelf.home) as registry:
            if found := list_requests(registry.database, state="open"):
                return found[0].id
        time.sleep(0.1)
    raise AssertionError("nobody asked")


def test_ask_approve_and_look(guarded: Any, typed: Any, become: Any) -> None:
    become("ann")
    with pytest.raises(ApprovalMissing, match="backbeat models request 1"):
        typed("promote", "1", "--to", "champion", "--reason", "x")
    asked = typed("request", "1", "--to", "champion", "--reason", "better on cold videos")
    request_id = asked.split()[0]
    assert "video-feed version 1 → champion: open" in asked
    assert f'Next: somebody else runs `backbeat models approve {request_id} --reason "..."`' in asked
    with pytest.raises(Conflict, match="its author ann"):
        typed("approve", request_id, "--reason", "mine")
    become("bob")
    assert "version 1 (mf): registered → champion." in typed("approve", request_id, "--reason", "looked at it")
    listed = typed("requests")
    assert "asked by ann: better on cold videos" in listed
    assert "approved by bob: looked at it" in listed
    assert typed("requests", "--state", "open") == "No such request.\n"
    with pytest.raises(NotFound, match="state of a request 'opne'"):
        typed("requests", "--state", "opne")
    assert json.loads(typed("requests", "--json"))["requests"][0]["state"] == "performed"
    assert "bob  approve version 1: champion; looked at it" in typed("audit")


def test_reject_and_withdraw(guarded: Any, typed: Any, become: Any) -> None:
    become("ann")
    for end, who in (("reject", "bob"), ("withdraw", "ann")):
        become("ann")
        request_id = typed("request", "1", "--to", "champion", "--reason", "x").split()[0]
        become(who)
        said = typed(end, request_id, "--reason", "new users lose")
        assert said.splitlines()[-1] in (
            f"  rejected by {who}: new users lose",
            f"  withdrawn by {who}: new users lose",
        )


def test_a_pipeline_waits_for_the_yes(guarded: Any, typed: Any) -> None:
    decider = threading.Thread(
        target=lambda: requests.approve(guarded.settings, guarded.home, _open_request(guarded), "bob", "fine")
    )
    decider.start()
    said = typed("promote", "1", "--to", "champion", "--reason", "ci", "--wait", "--timeout", "120")
    decider.join()
    assert said == "video-feed version 1: champion, approved and made by bob.\n"
    assert guarded.states() == {"1": "champion"}


def test_a_pipeline_hears_the_no_or_nothing(guarded: Any, typed: Any) -> None:
    wait = ("promote", "1", "--to", "champion", "--reason", "ci", "--wait", "--timeout")
    decider = threading.Thread(
        target=lambda: requests.reject(guarded.settings, guarded.home, _open_request(guarded), "bob", "no")
    )
    decider.start()
    with pytest.raises(RequestRefused, match="rejected by bob: no"):
        typed(*wait, "120")
    decider.join()
    with pytest.raises(StillWaiting):
        typed(*wait, "0")


def test_waiting_does_not_help_against_other_gates(guarded: Any, typed: Any) -> None:
    (guarded.package("1") / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(GateRefused, match="2 of 2 gates refuse: package"):
        typed("promote", "1", "--to", "champion", "--reason", "ci", "--wait")
    assert typed("requests") == "No such request.\n"


def test_waive(shelf: Any, typed: Any) -> None:
    shelf.register()
    assert typed("waivers", "1") == "No gate is waived for video-feed version 1.\n"
    said = typed("waive", "1", "--gate", "validation", "--days", "2", "--reason", "checked by hand")
    assert said.startswith("video-feed version 1 may pass validation until ")
    assert ": checked by hand" in typed("waivers", "1")
    assert json.loads(typed("waivers", "1", "--json"))["waivers"][0]["gate"] == "validation"


def test_drift(shelf: Any, typed: Any) -> None:
    shelf.register()
    assert typed("drift") == "Every alias of video-feed is where Backbeat put it.\n"
    for how, holder in (("--revert", None), ("--accept", "1")):
        shelf.client.set_registered_model_alias(SURFACE, "champion", "1")
        found = typed("drift")
        assert found.startswith("exit 4\nchampion: version 1 in MLflow, nobody by Backbeat's last word; found\n")
        assert "--revert REASON" in found
        assert json.loads(typed("drift", "--json").partition("\n")[2])["drift"][0]["theirs"] == "1"
        assert typed("drift", how, "because").endswith(f"; {how.strip('-')}ed\n")
        assert shelf.store.holders(SURFACE).get("champion") == holder
        assert typed("drift").startswith("Every alias")
    with pytest.raises(BadInput, match="found --accept and --revert"):
        typed("drift", "--accept", "x", "--revert", "y")


def test_resume(shelf: Any, typed: Any) -> None:
    shelf.register()
    assert typed("resume") == "No move was left unfinished.\n"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with open_registry(shelf.settings, shelf.home) as registry:

        def as_if_dead(step: str) -> None:
            if step == "alias champion":
                with registry.database.session() as session:
                    session.query(MoveRow).update({"pid": gone.pid, "token": "another"})

        proposal = Proposal("promote", registry.store.get(SURFACE, "1"), "champion", "x", "ann")
        with pytest.raises(Conflict, match="another process that has taken it up"):
            make_move(registry, proposal, lambda _: (), as_if_dead)
    assert typed("resume") == "video-feed version 1: promote of ann finished.\n"
    assert shelf.states() == {"1": "champion"}


def test_audit_at(shelf: Any, typed: Any) -> None:
    shelf.judge()
    shelf.register()
    before = utc_now().isoformat()
    typed("promote", "1", "--to", "shadow", "--reason", "x")
    lines = typed("audit", "--at", utc_now().isoformat()).splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["champion", "nobody"],
        ["challenger", "nobody"],
        ["shadow", "version", "1"],
    ]
    assert json.loads(typed("audit", "--at", before, "--json"))["aliases"]["shadow"] is None
    with pytest.raises(BadInput, match="--at: found 'yesterday'"):
        typed("audit", "--at", "yesterday")
    with pytest.raises(NotFound, match="surface 'data'"):
        typed("audit", "--surface", "data", "--at", before)
    assert typed("audit", "--surface", "data") == "No move of data yet.\n"


def test_deliveries_without_a_webhook(shelf: Any, typed: Any) -> None:
    assert "BACKBEAT_WEBHOOK_URL" in typed("deliveries", "--send")


def test_trace(shelf: Any, capsys: pytest.CaptureFixture[str]) -> None:
    shelf.register()
    database = Database(shelf.settings, shelf.home)
    with database.session() as session:
        row = {"surface": SURFACE, "version": "1", "user_id": "u", "items": [], "latency_ms": 1.0}
        session.add(ResponseRow(id="r1", at=utc_now(), **row))
    database.close()
    invoke(["trace", "r1", "--home", str(shelf.home.root)])
    assert capsys.readouterr().out.splitlines()[2] == "  made by video-feed version 1 (mf)"


@pytest.mark.parametrize("command", models.registered_commands, ids=lambda c: c.name or c.callback.__name__)
def test_every_command_shows_an_example_and_speaks_json(command: Any) -> None:
    name = command.name or command.callback.__name__
    assert f"Example: `backbeat models {name}" in " ".join(command.callback.__doc__.split())
    assert "as_json" in command.callback.__annotations__
