"""Keeping the copy in step with MLflow: what differs is written, in transactions that nobody can overtake."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import delete, insert, select, tuple_, update
from sqlalchemy.orm import Session

from contracts.catalogue_rows import (
    CatalogueBodyRow,
    CatalogueMetricRow,
    CatalogueSyncRow,
    CatalogueTextRow,
    CatalogueVersionRow,
)
from contracts.database import Database
from contracts.surfaces import ALIASES, PRIMARY_METRICS, Tag
from registry.catalogue.source import FoundRun, FoundVersion, Key, Source
from registry.lifecycle import DISPLACED_TO

__all__ = ["Overtaken", "compare", "look", "revision_of"]


_CHUNK = 500
_UNNAMED = "unknown"
"""What MLflow's client writes where it does not know who it is."""
_MARGIN_MS = 60_000
"""Clocks of the machines that write to MLflow may differ by this much; a comparison of everything finds the rest."""


class Overtaken(Exception):
    """Another process has written meanwhile: what was read may be old."""


@dataclass
class _Change:
    """What is to be written."""

    versions: list[FoundVersion] = field(default_factory=list)
    gone: set[Key] = field(default_factory=set)
    watermark: int | None = None


def revision_of(database: Database) -> tuple[int, int]:
    """Revision and watermark of the copy; zeros where there is none yet."""
    with database.session() as session:
        row = session.get(CatalogueSyncRow, 1)
        return (0, 0) if row is None else (row.revision, row.watermark)


def look(source: Source, database: Database) -> bool:
    """Take over new and updated versions, aliases and states.

    Returns:
        Whether anything was written.

    Raises:
        ServiceUnavailable: MLflow does not answer.
        Overtaken: Another process was faster.
    """
    revision, watermark = revision_of(database)
    if watermark == 0:
        return compare(source, database)
    aliases, states = source.aliases(), source.states()
    recent, gone = source.versions(since=max(1, watermark - _MARGIN_MS))
    held = _held(database)
    change = _Change([v for v in recent if _differs(v, aliases, held)], {key for key in gone if key in held})
    change.watermark = max([watermark, *(v.updated for v in recent)])
    moved = _moved(held, aliases, states, {(v.surface, v.number) for v in change.versions} | gone)
    return _write(source, database, revision, change, aliases, moved)


def compare(source: Source, database: Database) -> bool:
    """Take over whatever differs anywhere, changed tags and metrics included.

    Returns:
        Whether anything was written.

    Raises:
        ServiceUnavailable: MLflow does not answer.
        Overtaken: Another process was faster.
    """
    revision, watermark = revision_of(database)
    aliases, stamps = source.aliases(), source.stamps()
    found, _ = source.versions()
    held = _held(database)
    there = {(v.surface, v.number) for v in found}
    changed = [v for v in found if _differs(v, aliases, held) or _measured_since(v, stamps, held)]
    change = _Change(changed, held.keys() - there, max([watermark, 1, *(v.updated for v in found)]))
    return _write(source, database, revision, change, aliases, {}, stamps)


@dataclass(frozen=True)
class _Held:
    digest: str
    state: str
    stamp: str
    aliases: tuple[str, ...]
    tagged: str


def _held(database: Database) -> dict[Key, _Held]:
    row = CatalogueVersionRow
    chosen = select(row.surface, row.number, row.digest, row.state, row.stamp, row.aliases, row.tagged)
    with database.session() as session:
        return {(r[0], r[1]): _Held(r[2], r[3], r[4], tuple(r[5]), r[6]) for r in session.execute(chosen)}


def _differs(version: FoundVersion, aliases: dict[Key, list[str]], held: dict[Key, _Held]) -> bool:
    key = version.surface, version.number
    return key not in held or held[key].digest != _digest(version, aliases.get(key, []))


def _measured_since(version: FoundVersion, stamps: dict[str, str] | None, held: dict[Key, _Held]) -> bool:
    known = held.get((version.surface, version.number))
    return known is None or (stamps is not None and stamps.get(version.run_id, "") != known.stamp)


def _moved(
    held: dict[Key, _Held], aliases: dict[Key, list[str]], states: dict[Key, str] | None, known: set[Key]
) -> dict[Key, tuple[list[str], str]]:
    """Versions of which only aliases or the state tag are other than in the copy → both, as they are."""
    moved = {}
    for key, copy in held.items():
        now = aliases.get(key, [])
        tagged = copy.tagged if states is None else states.get(key, "")
        if key not in known and (tuple(now) != copy.aliases or tagged != copy.tagged):
            moved[key] = (now, tagged)
    return moved


def _write(
    source: Source,
    database: Database,
    revision: int,
    change: _Change,
    aliases: dict[Key, list[str]],
    moved: dict[Key, tuple[list[str], str]],
    stamps: dict[str, str] | None = None,
) -> bool:
    chunks = [change.versions[start : start + _CHUNK] for start in range(0, len(change.versions), _CHUNK)]
    if not (chunks or change.gone or moved):
        # A watermark alone is worth a write only where the first look found nothing.
        if revision == 0:
            with database.session() as session:
                _claim(session, 0, change.watermark)
        return False
    for number, chunk in enumerate(chunks or [[]]):
        runs = source.runs({v.run_id for v in chunk if v.run_id})
        last = number == len(chunks) - 1 or not chunks
        with database.session() as session:
            revision = _claim(session, revision, change.watermark if last else None)
            if number == 0:
                _remove(session, change.gone)
                _restate(session, moved)
            _put(session, chunk, runs, aliases, stamps)
    return True


def _claim(session: Session, revision: int, watermark: int | None) -> int:
    """Take the write lock and the next revision, if nobody has taken it since ``revision`` was read."""
    values: dict[str, Any] = {"revision": revision + 1}
    if watermark is not None:
        values["watermark"] = watermark
    if revision == 0 and session.get(CatalogueSyncRow, 1) is None:
        from sqlalchemy.exc import IntegrityError

        try:
            session.add(CatalogueSyncRow(id=1, **{"watermark": 0, **values}))
            session.flush()
        except IntegrityError:
            raise Overtaken from None
        return 1
    row = CatalogueSyncRow
    done = session.execute(update(row).where(row.id == 1, row.revision == revision).values(**values))
    if done.rowcount != 1:  # type: ignore[attr-defined]
        raise Overtaken
    return revision + 1


def _remove(session: Session, keys: Iterable[Key]) -> None:
    for chunk in _parts(sorted(keys)):
        for table in (CatalogueVersionRow, CatalogueBodyRow, CatalogueTextRow, CatalogueMetricRow):
            session.execute(delete(table).where(tuple_(table.surface, table.number).in_(chunk)))


def _restate(session: Session, moved: dict[Key, tuple[list[str], str]]) -> None:
    """Aliases and states change often and alone; the digest is left to the next comparison, which reads the tags."""
    row = CatalogueVersionRow
    for (surface, number), (aliases, tagged) in moved.items():
        session.execute(
            update(row)
            .where(row.surface == surface, row.number == number)
            .values(aliases=aliases, tagged=tagged, state=_state(aliases, tagged))
        )


def _put(
    session: Session,
    versions: Sequence[FoundVersion],
    runs: dict[str, FoundRun],
    aliases: dict[Key, list[str]],
    stamps: dict[str, str] | None,
) -> None:
    if not versions:
        return
    _remove(session, [(v.surface, v.number) for v in versions])
    rows: dict[Any, list[dict[str, Any]]] = {
        CatalogueVersionRow: [],
        CatalogueBodyRow: [],
        CatalogueTextRow: [],
        CatalogueMetricRow: [],
    }
    for version in versions:
        run = runs.get(version.run_id, FoundRun())
        key = {"surface": version.surface, "number": version.number}
        holds = aliases.get((version.surface, version.number), [])
        row = {**key, **_columns(version, run, holds)}
        row["stamp"] = "" if stamps is None else stamps.get(version.run_id, "")
        rows[CatalogueVersionRow].append(row)
        rows[CatalogueBodyRow].append(
            {**key, "tags": version.tags, "parameters": run.parameters, "metrics": run.metrics}
        )
        rows[CatalogueTextRow].append({**key, "text": _text(row, version, run)})
        rows[CatalogueMetricRow] += [
            {**key, "name": name, "value": value} for name, value in run.metrics.items() if value is not None
        ]
    for table, values in rows.items():
        if values:
            session.execute(insert(table.__table__), values)


def _columns(version: FoundVersion, run: FoundRun, aliases: list[str]) -> dict[str, Any]:
    tags, metric = version.tags, PRIMARY_METRICS[version.surface]
    tagged = tags.get(Tag.STATE, "")
    return {
        "model": tags.get(Tag.MODEL, "unknown")[:256],
        "variant": tags.get(Tag.VARIANT, "")[:256],
        "state": _state(aliases, tagged),
        "tagged": tagged[:256],
        "author": (tags.get(Tag.AUTHOR) or _named(version.user) or _named(run.user))[:256],
        "created_at": datetime.fromtimestamp(version.created / 1000, UTC),
        "protocol": tags.get(Tag.PROTOCOL, "")[:256],
        "snapshot": tags.get(Tag.SNAPSHOT, "")[:256],
        "primary_metric": run.metrics.get(metric),
        "primary_low": run.metrics.get(f"{metric}_low"),
        "primary_high": run.metrics.get(f"{metric}_high"),
        "aliases": aliases,
        "run_id": version.run_id[:64],
        "source": version.source,
        "updated": version.updated,
        "digest": _digest(version, aliases),
    }


def _named(user: str) -> str:
    return "" if user == _UNNAMED else user


def _state(aliases: Sequence[str], tagged: str) -> str:
    # Aliases decide what is served, so they win over a tag that was left behind.
    held = next((alias for alias in ALIASES if alias in aliases), None)
    return held or DISPLACED_TO.get(tagged, tagged or "registered")[:64]


def _digest(version: FoundVersion, aliases: Sequence[str]) -> str:
    facts = [version.updated, version.user, version.source, version.run_id, sorted(version.tags.items()), *aliases]
    return hashlib.md5(json.dumps(facts).encode(), usedforsecurity=False).hexdigest()


def _text(row: dict[str, Any], version: FoundVersion, run: FoundRun) -> str:
    parts = [
        version.surface,
        str(row["model"]),
        str(row["variant"]),
        str(row["author"]),
        version.run_id,
        *row["aliases"],
    ]
    parts += [f"{key.removeprefix('backbeat.')}={value}" for key, value in sorted(version.tags.items())]
    parts += [f"{key}={value}" for key, value in sorted(run.parameters.items())]
    return "\n".join(parts).lower()


def _parts(keys: Sequence[Key]) -> Iterable[Sequence[Key]]:
    for start in range(0, len(keys), _CHUNK):
        yield keys[start : start + _CHUNK]
