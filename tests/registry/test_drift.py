"""Aliases that were moved in MLflow itself."""

from typing import Any

import pytest

from contracts.errors import BadInput, Conflict, NotFound
from contracts.surfaces import Tag
from registry.audit import audit_log
from registry.drift import Drift, accept_drift, drift, revert_drift
from registry.lifecycle import Standing
from registry.policy import POLICY_FILE
from registry.promotion import retire

SURFACE = "video-feed"


@pytest.fixture
def moved(shelf: Any) -> Any:
    """Champion 1 and shadow 2 by our word; in MLflow somebody made 3 the champion."""
    (shelf.home.root / POLICY_FILE).write_text('[every.moves.champion]\ngates = ["package"]\n')
    shelf.judge()
    for _ in range(3):
        shelf.register()
    shelf.promote("1")
    shelf.promote("2", to="shadow")
    assert drift(shelf.settings, shelf.home, SURFACE) == []
    shelf.client.set_registered_model_alias(SURFACE, "champion", "3")
    return shelf


def _drift(shelf: Any) -> list[Drift]:
    return drift(shelf.settings, shelf.home, SURFACE)


def _tags(shelf: Any) -> dict[str, str]:
    return {v.version: v.tags[Tag.STATE] for v in shelf.store.versions(SURFACE)}


def test_it_is_found_and_nothing_moves_before_it_is_ended(moved: Any) -> None:
    rows = len(audit_log(moved.settings, moved.home, SURFACE))
    assert _drift(moved) == [Drift(SURFACE, "champion", "1", "3")]
    assert len(audit_log(moved.settings, moved.home, SURFACE)) == rows, "a look writes nothing"
    with pytest.raises(
        Conflict, match=r"champion is version 3, which nobody did through Backbeat.*models drift --surface"
    ):
        moved.promote("2")
    with pytest.raises(Conflict):
        retire(moved.settings, moved.home, SURFACE, "3", "x", "ann")
    refused = audit_log(moved.settings, moved.home, SURFACE)[1]
    assert (refused["action"], refused["verdicts"][0]["gate"]) == ("promote refused", "conflict")


def test_accepted_it_is_our_word(moved: Any) -> None:
    accept_drift(moved.settings, moved.home, SURFACE, "an emergency", "ann")
    assert _drift(moved) == []
    assert moved.store.holders(SURFACE) == {"champion": "3", "shadow": "2"}
    assert _tags(moved) == {"1": "retired", "2": "shadow", "3": "champion"}
    row = audit_log(moved.settings, moved.home, SURFACE)[0]
    assert (row["action"], row["actor"], row["version"], row["before"], row["after"], row["displaced"]) == (
        "drift accepted",
        "ann",
        "3",
        "champion",
        "champion",
        "1",
    )
    assert moved.rollback().version == "1", "what was accepted can be rolled back"


def test_reverted_it_is_as_before(moved: Any) -> None:
    revert_drift(moved.settings, moved.home, SURFACE, "nobody was asked", "ann")
    assert _drift(moved) == []
    assert moved.store.holders(SURFACE) == {"champion": "1", "shadow": "2"}
    assert _tags(moved) == {"1": "champion", "2": "shadow", "3": "registered"}
    assert audit_log(moved.settings, moved.home, SURFACE)[0]["action"] == "drift reverted"
    moved.promote("2")


def test_an_alias_that_was_taken_away(moved: Any) -> None:
    moved.client.set_registered_model_alias(SURFACE, "champion", "1")
    moved.client.delete_registered_model_alias(SURFACE, "shadow")
    assert _drift(moved) == [Drift(SURFACE, "shadow", "2", None)]
    revert_drift(moved.settings, moved.home, SURFACE, "put back", "ann")
    assert moved.store.holders(SURFACE)["shadow"] == "2"
    moved.client.delete_registered_model_alias(SURFACE, "shadow")
    accept_drift(moved.settings, moved.home, SURFACE, "well then", "ann")
    assert _tags(moved)["2"] == "candidate"
    row = audit_log(moved.settings, moved.home, SURFACE)[0]
    assert (row["version"], row["before"], row["after"]) == ("2", "shadow", "candidate")


def test_several_at_once_and_aliases_that_were_never_ours(moved: Any) -> None:
    moved.client.set_registered_model_alias(SURFACE, "challenger", "1")
    moved.client.set_registered_model_alias(SURFACE, "somebody-elses", "1")
    assert [d.alias for d in _drift(moved)] == ["champion", "challenger"]
    accept_drift(moved.settings, moved.home, SURFACE, "so be it", "ann")
    assert _drift(moved) == []
    assert _tags(moved) == {"1": "challenger", "2": "shadow", "3": "champion"}


def test_a_version_that_is_gone_cannot_be_put_back(moved: Any) -> None:
    moved.client.delete_model_version(SURFACE, "1")
    with pytest.raises(NotFound, match=r"version 1: found none of that number in MLflow any more.*--accept"):
        revert_drift(moved.settings, moved.home, SURFACE, "put back", "ann")
    accept_drift(moved.settings, moved.home, SURFACE, "it is gone", "ann")
    assert _drift(moved) == []
    assert _tags(moved) == {"2": "shadow", "3": "champion"}


def test_nothing_has_drifted(shelf: Any) -> None:
    shelf.register()
    for end in (accept_drift, revert_drift):
        with pytest.raises(NotFound, match="drift of video-feed: found every alias where Backbeat put it"):
            end(shelf.settings, shelf.home, SURFACE, "x", "ann")
        with pytest.raises(BadInput, match="reason of a move"):
            end(shelf.settings, shelf.home, SURFACE, "", "ann")
    with pytest.raises(NotFound, match="surface 'radio'"):
        drift(shelf.settings, shelf.home, "radio")


def test_what_is_served_in_tests_of_other_rooms_is_drift_too(shelf: Any) -> None:
    shelf.register()
    shelf.store.assign(SURFACE, Standing({"champion": "1"}, {}))
    assert _drift(shelf) == [Drift(SURFACE, "champion", None, "1")]
