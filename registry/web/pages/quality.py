"""What the data were judged to be: reports, their worst findings, pictures, and the data docs in a sandbox."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

from fastapi import Query
from pydantic import BaseModel, ConfigDict
from starlette.responses import FileResponse, Response

from contracts.current import current_snapshot_id
from contracts.errors import NotFound
from contracts.reports import ValidationReport, find_report, past_reports
from registry.web.page import Pages
from registry.web.site import Here, Visit

__all__ = ["QualityPage", "ReportPage", "pages"]

pages = Pages("quality")

_PAGE = 50
_WORST = 20
_DOCS: Final = {".html": "text/html; charset=utf-8", ".png": "image/png", ".svg": "image/svg+xml"}
_SANDBOX: Final = "; ".join(
    ("sandbox", "default-src 'none'", "img-src 'self'", "style-src 'unsafe-inline'", "base-uri 'none'")
)
"""The docs hold words of the data: no script, no form, no origin, whatever gets into them."""


class ReportLine(BaseModel):
    """One report of the history."""

    model_config = ConfigDict(frozen=True)

    id: str
    snapshot: str
    dataset: str
    created_at: datetime
    verdict: str
    failed: list[str]
    baseline: str | None
    overridden_by: str | None


class QualityPage(BaseModel):
    """The history of validation."""

    model_config = ConfigDict(frozen=True)

    snapshot: str | None
    """The current one."""
    judged: ReportLine | None
    """Its newest report."""
    reports: list[ReportLine]
    page: int
    more: bool


class FindingLine(BaseModel):
    """Something that does not hold."""

    model_config = ConfigDict(frozen=True)

    suite: str
    table: str
    expectation: str
    column: str | None
    observed: str
    rule: str
    examples: list[str]
    severity: float
    advice: str


class ReportPage(BaseModel):
    """One report."""

    model_config = ConfigDict(frozen=True)

    report: ValidationReport
    verdict: str
    worst: list[FindingLine]
    """Findings, worst first."""
    findings: int
    """How many there are."""
    pictures: list[str]
    """Tables with a picture, at ``/quality/REPORT/docs/FILE``."""
    docs: bool
    """Whether the data docs are on this machine."""


@pages.page("/quality", "pages/quality.html")
def quality(
    here: Here, page: Annotated[int, Query(ge=1, le=100_000)] = 1, dataset: Annotated[str, Query(max_length=256)] = ""
) -> QualityPage:
    """Validation reports, the newest first."""
    current = current_snapshot_id(here.home)
    newest = past_reports(here.database, limit=1, snapshot=current) if current is not None else []
    reports = past_reports(here.database, limit=page * _PAGE + 1, dataset=dataset or None)
    return QualityPage(
        snapshot=current,
        judged=ReportLine.model_validate(newest[0], from_attributes=True) if newest else None,
        reports=[
            ReportLine.model_validate(row, from_attributes=True) for row in reports[(page - 1) * _PAGE : page * _PAGE]
        ],
        page=page,
        more=len(reports) > page * _PAGE,
    )


@pages.page("/quality/{report}", "pages/report.html")
def report_page(here: Here, report: str) -> ReportPage:
    """One report: verdicts of its suites, worst findings, what was set aside, pictures.

    Raises:
        NotFound: There is none of that id.
    """
    found = find_report(here.database, report)
    findings = [
        FindingLine(
            suite=suite.suite,
            table=suite.table,
            expectation=finding.expectation,
            column=finding.column,
            observed=str(finding.observed)[:500],
            rule=finding.rule,
            examples=finding.examples[:10],
            severity=finding.severity,
            advice=finding.advice,
        )
        for suite in found.suites
        for finding in suite.findings
    ]
    findings.sort(key=lambda line: -line.severity)
    files = _files(here, found.id)
    return ReportPage(
        report=found,
        verdict=found.verdict,
        worst=findings[:_WORST],
        findings=len(findings),
        pictures=[table for table, name in sorted(found.pictures.items()) if name in files],
        docs="index.html" in files,
    )


@pages.file("/quality/{report}/docs/{name}")
def docs(here: Here, report: str, name: str) -> Response:
    """A page or picture of a report's data docs, in a sandbox.

    Raises:
        NotFound: There is no such report or file.
    """
    found = find_report(here.database, report)
    files = _files(here, found.id)
    if name not in files:
        raise NotFound(
            f"data docs of report {found.id}",
            found=f"no file {name!r}",
            expected=f"one of {', '.join(sorted(files)[:8]) or 'none: the docs are on another machine'}",
            next_step=f"open /quality/{found.id}",
        )
    path = files[name]
    headers = {
        "content-security-policy": _SANDBOX,
        "x-frame-options": "SAMEORIGIN",
        "cache-control": "private, max-age=600",
    }
    return FileResponse(path, media_type=_DOCS[path.suffix], headers=headers)


def _files(here: Visit, report_id: str) -> dict[str, Path]:
    """Name → file of what may be shown of a report's directory."""
    directory = here.home.quality / report_id
    if not directory.is_dir():
        return {}
    root = directory.resolve()
    return {
        path.name: path
        for path in sorted(directory.iterdir())
        if path.suffix in _DOCS and path.is_file() and path.resolve().is_relative_to(root)
    }
