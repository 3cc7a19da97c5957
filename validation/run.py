"""Judging the current snapshot, and remembering the verdict."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.console import progress
from contracts.database import Database
from contracts.home import Home
from contracts.reports import ValidationReport, latest_report, table_stamps
from contracts.settings import Settings
from feature_repo.offline import current_snapshot
from validation.baselines import Reference, choose_reference, declined_baseline
from validation.champion import expected_specs, specs_digest
from validation.impact import impact_of, impact_stands
from validation.rules import rules_digest
from validation.tables import JudgedTables

__all__ = ["validate_snapshot"]


def validate_snapshot(
    settings: Settings,
    home: Home,
    force: bool = False,
    *,
    baseline: str | None = None,
    impact: bool = False,
    probes: bool = True,
    quarantine: bool = False,
) -> ValidationReport:
    """Judge the current snapshot, unless the same rules have judged the same files against the same baseline already.

    The report is stored in the platform's tables; its data docs, pictures, profiles, what it sets aside and
    ``report.json`` are in the home's quality directory. The caller holds the home's writer lock.

    Args:
        settings: The process's settings.
        home: Whose snapshot.
        force: Judge again in any case.
        baseline: Id of the accepted snapshot to compare with, ``none`` for absolute rules only; the newest if None.
            Whoever compares with less than the newest gets a report that a person has to accept, even if it passes.
        impact: Also measure what the champion's lists would lose or gain.
        probes: Whether some items are encoded again.
        quarantine: Where the snapshot fails, judge it without what is broken and make that current if it passes.

    Returns:
        The report, accepted or not; with ``quarantine`` a passed one, which may be on a mended snapshot.

    Raises:
        NotFound: Nothing was ingested yet, or a table's file or something kept of the baseline is gone.
        BadInput: A file is damaged, or is not what was ingested.
        Conflict: A file changed while it was judged; nothing is stored.
        ValidationFailed: With ``quarantine``: what is broken cannot be set aside.
        StorageFull: The disk ran out of space.
    """
    snapshot = current_snapshot(home)
    database = Database(settings, home)
    try:
        reference = choose_reference(home, database, snapshot, baseline)
        declined = declined_baseline(home, database, snapshot, reference)
        asked = _Asked(settings, home, reference, declined, baseline is None, probes)
        report = latest_report(database, snapshot.id)
        stands = report is not None and not force and _stands(asked, report)
        measured: dict[str, Any] | None = None
        if impact and not (stands and report is not None and impact_stands(settings, home, report.impact)):
            measured = impact_of(settings, home, snapshot, None if reference is None else reference.snapshot)
        if report is None or not stands or (measured is not None and measured != report.impact):
            report = _judge(asked, database, measured)
        if report.accepted or not quarantine:
            return report
        from validation.mending import mend_snapshot

        return mend_snapshot(settings, home, database, report, probes)
    finally:
        database.close()


@dataclass(frozen=True)
class _Asked:
    """What a snapshot is to be held against."""

    settings: Settings
    home: Home
    reference: Reference | None
    declined: str | None
    by_default: bool
    """Whether nobody has named a baseline."""
    probes: bool


def _stands(asked: _Asked, report: ValidationReport) -> bool:
    """Whether judging again would say the same."""
    against = None if asked.reference is None else asked.reference.snapshot.id
    compared = (report.baseline, report.declined) == (against, asked.declined)
    # Who has accepted it without a comparison knew of that; to compare it all the same there is --force.
    settled = asked.by_default and report.override is not None and report.declined is not None
    return (
        report.rules == rules_digest()
        and (compared or (settled and report.declined == against))
        # Probes that found nothing are as good as none; those that did not take place are not.
        and (report.probed == asked.probes or (report.probed and report.success))
        and report.stamps == table_stamps(asked.home, report.snapshot, report.stamps)
        and Path(report.data_docs).is_file()
        and report.expected == specs_digest(expected_specs(asked.settings, asked.home, report.dataset))
    )


def _judge(asked: _Asked, database: Database, impact: dict[str, Any] | None) -> ValidationReport:
    from validation.examination import examine, keep, tidy

    settings, home = asked.settings, asked.home
    snapshot = current_snapshot(home)
    earlier = latest_report(database, snapshot.id)
    tables = JudgedTables(home, snapshot)
    with progress(f"judging snapshot {snapshot.id}", len(snapshot.tables) + 1) as advance:
        tables.on_read = lambda name: advance(note=name)
        replaced = () if earlier is None else earlier.replaced
        examination = examine(settings, home, database, snapshot, tables, asked.reference, asked.probes, replaced)
        tables.close()
        report = keep(
            home,
            database,
            examination,
            tables.stamps,
            declined=asked.declined,
            parent=None if earlier is None else earlier.parent,
            remarks=_before(earlier, examination.success and asked.declined is None),
            impact=impact,
        )
        advance(note="report written")
    tidy(home, database, snapshot.dataset)
    return report


def _before(earlier: ValidationReport | None, accepted: bool) -> list[str]:
    """What the snapshot's last report knew of its past, and what became of that."""
    if earlier is None:
        return []
    if earlier.override is None:
        return earlier.remarks
    told = earlier.override
    now = "this judgement stands in its place" if accepted else "this judgement has closed the gate again"
    return [
        *earlier.remarks,
        f"report {earlier.id} on this snapshot had been accepted by {told.actor} at {told.at:%Y-%m-%d %H:%M} UTC "
        f"({told.reason}); {now}",
    ]
