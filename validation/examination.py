"""Holding every suite against a snapshot, and keeping what came out of it."""

import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlalchemy.exc import SQLAlchemyError

from contracts.clock import utc_now
from contracts.console import note
from contracts.database import Database
from contracts.errors import BackbeatError, BadInput
from contracts.files import directory_written_whole
from contracts.home import Home
from contracts.reports import ValidationReport, past_reports, store_report
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from feature_repo.offline import snapshot_directory
from validation.baselines import MANIFEST, PROFILES, Reference, load_baseline, prune_profiles
from validation.quarantine import SetAside, set_aside
from validation.rules import rules_digest

if TYPE_CHECKING:
    from feature_repo.views.clusters import Centres
    from validation.judge import Judged
    from validation.material import Baseline
    from validation.probes import Probed

__all__ = ["Examination", "examine", "keep", "tidy"]


@dataclass(frozen=True)
class Examination:
    """What the suites say of a snapshot; nothing is written yet."""

    snapshot: Snapshot
    at: datetime
    baseline: "Baseline | None"
    learned_from: int
    notes: tuple[str, ...]
    """What could not be learned from, and why."""
    expected: str
    """Digest of the specs that the versions in use expect."""
    probes: bool
    """False where encoding some items again was left out on request."""
    probed: "Probed"
    judged: "Judged"
    aside: list[SetAside]
    replaced: frozenset[str]
    """Tables of vectors that accepted ones stand in for."""

    @property
    def success(self) -> bool:
        """Whether every suite holds."""
        return self.judged.success


def examine(
    settings: Settings,
    home: Home,
    database: Database,
    snapshot: Snapshot,
    tables: Mapping[str, pa.Table],
    reference: Reference | None,
    probes: bool = True,
    replaced: Iterable[str] = (),
) -> Examination:
    """Hold every suite against a snapshot.

    Args:
        settings: Name the device and the model registry.
        home: Where the reports' directories are.
        database: The platform's tables.
        snapshot: What is judged; it need not be written.
        tables: Its tables.
        reference: What it is compared with.
        probes: Whether some items are encoded again.
        replaced: Tables of vectors that accepted ones stand in for.

    Raises:
        BackbeatError: A table or something kept of the reference is damaged or gone, or a server does not answer.
    """
    # Great Expectations takes seconds to import: only when there is something to judge.
    from validation.champion import expected_specs, specs_digest
    from validation.golden import load_golden
    from validation.judge import judge
    from validation.material import Material
    from validation.probes import not_probed, probe_tables

    baseline = None if reference is None else load_baseline(home, database, reference)
    golden = {} if reference is None else load_golden(home.quality / reference.report.id)
    if probes:
        probed = probe_tables(settings, home, database, snapshot, tables, golden)
    else:
        probed = not_probed(snapshot, golden, "left out with --no-probes")
    expected = expected_specs(settings, home, snapshot.dataset)
    material = Material(
        snapshot,
        tables,
        now := utc_now(),
        baseline=baseline,
        probes=probed.probes,
        expected=expected,
        centres=_centres(home, snapshot),
        replaced=frozenset(replaced),
    )
    judged = judge(material)
    return Examination(
        snapshot,
        now,
        baseline,
        0 if reference is None else len(reference.before),
        () if reference is None else reference.notes,
        specs_digest(expected),
        probes,
        probed,
        judged,
        set_aside(snapshot, tables, judged, reference),
        material.replaced,
    )


def _centres(home: Home, snapshot: Snapshot) -> "Centres | None":
    """Those of the content clusters, where they have been fitted."""
    from feature_repo.views.clusters import Centres, centres_directory

    directory = centres_directory(home.centres, snapshot)
    if not directory.is_dir():
        return None
    try:
        return Centres.load(directory)
    except (OSError, ValueError, EOFError) as error:
        raise BadInput(
            f"centres of the content clusters of data set {snapshot.dataset}",
            found=f"a damaged {directory} ({error})",
            expected="three arrays of numbers",
            next_step="remove it; `backbeat features apply` fits them anew",
        ) from None


def keep(
    home: Home,
    database: Database,
    examination: Examination,
    stamps: Mapping[str, str],
    *,
    declined: str | None = None,
    parent: str | None = None,
    remarks: Iterable[str] = (),
    impact: dict[str, Any] | None = None,
) -> ValidationReport:
    """Write the report's directory whole, then the report; the caller holds the home's writer lock.

    Nothing comes after the report that could fail: see :func:`tidy`.

    Args:
        home: Where to.
        database: The platform's tables.
        examination: What came out.
        stamps: Table → stamp of its file as it was judged.
        declined: The accepted snapshot it was not compared with, at somebody's wish.
        parent: Report on the snapshot that this one was mended from.
        remarks: What had been done to the snapshot, or decided about it.
        impact: What the champion would lose with the snapshot.

    Raises:
        StorageFull: The disk ran out of space.
    """
    from validation.golden import save_golden
    from validation.material import history_key
    from validation.pages import INDEX, write_pages
    from validation.pictures import draw_pictures

    snapshot, judged, baseline = examination.snapshot, examination.judged, examination.baseline
    report_id = uuid.uuid4().hex[:12]
    directory = home.quality / report_id
    with directory_written_whole(directory) as scratch:
        for digest, profile in judged.profiles.items():
            (into := scratch / PROFILES / digest).mkdir(parents=True)
            profile.save(into)
        save_golden(examination.probed.golden, scratch)
        report = ValidationReport(
            id=report_id,
            snapshot=snapshot.id,
            created_at=examination.at,
            success=examination.success,
            suites=[judgement.verdict for judgement in judged.judgements],
            rules=rules_digest(),
            data_docs=str(directory / INDEX),
            dataset=snapshot.dataset,
            baseline=None if baseline is None else baseline.snapshot.id,
            declined=declined,
            probed=examination.probes,
            expected=examination.expected,
            notes=list(examination.notes),
            learned_from=examination.learned_from,
            statistics=judged.statistics,
            pictures=draw_pictures(scratch, snapshot, judged, baseline),
            stamps=dict(stamps),
            quarantine=[aside.save(scratch) for aside in examination.aside],
            parent=parent,
            replaced=sorted(examination.replaced),
            remarks=list(remarks),
            impact=impact,
        )
        # As it is, not as this version would write it: its id is the hash of what it says.
        shutil.copyfile(snapshot_directory(home, snapshot.id) / MANIFEST, scratch / MANIFEST)
        past = {} if baseline is None else baseline.history
        history = {table: past.get(history_key(snapshot, table) or "", ()) for table in judged.statistics}
        probed = {name: probe.text for name, probe in examination.probed.probes.items()}
        write_pages(scratch, snapshot, report, judged, history=history, probed=probed)
        (scratch / "report.json").write_text(report.model_dump_json(indent=2), encoding="utf-8")
    try:
        store_report(database, report)
    except SQLAlchemyError:
        shutil.rmtree(directory)
        raise
    return report


def tidy(home: Home, database: Database, dataset: str) -> None:
    """Throw away profiles that nothing will be compared with, and write the page of past runs.

    The report stands already: what fails here is said, and done again after the next one.
    """
    from validation.past_runs import write_index

    try:
        prune_profiles(home, database, dataset)
        write_index(home, past_reports(database))
    except (OSError, SQLAlchemyError, BackbeatError) as error:
        note(f"The report is stored, but the page of past runs is not up to date: {error}")
