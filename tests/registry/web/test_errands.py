"""Actions that take time: queued, done by a child process, told on their page, refused to who may not."""

import time
from pathlib import Path
from typing import Any

import pytest

from contracts.errors import BackbeatError, BadInput, Conflict, NotFound
from contracts.jobs import JobState, find_job, queue_job
from contracts.surfaces import VIDEO_FEED
from registry.errand import ERRAND, VERBS, Errand, Verb, do_errand, main
from registry.web.access import PERMISSIONS, Person
from registry.web.errands import ErrandRunner, find_errand, repeat_errand, runner_of, start_errand, title_of
from registry.web.site import Visit
from tests.registry.conftest import Shelf
from tests.registry.web.conftest import Web


@pytest.fixture
def registered(shelf: Shelf) -> Web:
    """A UI over a registry with a version whose data passed."""
    shelf.judge()
    shelf.register()
    return Web(shelf.settings, shelf.home)


def _visit(web: Web, role: str = "admin") -> Visit:
    return Visit(web.site, Person.of_session("ada", role, "", ""), None)  # type: ignore[arg-type]


def _queue(web: Web, verb: str, **arguments: str) -> str:
    asked = {"verb": verb, "arguments": arguments, "actor": "ada"}
    return queue_job(web.database, ERRAND, VIDEO_FEED, [], asked)


def _ended(web: Web, job: str) -> Any:
    until = time.monotonic() + 60
    while find_job(web.database, job).state in (JobState.QUEUED, JobState.RUNNING) and time.monotonic() < until:
        time.sleep(0.1)
    return find_job(web.database, job)


def test_every_action_s_permission_is_in_the_table() -> None:
    assert {verb.permission for verb in VERBS.values()} <= set(PERMISSIONS)


def test_an_errand_does_what_it_says_and_keeps_what_came_of_it(registered: Web) -> None:
    job = _queue(registered, "retire", version="1", reason="old")
    done = do_errand(registered.settings, registered.home, job)
    assert (done["state"], done["detail"]["result"]["after"]) == ("done", "retired")
    page = registered.browser("viewer").get(f"/work/{job}")
    assert "Retire version 1" in page.text
    assert "data-live" not in page.text
    with pytest.raises(Conflict):
        do_errand(registered.settings, registered.home, job)


def test_a_child_process_does_it_and_the_page_says_what_it_refused(registered: Web) -> None:
    here = _visit(registered)
    job = start_errand(here, "rollback", VIDEO_FEED, {"reason": "x"})
    row = _ended(registered, job)
    assert row.state == JobState.FAILED
    browser = registered.browser("viewer")
    shown = browser.get(f"/api/work/{job}").json()
    assert shown["errand"]["error"]["subject"] == row.error["error"]["subject"]
    assert shown["errand"]["error"]["next"] in browser.get(f"/work/{job}").text.replace("&#39;", "'")
    assert shown["again"] is False, "a viewer may not"
    again = registered.browser("approver").fill(f"/work/{job}/again")
    assert again.status_code == 303
    other = _ended(registered, again.headers["location"].removeprefix("/work/"))
    assert (other.id != job, other.parameters["actor"]) == (True, "approver")
    assert repeat_errand(here, job) == job, "who began it goes on with the same one"
    assert _ended(registered, job).attempts == 2


def test_what_is_said_on_the_way_becomes_steps(registered: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    from contracts.console import note

    def retire(errand: Errand) -> dict[str, Path]:
        note("first\nthen second")
        with pytest.raises(BadInput, match="no gate; expected gate among its arguments"):
            errand["gate"]
        return {"path": errand.home.root}

    monkeypatch.setattr("registry.errand.VERBS", {"retire": Verb("retire", "Retire", retire)})
    job = _queue(registered, "retire")
    done = do_errand(registered.settings, registered.home, job)
    assert [step["text"] for step in done["detail"]["steps"]] == ["first", "then second"]
    assert done["detail"]["result"] == {"path": str(registered.home.root)}
    assert "then second" in registered.browser("viewer").get(f"/work/{job}").text


@pytest.mark.parametrize(
    ("verb", "arguments", "expected"),
    [
        ("fly", {}, "no action of that name"),
        ("judge", {"version": "1", "target": "emperor"}, "emperor"),
        ("promote", {"version": "99", "target": "champion", "reason": "x"}, "99"),
        ("waive", {"version": "1", "gate": "latency", "reason": "x", "days": "some"}, "'some'"),
        ("drift", {"how": "ignored", "reason": "x"}, "ignored"),
        ("approve", {"request": "none", "reason": "x"}, "none"),
        ("request", {"version": "1", "target": "champion"}, "no reason"),
    ],
)
def test_an_errand_that_cannot_be_done_says_why(
    registered: Web, verb: str, arguments: dict[str, str], expected: str
) -> None:
    job = _queue(registered, verb, **arguments)
    with pytest.raises(BackbeatError, match=expected):
        do_errand(registered.settings, registered.home, job)
    assert find_job(registered.database, job).state == JobState.FAILED
    assert registered.browser("viewer").get(f"/work/{job}").status_code == 200
    assert title_of(find_job(registered.database, job))


def test_who_may_not_do_it_starts_nothing(web: Web) -> None:
    with pytest.raises(BackbeatError, match="somebody with the permission promote"):
        start_errand(_visit(web, "engineer"), "promote", VIDEO_FEED, {})
    with pytest.raises(NotFound, match="no action of that name"):
        start_errand(_visit(web), "fly", VIDEO_FEED, {})
    assert web.browser("viewer").get("/api/work").json() == {"errands": [], "moving": False}


def test_what_was_queued_when_the_server_ended_is_done_after_the_next_start(registered: Web) -> None:
    job = _queue(registered, "retire", version="1", reason="old")
    runner = ErrandRunner(registered.settings, registered.home, registered.database)
    assert _ended(registered, job).state == JobState.DONE
    runner.close()


def test_a_child_that_dies_before_it_begins_is_no_job_that_waits_for_ever(
    registered: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("registry.web.errands.sys.executable", "/bin/false")
    job = start_errand(_visit(registered), "retire", VIDEO_FEED, {"version": "1", "reason": "x"})
    row = _ended(registered, job)
    assert (row.state, row.error["error"]["expected"]) == (JobState.FAILED, "a process that begins its work")
    runner_of(_visit(registered)).close()


def test_other_jobs_are_no_errands(web: Web) -> None:
    job = queue_job(web.database, "materialize", "s", ["v"])
    with pytest.raises(NotFound, match="a job of the kind materialize"):
        find_errand(web.database, job)


def test_the_module_answers_like_a_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: python -m registry.errand ID" in capsys.readouterr().err
