"""Commands of the validation room."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.console import emit
from contracts.errors import ValidationFailed
from contracts.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from contracts.reports import Finding, ValidationReport

__all__ = ["validate"]

validate = typer.Typer(no_args_is_help=True, help="Judge the ingested data before anything is built on it.")


@validate.command()
def run(
    force: Annotated[bool, typer.Option("--force", help="Judge again, even if these rules did already.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Hold every suite against the current snapshot and write the data docs.

    Exit code 3 when a suite fails. Example: `backbeat validate run`
    """
    from contracts.opening import open_home
    from validation.run import validate_snapshot

    settings, place = open_home(home)
    with place.writing("backbeat validate run"):
        report = validate_snapshot(settings, place, force=force)
    if not report.success:
        raise _failure(report)
    return _shown(report, as_json)


@validate.command()
def report(home: HomeOption = None, as_json: JsonOption = False) -> dict[str, Any]:
    """Show the newest report on the current snapshot. Example: `backbeat validate report`"""
    from contracts.database import Database
    from contracts.home import Home
    from contracts.reports import latest_report
    from contracts.settings import load_settings
    from feature_repo.offline import current_snapshot

    settings = load_settings(home=home)
    place = Home.open(settings)
    snapshot = current_snapshot(place)
    found = latest_report(Database(settings, place), snapshot.id)
    if found is None:
        raise ValidationFailed(
            f"snapshot {snapshot.id} ({snapshot.dataset})",
            found="no validation report",
            expected="one",
            next_step="run `backbeat validate run`",
        )
    return _shown(found, as_json)


def _shown(report: "ValidationReport", as_json: bool) -> dict[str, Any]:
    document = report.model_dump(mode="json")
    emit(document, as_json=as_json, text=_text(report))
    return document


def _text(report: "ValidationReport") -> str:
    lines = [f"Snapshot {report.snapshot}: {'passed' if report.success else 'FAILED'} (report {report.id})"]
    width = max((len(verdict.table) for verdict in report.suites), default=0)
    for verdict in report.suites:
        held = verdict.evaluated - len(verdict.findings)
        mark = "ok " if verdict.success else "NO "
        lines.append(
            f"  {mark} {verdict.suite:<13}{verdict.table:<{width}}  {held} of {verdict.evaluated} expectations hold"
        )
        lines += [f"       {finding.rule}: {finding.observed}" for finding in verdict.findings]
    return "\n".join([*lines, f"Data docs: {report.data_docs}"])


def _failure(report: "ValidationReport") -> ValidationFailed:
    failed = [verdict.suite for verdict in report.suites if not verdict.success]
    worst = "; ".join(_sentence(suite, finding) for suite, finding in report.worst())
    return ValidationFailed(
        f"snapshot {report.snapshot}, report {report.id}",
        found=f"{len(failed)} of {len(report.suites)} suites failed; the worst findings: {worst}",
        expected="every expectation to hold",
        next_step=f"read {report.data_docs}, mend the data, then ingest and run `backbeat validate run` again",
    )


def _sentence(suite: str, finding: "Finding") -> str:
    examples = f" (for example {', '.join(finding.examples[:2])})" if finding.examples else ""
    return f"{suite}: {finding.rule}: {finding.observed}{examples}"
