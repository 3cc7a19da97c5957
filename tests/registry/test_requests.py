"""Asking, approving, rejecting, withdrawing and waiting, where the policy wants an approval."""

import threading
from typing import Any

import pytest

from contracts.database import Database
from contracts.errors import (
    ApprovalMissing,
    BadInput,
    Conflict,
    GateRefused,
    NotFound,
    RequestRefused,
    StillWaiting,
)
from contracts.promotion_rows import JudgementRow
from registry.audit import audit_log
from registry.policy import POLICY_FILE
from registry.promotion import promote
from registry.request_book import find_request, list_requests, request_of
from registry.requests import approve, reject, request_promotion, wait_for_decision, withdraw

SURFACE = "video-feed"

POLICY = '[every.moves.champion]\ngates = ["package", "validation"]\napprovals = {approvals}\n'


@pytest.fixture
def asked(shelf: Any) -> Any:
    """A registry with good data and one version, whose policy wants somebody's yes."""
    (shelf.home.root / POLICY_FILE).write_text(POLICY.format(approvals=1))
    shelf.judge()
    shelf.register()
    return shelf


def _request(shelf: Any, version: str = "1", author: str = "ann", fault: str | None = None) -> Any:
    return request_promotion(
        shelf.settings, shelf.home, SURFACE, version, "champion", "is better", author, replay=lambda _: fault
    )


def _approve(shelf: Any, request_id: str, actor: str = "bob", fault: str | None = None) -> Any:
    return approve(shelf.settings, shelf.home, request_id, actor, "looked at it", replay=lambda _: fault)


def _promote(shelf: Any, actor: str = "ann") -> Any:
    return promote(shelf.settings, shelf.home, SURFACE, "1", "champion", "now", actor, replay=lambda _: None)


def _actions(shelf: Any) -> list[tuple[str, str]]:
    return [(row["actor"], row["action"]) for row in audit_log(shelf.settings, shelf.home, SURFACE)]


def test_without_a_request_only_the_approval_is_missing(asked: Any) -> None:
    with pytest.raises(ApprovalMissing, match=r"1 of 3 gates refuse: approval") as caught:
        _promote(asked)
    assert caught.value.exit_code == 4
    assert "backbeat models request 1 --surface video-feed --to champion" in caught.value.next_step
    assert _actions(asked) == [("ann", "promote refused")]


def test_asked_approved_and_performed(asked: Any) -> None:
    request = _request(asked)
    assert (request.state, request.author, request.version, request.target) == ("open", "ann", "1", "champion")
    database = Database(asked.settings, asked.home)
    with database.session() as session:
        verdicts = session.get_one(JudgementRow, request.judgement_id).verdicts
    assert [(v["gate"], v["outcome"]) for v in verdicts][-1] == ("approval", "missing")
    decision = _approve(asked, request.id)
    assert (decision.promotion.after, decision.promotion.verdicts[-1].outcome) == ("champion", "pass")
    assert decision.promotion.reason == "is better; approved: looked at it"
    assert (decision.request.state, decision.request.decided_by) == ("performed", "bob")
    assert [(a.actor, a.reason) for a in decision.request.approvals] == [("bob", "looked at it")]
    assert asked.states() == {"1": "champion"}
    assert _actions(asked) == [("bob", "promote"), ("bob", "approve"), ("ann", "request")]
    assert request_of(database, SURFACE, "1", "champion") is None
    assert [r.id for r in list_requests(database, SURFACE, "performed")] == [request.id]
    assert list_requests(database, SURFACE, "open") == []
    assert decision.as_dict()["request"]["state"] == "performed"
    database.close()


def test_the_author_does_not_approve(asked: Any) -> None:
    request = _request(asked)
    with pytest.raises(Conflict, match="its author ann approving it; expected somebody else's approval"):
        _approve(asked, request.id, "ann")
    assert asked.states() == {"1": "registered"}


def test_the_policy_may_let_the_author_approve(asked: Any) -> None:
    (asked.home.root / POLICY_FILE).write_text(POLICY.format(approvals=1) + "author_may_approve = true\n")
    assert _approve(asked, _request(asked).id, "ann").promotion.after == "champion"


def test_two_approvals_are_of_two_people(asked: Any) -> None:
    (asked.home.root / POLICY_FILE).write_text(POLICY.format(approvals=2))
    request = _request(asked)
    for _ in range(2):
        once = _approve(asked, request.id, "bob")
        assert (once.promotion, once.request.state, len(once.request.approvals)) == (None, "open", 1)
    assert _approve(asked, request.id, "eve").promotion.after == "champion"


def test_the_same_is_not_asked_for_twice(asked: Any) -> None:
    request = _request(asked)
    with pytest.raises(Conflict, match=f"found request {request.id} of ann for the same"):
        _request(asked, author="bob")
    withdraw(asked.settings, asked.home, request.id, "ann", "later")
    assert _request(asked, author="bob").state == "open"


def test_a_rejected_request_is_over(asked: Any) -> None:
    request = _request(asked)
    ended = reject(asked.settings, asked.home, request.id, "bob", "new users lose")
    assert (ended.state, ended.decided_by, ended.decision_reason) == ("rejected", "bob", "new users lose")
    with pytest.raises(Conflict, match="a request that is rejected by bob"):
        _approve(asked, request.id, "eve")
    with pytest.raises(ApprovalMissing):
        _promote(asked)


def test_only_the_author_withdraws(asked: Any) -> None:
    request = _request(asked)
    with pytest.raises(Conflict, match="bob withdrawing a request of ann"):
        withdraw(asked.settings, asked.home, request.id, "bob", "no")
    assert withdraw(asked.settings, asked.home, request.id, "ann", "found a fault").state == "withdrawn"


def test_gates_that_refuse_by_now_leave_the_yes_standing(asked: Any) -> None:
    request = _request(asked)
    with pytest.raises(GateRefused, match="package: does not load"):
        _approve(asked, request.id, fault="does not load")
    database = Database(asked.settings, asked.home)
    assert find_request(database, request.id).state == "approved"
    database.close()
    assert _promote(asked, "carol").after == "champion", "whoever may promote goes on from there"
    assert _actions(asked)[0] == ("carol", "promote")


def test_a_request_that_is_rejected_while_the_gates_are_asked_moves_nothing(asked: Any) -> None:
    request = _request(asked)

    def replay(_: Any) -> None:
        reject(asked.settings, asked.home, request.id, "eve", "wait")

    with pytest.raises(Conflict, match="rejected by eve while the gates were asked: wait"):
        approve(asked.settings, asked.home, request.id, "bob", "yes", replay=replay)
    assert asked.states() == {"1": "registered"}


def test_what_is_there_already_needs_nothing_more(asked: Any) -> None:
    request = _request(asked)
    (asked.home.root / POLICY_FILE).write_text(POLICY.format(approvals=0))
    other = Database(asked.settings, asked.home)
    _promote(asked)
    assert find_request(other, request.id).state == "performed", "the promotion answers the request"
    other.close()
    with pytest.raises(Conflict, match="found state champion"):
        _request(asked)


@pytest.mark.parametrize("decide", [approve, reject, withdraw])
def test_decisions_name_a_request_and_a_reason(asked: Any, decide: Any) -> None:
    with pytest.raises(NotFound, match="request 'nosuch'"):
        decide(asked.settings, asked.home, "nosuch", "bob", "because")
    with pytest.raises(BadInput, match="reason of a move"):
        decide(asked.settings, asked.home, "nosuch", "bob", " ")


def test_bad_requests(asked: Any) -> None:
    with pytest.raises(NotFound, match="promotion target 'king'"):
        request_promotion(asked.settings, asked.home, SURFACE, "1", "king", "x", "ann")
    with pytest.raises(NotFound, match="version '9'"):
        _request(asked, "9")
    with pytest.raises(Conflict, match="1 → challenger: found state registered"):
        request_promotion(asked.settings, asked.home, SURFACE, "1", "challenger", "x", "ann")


def test_waiting_for_a_decision(asked: Any) -> None:
    request = _request(asked)
    with pytest.raises(StillWaiting, match="open, with 0 approvals, after 0 seconds") as caught:
        wait_for_decision(asked.settings, asked.home, request.id, 0)
    assert caught.value.exit_code == 9
    with pytest.raises(BadInput, match="seconds to wait"):
        wait_for_decision(asked.settings, asked.home, request.id, -1)
    decider = threading.Timer(0.3, _approve, (asked, request.id))
    decider.start()
    assert wait_for_decision(asked.settings, asked.home, request.id, 60).state == "performed"
    decider.join()


def test_waiting_ends_with_a_rejection(asked: Any) -> None:
    request = _request(asked)
    reject(asked.settings, asked.home, request.id, "bob", "new users lose")
    with pytest.raises(RequestRefused, match="rejected by bob: new users lose") as caught:
        wait_for_decision(asked.settings, asked.home, request.id, 60)
    assert caught.value.exit_code == 8
