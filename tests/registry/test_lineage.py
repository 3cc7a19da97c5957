"""From a version to the validation report that it was trained behind."""

import json

import pytest

from contracts.clock import utc_now
from contracts.database import Database
from contracts.platform import ValidationOverrideRow
from contracts.surfaces import Tag
from registry.commands import models
from registry.lineage import validation_of

SURFACE = "video-feed"


def _tagged(shelf, report_id: str) -> str:
    version = shelf.register()
    shelf.client.set_model_version_tag(SURFACE, version, Tag.VALIDATION_REPORT, report_id)
    return version


def _shown(shelf, version: str, *options: str) -> object:
    arguments = ["show", version, "--home", str(shelf.home.root), *options]
    return models(arguments, standalone_mode=False)


def test_it_is_the_report_of_the_tags_and_not_the_newest(shelf, capsys: pytest.CaptureFixture[str]) -> None:
    mine = shelf.judge(success=False)
    version = _tagged(shelf, mine)
    shelf.judge(success=True)
    database = Database(shelf.settings, shelf.home)
    with database.session() as session:
        session.add(ValidationOverrideRow(report_id=mine, at=utc_now(), actor="ann", reason="checked by hand"))
    database.close()
    _shown(shelf, version)
    shown = capsys.readouterr().out
    assert f"report {mine}: overridden" in shown
    assert "ann: checked by hand" in shown
    assert "index.html" in shown
    _shown(shelf, version, "--json")
    judged = json.loads(capsys.readouterr().out)["validation"]
    assert (judged["report"], judged["verdict"], judged["data_docs"]) == (mine, "overridden", "index.html")
    assert (judged["override"]["actor"], judged["override"]["reason"]) == ("ann", "checked by hand")


def test_a_version_without_and_one_whose_report_is_gone(shelf, capsys: pytest.CaptureFixture[str]) -> None:
    without, lost = shelf.register(), _tagged(shelf, "r0")
    assert validation_of(shelf.settings, shelf.home, shelf.store.get(SURFACE, without)) is None
    _shown(shelf, without)
    assert "no report is named by its tags" in capsys.readouterr().out
    judged = validation_of(shelf.settings, shelf.home, shelf.store.get(SURFACE, lost))
    assert judged == {"report": "r0", "verdict": "gone", "override": None, "data_docs": None}
