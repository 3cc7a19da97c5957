"""Commands of the validation room."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.console import emit
from contracts.errors import NotFound, ValidationFailed
from contracts.options import HomeOption, JsonOption

if TYPE_CHECKING:
    from contracts.home import Home
    from contracts.reports import ValidationReport
    from contracts.settings import Settings
    from contracts.snapshot import Snapshot

__all__ = ["validate"]

validate = typer.Typer(no_args_is_help=True, help="Judge the ingested data before anything is built on it.")


@validate.command()
def run(
    force: Annotated[bool, typer.Option("--force", help="Judge again, even if these rules did already.")] = False,
    quarantine: Annotated[
        bool,
        typer.Option(
            "--quarantine", help="Where it fails: go on without what is broken, if the rest passes (a new snapshot)."
        ),
    ] = False,
    impact: Annotated[
        bool, typer.Option("--impact", help="Measure what the champion's lists would lose with this snapshot.")
    ] = False,
    baseline: Annotated[
        str | None,
        typer.Option(
            "--baseline",
            metavar="SNAPSHOT|none",
            help="Compare with this accepted snapshot; default: newest. With less, a person has to accept it.",
        ),
    ] = None,
    no_probes: Annotated[
        bool,
        typer.Option(
            "--no-probes",
            help="Do not encode some items again to compare them (takes seconds per embedding table).",
        ),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Hold every suite against the current snapshot and write the data docs.

    Exit code 3 when a suite fails, or when a comparison with what was accepted last is declined with --baseline.
    Example: `backbeat validate run --impact`
    """
    from contracts.opening import open_home
    from validation.run import validate_snapshot

    settings, place = open_home(home)
    with place.writing("backbeat validate run"):
        try:
            report = validate_snapshot(
                settings,
                place,
                force,
                baseline=baseline,
                impact=impact,
                probes=not no_probes,
                quarantine=quarantine,
            )
        except ValidationFailed as error:  # the report stands, and it cannot be mended
            raise _refused(place, _newest_report(settings, place), error, as_json) from None
    if not report.accepted:
        raise _refused(place, report, _failure(report), as_json)
    return _shown(place, report, as_json)


@validate.command()
def report(
    report_id: Annotated[
        str | None, typer.Argument(metavar="REPORT", help="Id of a report; default: the current snapshot's newest.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Show a report: the verdict, the worst findings and what to do. Example: `backbeat validate report`"""
    from contracts.opening import open_home

    settings, place = open_home(home)
    if report_id is None:
        from feature_repo.offline import current_snapshot

        snapshot = current_snapshot(place)
        subject, snapshot_id = f"snapshot {snapshot.id} ({snapshot.dataset})", snapshot.id
    else:
        subject, snapshot_id = f"report {report_id}", None
    from contracts.database import Database
    from contracts.reports import find_report, latest_report, past_reports

    database = Database(settings, place)
    try:
        found = latest_report(database, snapshot_id) if snapshot_id else find_report(database, str(report_id))
        newest = found is not None and past_reports(database, limit=1, snapshot=found.snapshot)[0].id == found.id
    finally:
        database.close()
    if found is None:
        raise ValidationFailed(
            subject,
            found="no validation report",
            expected="one",
            next_step="run `backbeat validate run`",
        )
    return _shown(place, found, as_json, newest=newest)


@validate.command("list")
def list_reports(
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many of the newest.")] = 20,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """List past reports, newest first. Example: `backbeat validate list --limit 100`"""
    from dataclasses import asdict

    from contracts.database import Database
    from contracts.opening import open_home
    from contracts.reports import past_reports
    from validation.texts import history_text

    settings, place = open_home(home)
    database = Database(settings, place)
    try:
        rows = past_reports(database, limit)
    finally:
        database.close()
    document = {"reports": [asdict(row) | {"verdict": row.verdict} for row in rows]}
    emit(document, as_json=as_json, text=history_text(rows))
    return document


@validate.command()
def drift(
    against: Annotated[
        str | None, typer.Option("--against", metavar="SNAPSHOT", help="Default: the newest accepted one.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Compare the current snapshot's vectors with another's; judges and changes nothing.

    Example: `backbeat validate drift --against 6f7f9f36906fca10`
    """
    from contracts.opening import open_home
    from feature_repo.offline import current_snapshot

    settings, place = open_home(home)
    snapshot = current_snapshot(place)
    asked = against or _newest_accepted(settings, place, snapshot)
    from validation.differences import differences, snapshot_to_compare
    from validation.texts import differences_text

    document = differences(place, snapshot, snapshot_to_compare(place, snapshot, asked))
    emit(document, as_json=as_json, text=differences_text(document))
    return document


@validate.command()
def override(
    report_id: Annotated[str, typer.Argument(metavar="REPORT", help="Id of the failed report.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, in at least ten characters; kept in the audit log.")],
    by: Annotated[str | None, typer.Option("--by", help="Who; default: the user of this process.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Accept a snapshot that failed, so that training and materialization take it.

    Example: `backbeat validate override 3f2a9c81d04e --reason "re-uploads repeat vectors this week"`
    """
    from contracts.actor import current_actor
    from contracts.database import Database
    from contracts.opening import open_home
    from contracts.reports import past_reports
    from validation.override import accept_report
    from validation.override_page import show_override
    from validation.past_runs import write_index

    settings, place = open_home(home)
    with place.writing(f"backbeat validate override {report_id}"):
        database = Database(settings, place)
        try:
            accepted = accept_report(database, report_id, reason, current_actor() if by is None else by)
            show_override(accepted)
            write_index(place, past_reports(database))
        finally:
            database.close()
    return _shown(place, accepted, as_json, "Audit log: `backbeat models audit --surface data`")


def _newest_accepted(settings: "Settings", home: "Home", snapshot: "Snapshot") -> str:
    from contracts.database import Database
    from validation.baselines import choose_reference

    database = Database(settings, home)
    try:
        reference = choose_reference(home, database, snapshot)
    finally:
        database.close()
    if reference is None:
        raise NotFound(
            f"snapshot {snapshot.id} ({snapshot.dataset})",
            found="no other accepted snapshot of its data set",
            expected="one to compare with",
            next_step="name a snapshot with --against, or ingest and judge more data",
        )
    return reference.snapshot.id


def _newest_report(settings: "Settings", home: "Home") -> "ValidationReport | None":
    from contracts.database import Database
    from contracts.reports import latest_report
    from feature_repo.offline import current_snapshot

    database = Database(settings, home)
    try:
        return latest_report(database, current_snapshot(home).id)
    finally:
        database.close()


def _shown(
    home: "Home", report: "ValidationReport", as_json: bool, *further: str, newest: bool = True
) -> dict[str, Any]:
    """Print a report and return it; what has become of its snapshot since is said of the newest one."""
    from contracts.current import current_snapshot_id
    from validation.texts import changed_sentence, report_text

    document = _document(home, report)
    lines = [report_text(report), *further]
    if newest and document["changed"]:
        current = current_snapshot_id(home) == report.snapshot
        lines.append(changed_sentence(report, document["changed"], current=current))
    emit(document, as_json=as_json, text="\n".join(lines))
    return document


def _document(home: "Home", report: "ValidationReport") -> dict[str, Any]:
    from contracts.reports import changed_since

    return report.model_dump(mode="json") | {"changed": changed_since(home, report)}


def _refused(home: "Home", report: "ValidationReport | None", error: ValidationFailed, as_json: bool) -> Exception:
    """What to raise: the error; with ``--json`` its exit code alone, for it is printed with the whole report."""
    if not as_json or report is None:
        return error
    emit(_document(home, report) | error.as_dict(), as_json=True)
    return typer.Exit(error.exit_code)


def _failure(report: "ValidationReport") -> ValidationFailed:
    from validation.texts import compared_with, remark_sentences, worst_sentences

    if report.success:
        return ValidationFailed(
            f"snapshot {report.snapshot}, report {report.id}",
            found=f"{compared_with(report)}; all of {len(report.suites)} suites hold",
            expected="a comparison with what was accepted last, or a person who accepts it without",
            next_step=report.ways_on,
        )
    return ValidationFailed(
        f"snapshot {report.snapshot}, report {report.id}",
        found=f"{len(report.failed)} of {len(report.suites)} suites failed; the worst findings: "
        + "; ".join([*worst_sentences(report), *remark_sentences(report)]),
        expected="every expectation to hold",
        next_step=report.ways_on,
    )
