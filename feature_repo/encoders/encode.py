"""The job that encodes what a snapshot has not encoded yet, and writes the snapshot that has it."""

import json
import time
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from contracts.clock import utc_now
from contracts.console import Advance, note, progress
from contracts.current import current_snapshot_id
from contracts.database import Database
from contracts.errors import BadInput, NotFound
from contracts.files import write_text_whole
from contracts.home import Home
from contracts.job_run import JobRun, new_job
from contracts.jobs import JobState, find_job
from contracts.settings import Settings
from contracts.tables import EMBEDDING_PREFIX, ENTITY_TABLES
from feature_repo.encoders.encode_part import encode_part
from feature_repo.encoders.encoded import Encoded
from feature_repo.encoders.encoded_tables import embedding_table, filled_table, with_rows_of_others
from feature_repo.encoders.encoding import Encoder, EncoderOptions, FillsColumns, MediaItem
from feature_repo.encoders.items import Items, content_of, stamp_of
from feature_repo.encoders.on_ray import Batch, encoded_on_ray
from feature_repo.encoders.parts import EncodedParts
from feature_repo.encoders.revisions import name_for, rewrite
from feature_repo.encoders.work import PART_ITEMS, EncodeWork
from feature_repo.offline import current_snapshot

__all__ = ["encode_snapshot", "resume_encoding", "run_encoding"]

_PART_SECONDS = 15.0  # so much work at most is done again after a kill


def encode_snapshot(
    home: Home,
    database: Database,
    name: str,
    options: EncoderOptions,
    *,
    entity: str | None = None,
    beside: bool = False,
    part_items: int = PART_ITEMS,
    cluster: Settings | None = None,
) -> Encoded:
    """Encode what the current snapshot has not encoded with this spec, and write the snapshot that has it.

    Args:
        home: Whose current snapshot.
        database: For the job's row.
        name: Name of the encoder.
        options: Its options.
        entity: What to encode; the encoder's first where None.
        beside: Keep embeddings of another spec, and put these beside them.
        part_items: Items after which what is done becomes durable.
        cluster: Encode as tasks on the Ray cluster that these settings name, with the resources they ask for; in
            this process if None. The rows are equal where the threads are.

    Raises:
        NotFound: There is no such encoder, table, media directory or weights file.
        BadInput: The snapshot has embeddings of another spec, or a path leads out of the media directory.
        Conflict: Another job encodes the same, or another command writes the home.
    """
    work = EncodeWork.prepare(home, name, options, entity, beside, part_items, cluster)
    snapshot = current_snapshot(home)
    name_for(snapshot, work.spec, beside=beside or bool(work.encoder.fills))
    run = new_job(database, "encode", snapshot.id, [work.spec.view], work.parameters())
    return _run(home, run, work)


def resume_encoding(settings: Settings, home: Home, database: Database, job_id: str) -> Encoded:
    """Go on with an encoding that was paused, interrupted or has failed; on the snapshot that is current now.

    Raises:
        NotFound: There is no such job, or what it needs is gone.
        Conflict: It is at work, has ended, or another job encodes the same.
    """
    job = find_job(database, job_id)
    return _run(home, JobRun(database, job.id), EncodeWork.of_job(settings, home, job.parameters))


def run_encoding(settings: Settings, home: Home, database: Database, run: JobRun) -> None:
    """Do a queued encoding inside its job, which has been entered; for the worker."""
    work = EncodeWork.of_job(settings, home, run.parameters)
    done = Encoded(work.encoder.name, work.spec, current_snapshot(home), work.spec.name, run.id, JobState.RUNNING)
    _encode(home, run, work, done)
    if done.error is not None:
        note(f"error: {done.error}")


def _run(home: Home, run: JobRun, work: EncodeWork) -> Encoded:
    done = Encoded(work.encoder.name, work.spec, current_snapshot(home), work.spec.name, run.id, JobState.RUNNING)
    with run:
        _encode(home, run, work, done)
    done.state = run.state
    return done


def _encode(home: Home, run: JobRun, work: EncodeWork, done: Encoded) -> None:
    """The home's writer lock is taken only to write; where the data changed meanwhile, what is new is encoded too."""
    encoder, kind, spec = work.encoder, work.entity, work.spec
    while True:
        snapshot = current_snapshot(home)
        key = ", ".join(encoder.fills) or name_for(snapshot, spec, beside=work.beside)
        items = Items(home, snapshot, kind, encoder)
        rows = _rows_to_fill(items, encoder)
        parts = EncodedParts(home, spec)
        done.begin(snapshot, key, len(rows))
        keys = _encode_missing(run, work, items, rows, parts, done)
        _record_faults(home, done)
        with home.writing(f"backbeat features encode {encoder.name}"):
            if current_snapshot_id(home) != snapshot.id:
                continue
            if not any(keys):
                if encoder.fills and not rows:
                    return  # nothing is lacking
                raise _nothing_encoded(done)
            if encoder.fills:
                table = filled_table(items, rows, keys, parts, cast(FillsColumns, work.encoding))
                tables, specs = {ENTITY_TABLES[kind]: table}, snapshot.embeddings
            else:
                vectors = embedding_table(items, rows, keys, parts, spec)
                tables = {EMBEDDING_PREFIX + key: with_rows_of_others(home, snapshot, key, kind, vectors)}
                specs = snapshot.embeddings | {key: spec}
            done.snapshot, done.created = rewrite(home, snapshot, tables, specs)
            return


def _encode_missing(
    run: JobRun, work: EncodeWork, items: Items, rows: Sequence[int], parts: EncodedParts, done: Encoded
) -> list[tuple[str, str] | None]:
    """Encode the rows that are not in the parts; gives the key in them of each row, None for those without vector."""
    keys: list[tuple[str, str] | None] = [None] * len(rows)
    missing: list[int] = []
    for place, row in enumerate(rows):
        item = items.item(row)
        if item is None:
            done.absent += 1
            continue
        content = parts.stamps.get((item.id, stamp_of(item)))
        if content is None and item.id in parts.ids:
            content = content_of(item)  # the file was touched: has it changed?
        if content and (item.id, content) in parts.contents:
            keys[place] = item.id, content
            done.skipped += 1
        else:
            missing.append(place)
    began = saved = time.monotonic()
    tables: list[pa.Table] = []
    with progress(f"encoding {items.entity} with {work.encoder.name}", len(missing)) as advance:
        batches = _batches(work, items, rows, missing, done, advance)
        for batch, table in _encoded(work, batches) if missing else ():
            _note_outcomes(table, batch, items, keys, done)
            tables.append(table)
            done.seconds = time.monotonic() - began
            advance(len(batch), f"{done.encoded / max(done.seconds, 1e-9):.1f} items/s")
            many = sum(table.num_rows for table in tables) >= work.part_items
            if many or time.monotonic() - saved > _PART_SECONDS:
                _make_durable(run, parts, tables, done, len(missing))
                saved = time.monotonic()
        if tables:
            _make_durable(run, parts, tables, done, len(missing))
    run.detail.update(encoded=done.encoded, skipped=done.skipped, absent=done.absent, faults=len(done.faults))
    return keys


def _batches(
    work: EncodeWork, items: Items, rows: Sequence[int], missing: Sequence[int], done: Encoded, advance: Advance
) -> Iterator[Batch]:
    """Items to encode, so many at once as the options say; links that lead out become faults."""
    batch: Batch = []
    for place in missing:
        item = cast(MediaItem, items.item(rows[place]))
        out = items.link_out(item)
        if out is None:
            batch.append((place, item))
        else:
            done.faults.append({"id": item.id, "path": items.relative(out.path), "reason": out.reason})
            advance(1)
        if len(batch) == work.options.batch:
            yield batch
            batch = []
    if batch:
        yield batch


def _encoded(work: EncodeWork, batches: Iterator[Batch]) -> Iterator[tuple[Batch, pa.Table]]:
    """The batches in their order, and the table of each, from here or from a cluster."""
    if work.cluster is not None:
        yield from encoded_on_ray(work.cluster, work.encoder, work.entity, work.spec.digest, work.options, batches)
        return
    for batch in batches:
        yield batch, encode_part(work.encoder, work.encoding, [item for _, item in batch], work.options.batch)


def _make_durable(run: JobRun, parts: EncodedParts, tables: list[pa.Table], done: Encoded, total: int) -> None:
    """Store what is encoded, and say so; empties the list."""
    parts.add(pa.concat_tables(tables))
    tables.clear()
    run.save({}, done=done.encoded + len(done.faults), total=total, rows=done.encoded)


def _note_outcomes(
    part: pa.Table,
    encoded: Sequence[tuple[int, MediaItem]],
    items: Items,
    keys: list[tuple[str, str] | None],
    done: Encoded,
) -> None:
    columns = (part[name].to_pylist() for name in ("content", "path", "reason", "absent"))
    for (place, item), content, path, reason, absent in zip(encoded, *columns, strict=True):
        if reason is None:
            keys[place] = item.id, content
            done.encoded += 1
        elif absent:
            done.absent += 1
        else:
            done.faults.append({"id": item.id, "path": items.relative(path), "reason": reason})


def _rows_to_fill(items: Items, encoder: Encoder) -> Sequence[int]:
    """All rows, or those that lack one of the columns to fill."""
    if not encoder.fills:
        return range(len(items))
    lacking = [pc.is_null(items.table[name]).to_numpy(zero_copy_only=False) for name in encoder.fills]
    rows: list[int] = np.flatnonzero(np.any(lacking, axis=0)).tolist()
    return rows


def _record_faults(home: Home, done: Encoded) -> None:
    path = home.logs / f"encode-{done.spec.view}.faults.json"
    if not done.faults:
        path.unlink(missing_ok=True)
        return
    document = {
        "at": utc_now().isoformat(),
        "encoder": done.encoder,
        "snapshot": done.snapshot.id,
        "job": done.job,
        "media": done.snapshot.media,
        "faults": done.faults,
    }
    write_text_whole(path, json.dumps(document, indent=1, ensure_ascii=False))
    done.faults_file = path


def _nothing_encoded(done: Encoded) -> BadInput:
    if done.error is not None:
        return NotFound(
            done.error.subject, found=done.error.found, expected="at least one", next_step=done.error.next_step
        )
    return NotFound(
        f"encoding of {done.spec.entity} with {done.encoder}",
        found=f"nothing to encode in {done.items:,} rows",
        expected="rows with media or text that this encoder reads",
        next_step="choose another encoder or --entity",
    )
