"""Going on without what is broken: a failed snapshot's rows left out, its broken embeddings as they last were."""

import shutil
from collections.abc import Set

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from contracts.current import make_current
from contracts.database import Database
from contracts.errors import Conflict, NotFound, ValidationFailed
from contracts.home import Home
from contracts.reports import Quarantine, ValidationReport, table_stamps
from contracts.settings import Settings
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX, ENTITY_KEYS, ENTITY_TABLES
from feature_repo.encoders.revisions import rewritten
from feature_repo.offline import read_snapshot, read_table, snapshot_directory, snapshot_of, store_snapshot
from feature_repo.raw_tables import RawTables
from validation.baselines import NO_BASELINE, Reference, choose_reference, declined_baseline
from validation.examination import Examination, examine, keep, tidy
from validation.quarantine import ROW, replacement_name
from validation.tables import JudgedTables

__all__ = ["mend_snapshot"]


def mend_snapshot(
    settings: Settings, home: Home, database: Database, report: ValidationReport, probes: bool = True
) -> ValidationReport:
    """Judge a snapshot without what its report has set aside, and make it current if it passes.

    The caller holds the home's writer lock. Where it does not pass nothing changes: the failed snapshot stays
    current, and what was materialized last is still served.

    Args:
        settings: Name the device and the model registry.
        home: Where the snapshot is.
        database: The platform's tables.
        report: A failed report on the current snapshot.
        probes: Whether some items are encoded again.

    Returns:
        The passed report on the mended snapshot; its ``parent`` is the failed one.

    Raises:
        ValidationFailed: A table can be mended neither by row nor from the last accepted snapshot, or what is left
            does not pass either, or the comparison with the last accepted snapshot was declined.
        NotFound: What was set aside, or the accepted snapshot's rows, are gone.
        Conflict: The snapshot's files have changed since the report.
    """
    snapshot = read_snapshot(home, report.snapshot)
    if table_stamps(home, snapshot.id, report.stamps) != report.stamps:
        raise Conflict(
            f"snapshot {snapshot.id}",
            found=f"files that have changed since report {report.id}",
            expected="the files that were judged",
            next_step="run `backbeat validate run` again",
        )
    _require_mendable(report)
    reference = choose_reference(home, database, snapshot, report.baseline or NO_BASELINE)
    replaced = {part.table for part in report.quarantine if part.whole}
    while True:
        raw, remarks = _mended(home, snapshot, report, reference, replaced)
        mended = snapshot_of(raw)
        if reference is not None and reference.snapshot.id == mended.id:
            # All that was new was set aside, or it was mended to this before and then something ended the process.
            # Nothing is held against itself.
            remarks.append(f"what is left is accepted snapshot {mended.id} again, and is judged as that was")
            reference = choose_reference(home, database, mended)
        examination = examine(settings, home, database, mended, raw.tables, reference, probes, replaced)
        if examination.success:
            break
        failed = {
            judgement.verdict.table for judgement in examination.judged.judgements if not judgement.verdict.success
        }
        not_enough = {part.table for part in report.quarantine if part.otherwise == "replace"} & failed - replaced
        if not not_enough:
            raise _still_broken(report, examination)
        replaced |= not_enough
    _, created = store_snapshot(home, raw)
    try:
        stamps = table_stamps(home, mended.id, mended.tables)
        declined = declined_baseline(home, database, mended, reference)
        kept = keep(home, database, examination, stamps, declined=declined, parent=report.id, remarks=remarks)
    except BaseException:
        if created:
            shutil.rmtree(snapshot_directory(home, mended.id), ignore_errors=True)
        raise
    make_current(home, mended.id)
    tidy(home, database, mended.dataset)
    return kept


def _mended(
    home: Home, snapshot: Snapshot, report: ValidationReport, reference: Reference | None, replaced: Set[str]
) -> tuple[RawTables, list[str]]:
    """The tables, some replaced whole and the other broken ones without their offending rows, and what was done."""
    tables: dict[str, pa.Table] = {}
    remarks = list(report.remarks)
    # Entities before the vectors that they own.
    for part in sorted(report.quarantine, key=lambda part: (part.table in replaced, part.table)):
        if part.table in replaced:
            vectors, without = _last_accepted(home, snapshot, part.table, reference, tables)
            tables[part.table] = vectors
            remarks.append(f"{part.table}: the accepted vectors stand in: {without:,} items have none for now")
        else:
            tables[part.table] = _without_offenders(home, snapshot, report, part)
            remarks.append(f"{part.table}: {part.rows:,} rows were left out")
    return rewritten(home, snapshot, tables, snapshot.embeddings), remarks


def _require_mendable(report: ValidationReport) -> None:
    if report.declined is not None:
        raise ValidationFailed(
            f"snapshot {report.snapshot}, report {report.id}",
            found=f"a declined comparison with accepted snapshot {report.declined}",
            expected="a comparison: what is left of a snapshot has to pass by itself; nothing was changed",
            next_step=f"run `backbeat validate run --quarantine` without --baseline; or {report.ways_on}",
        )
    hopeless = [part for part in report.quarantine if part.remedy == "none"]
    if report.quarantine and not hopeless:
        return
    named = "; ".join(f"{part.table} ({part.reason})" for part in hopeless) or ", ".join(report.failed)
    raise ValidationFailed(
        f"snapshot {report.snapshot}, report {report.id}",
        found=f"nothing can stand in for {named}",
        expected="rows that can be left out, or a broken embedding table of which the last accepted snapshot has rows "
        "of the same spec; nothing was changed, and what was materialized last is still served",
        next_step=report.ways_on,
    )


def _without_offenders(home: Home, snapshot: Snapshot, report: ValidationReport, part: Quarantine) -> pa.Table:
    path = home.quality / report.id / str(part.file)
    if not path.is_file():
        raise NotFound(
            f"quarantine of report {report.id}",
            found=f"no {path}",
            expected=f"the {part.rows:,} rows of {part.table} that were set aside",
            next_step="run `backbeat validate run --force --quarantine`",
        )
    table = read_table(home, snapshot, part.table)
    sound = np.ones(len(table), bool)
    sound[pq.read_table(path, columns=[ROW])[ROW].to_numpy()] = False
    return table.filter(pa.array(sound))


def _last_accepted(
    home: Home, snapshot: Snapshot, name: str, reference: Reference | None, mended: dict[str, pa.Table]
) -> tuple[pa.Table, int]:
    """The reference's vectors of the same spec, of entities that are still known, and how many have none there."""
    former = replacement_name(snapshot, name, reference)
    if reference is None or former is None:
        raise AssertionError(f"{name} is not to be replaced")  # its remedy says otherwise
    entity = snapshot.embeddings[name.removeprefix(EMBEDDING_PREFIX)].entity
    key, owners = ENTITY_KEYS[entity], ENTITY_TABLES[entity]
    vectors = JudgedTables(home, reference.snapshot)[former]
    known = mended[owners] if owners in mended else read_table(home, snapshot, owners, [key])
    ids = pc.unique(known[key])
    kept = vectors.filter(pc.is_in(vectors[key], value_set=ids))
    return kept, len(ids) - pc.sum(pc.is_in(ids, value_set=pc.unique(kept[key]))).as_py()


def _still_broken(report: ValidationReport, examination: Examination) -> ValidationFailed:
    verdicts = [judgement.verdict for judgement in examination.judged.judgements if not judgement.verdict.success]
    told = "; ".join(
        f"{verdict.table}: {finding.rule}: {finding.observed}"
        for verdict in verdicts
        for finding in verdict.findings[:1]
    )
    return ValidationFailed(
        f"snapshot {report.snapshot} without what report {report.id} has set aside",
        found=f"{len(verdicts)} failed suites: {told}",
        expected="every expectation to hold; nothing was changed, and what was materialized last is still served",
        next_step=f"read {report.data_docs} and mend the data, or accept the snapshot as it is with "
        f'`backbeat validate override {report.id} --reason "…"`',
    )
