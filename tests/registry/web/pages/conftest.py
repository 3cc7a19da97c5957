"""A home with versions, reports, jobs and moves, and browsers that look at it."""

from pathlib import Path

import pytest

from contracts.clock import utc_now
from contracts.platform import AuditRow, ShadowReportRow
from contracts.promotion_rows import JudgementRow, RequestRow, StandingRow
from contracts.surfaces import PACKAGE_ARTIFACT, Tag
from registry.web.pages.catalogued import catalogue_of
from registry.web.site import Visit
from tests.registry.conftest import SURFACE, Shelf
from tests.registry.web.conftest import Browser, Web

HOSTILE = "<script>alert(1)</script>"
"""A name as somebody outside might give it."""

PNG = b"\x89PNG\r\n\x1a\n"


class Stock:
    """A stocked home and its UI."""

    def __init__(self, shelf: Shelf, web: Web) -> None:
        self.shelf, self.web = shelf, web

    def add(self, *rows: object) -> None:
        """Write rows into the platform's tables."""
        with self.web.database.session() as session:
            session.add_all(rows)

    def see(self) -> None:
        """Have the catalogue look at MLflow now."""
        here = Visit(self.web.site, None, None)  # type: ignore[arg-type]
        catalogue_of(here).refresh(now=True)
        catalogue_of(here).compare()

    def browser(self, role: str = "viewer") -> Browser:
        """Somebody of a role."""
        return self.web.browser(role)

    def artifacts(self, version: str) -> Path:
        """Directory of the run's artifacts."""
        package = self.shelf.package(version)
        assert package.name == PACKAGE_ARTIFACT
        return package.parent

    def hold(self, alias: str, version: str) -> None:
        """Give an alias as Backbeat does: in MLflow, as its own word, and in the audit log."""
        self.shelf.client.set_registered_model_alias(SURFACE, alias, version)
        with self.web.database.session() as session:
            session.merge(StandingRow(surface=SURFACE, alias=alias, version=version, at=utc_now()))
            session.add(audit(version=version, after=alias))
        self.see()


def audit(**values: object) -> AuditRow:
    """An entry of the audit log."""
    row = {
        "at": utc_now(),
        "actor": "ada",
        "surface": SURFACE,
        "version": "1",
        "action": "promote",
        "before": "registered",
        "after": "champion",
        "displaced": None,
        "verdicts": [],
        "reason": "because",
    }
    return AuditRow(**{**row, **values})


def request(**values: object) -> RequestRow:
    """A request for promotion."""
    row = {
        "id": "r1",
        "at": utc_now(),
        "surface": SURFACE,
        "version": "2",
        "target": "champion",
        "author": "engineer",
        "reason": "better",
        "state": "open",
        "wish": f"{SURFACE}/2/champion",
    }
    return RequestRow(**{**row, **values})


def judgement(**values: object) -> JudgementRow:
    """What the gates said."""
    verdicts = [
        {"gate": "package", "outcome": "pass", "figure": 3, "rule": "whole", "sentence": "three files as sealed"},
        {"gate": "latency", "outcome": "fail", "figure": 80.5, "rule": "under 50 ms", "sentence": HOSTILE},
    ]
    row = {
        "id": "j1",
        "at": utc_now(),
        "surface": SURFACE,
        "version": "2",
        "target": "champion",
        "champion": "1",
        "package_sha256": "",
        "policy_digest": "p" * 16,
        "verdicts": verdicts,
        "evidence": {},
        "actor": "ada",
    }
    return JudgementRow(**{**row, **values})


def shadow_report(**values: object) -> ShadowReportRow:
    """A stored comparison."""
    body = {
        "k": 10,
        "requests": 200,
        "errors": 1,
        "overlap@10": 0.4175,
        "ranked": 180,
        "ranked_overlap@10": 0.39,
        "champion_latency": {"p50_ms": 2.0, "p99_ms": 18.0},
        "shadow_latency": {"p50_ms": 3.0, "p99_ms": 41.6},
    }
    row = {"id": "s1", "at": utc_now(), "surface": SURFACE, "champion": "1", "shadow": "2", "body": body}
    return ShadowReportRow(**{**row, **values})


@pytest.fixture
def stock(shelf: Shelf, web: Web) -> Stock:
    """Three versions: 1 is champion, 2 is better, 3 has a hostile name and another protocol."""
    shelf.register("mf", 0.1)
    shelf.register("lightgcn", 0.2)
    shelf.register(HOSTILE, 0.3, snapshot="snap-2")
    shelf.client.set_model_version_tag(SURFACE, "3", Tag.AUTHOR, f'"{HOSTILE}')
    for number, rate in (("1", "0.1"), ("2", "0.2")):
        run = shelf.store.get(SURFACE, number).run_id
        shelf.client.log_param(run, "learning_rate", rate)
        shelf.client.log_param(run, "dimension", "64")
    made = Stock(shelf, web)
    made.hold("champion", "1")
    return made
