"""The audit log: who did what, when and why; filtered, exported, and who held what at a moment."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode

from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, computed_field
from sqlalchemy.orm import Query as Rows
from sqlalchemy.orm import Session
from starlette.responses import Response, StreamingResponse

from contracts.clock import parse_instant
from contracts.platform import AuditRow
from contracts.surfaces import DATA_SURFACE, SURFACES
from registry.audit import aliases_at
from registry.web.page import Pages
from registry.web.site import Here, Visit

__all__ = ["AuditFilter", "AuditPage", "pages"]

pages = Pages("audit")

_PAGE: Final = 50
_CHUNK: Final = 500
_COLUMNS: Final = ("id", "at", "actor", "action", "surface", "version", "before", "after", "displaced", "reason")

Text = Annotated[str | None, BeforeValidator(lambda value: value or None)]


class AuditFilter(BaseModel):
    """Which entries; the fields are the parameters of the page's address."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    surface: Text = None
    """Of this surface; ``data`` for decisions about data."""
    actor: Text = None
    """By this person."""
    action: Text = None
    """Of this kind, e.g. ``promote`` or ``promote refused``."""
    version: Text = None
    """Of this version, or of the snapshot of this id."""
    since: Text = None
    """From this instant on, in ISO 8601 with its zone."""
    until: Text = None
    """Up to this instant."""

    def address(self, **more: object) -> str:
        """These filters, and more, as the end of an address."""
        kept = {name: value for name, value in {**self.model_dump(), **more}.items() if value is not None}
        return f"?{urlencode(kept)}" if kept else "?"


class Verdict(BaseModel):
    """What a gate said when it happened."""

    model_config = ConfigDict(frozen=True)

    gate: str
    outcome: str
    sentence: str


class Entry(BaseModel):
    """One entry."""

    model_config = ConfigDict(frozen=True)

    id: int
    at: datetime
    actor: str
    surface: str
    version: str
    action: str
    before: str
    after: str
    displaced: str | None
    reason: str
    verdicts: list[Verdict]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def link(self) -> str | None:
        """Page of what it is about."""
        if self.surface in SURFACES:
            return f"/versions/{quote(self.surface)}/{quote(self.version, safe='')}"
        return "/quality" if self.surface == DATA_SURFACE else None


class Held(BaseModel):
    """Who held which alias of a surface at the moment that was asked for."""

    model_config = ConfigDict(frozen=True)

    surface: str
    aliases: dict[str, str]


class AuditPage(BaseModel):
    """A page of the audit log."""

    model_config = ConfigDict(frozen=True)

    filter: AuditFilter
    entries: list[Entry]
    total: int
    page: int
    pages: int
    surfaces: list[str]
    """Of models, and whatever else has entries: ``data``, people."""
    actors: list[str]
    actions: list[str]
    at: str | None
    """The moment that was asked for."""
    held: list[Held]
    """Who held what then; empty where no moment was asked for."""


@pages.page("/audit", "pages/audit.html")
def audit(
    here: Here,
    filters: Annotated[AuditFilter, Query()],
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    at: Annotated[str, Query(max_length=64)] = "",
) -> AuditPage:
    """Who did what, when and why, the newest first; with ``at``, who held which alias at that moment.

    Raises:
        BadInput: An instant has no zone.
    """
    moment = parse_instant(at.strip(), "the moment of the audit") if at.strip() else None
    with here.database.session() as session:
        rows = _filtered(session, filters)
        total = rows.count()
        newest = rows.order_by(AuditRow.id.desc()).offset((page - 1) * _PAGE).limit(_PAGE)
        return AuditPage(
            filter=filters,
            entries=[Entry.model_validate(row, from_attributes=True) for row in newest],
            total=total,
            page=page,
            pages=max(1, -(-total // _PAGE)),
            surfaces=list(dict.fromkeys([*SURFACES, *_distinct(session, AuditRow.surface)])),
            actors=_distinct(session, AuditRow.actor),
            actions=_distinct(session, AuditRow.action),
            at=None if moment is None else moment.isoformat(),
            held=[] if moment is None else _held(here, moment),
        )


@pages.file("/audit.csv", permission="export")
def as_csv(here: Here, filters: Annotated[AuditFilter, Query()]) -> Response:
    """All entries that the filters let through as CSV, oldest first."""
    return _export(here, filters, "csv", "text/csv; charset=utf-8", _csv_lines)


@pages.file("/audit.jsonl", permission="export")
def as_json_lines(here: Here, filters: Annotated[AuditFilter, Query()]) -> Response:
    """All entries that the filters let through, with the gates' verdicts, as JSON, a line each, oldest first."""
    return _export(here, filters, "jsonl", "application/x-ndjson", _json_lines)


def _export(here: Visit, filters: AuditFilter, ending: str, kind: str, lines: Any) -> Response:
    with here.database.session() as session:  # a filter that cannot be read fails before the first line
        _filtered(session, filters)

    def stream() -> Iterator[str]:
        with here.database.session() as session:
            yield from lines(_filtered(session, filters).order_by(AuditRow.id).yield_per(_CHUNK))

    name = f'attachment; filename="backbeat-audit.{ending}"'
    return StreamingResponse(stream(), media_type=kind, headers={"content-disposition": name})


def _csv_lines(rows: Rows[AuditRow]) -> Iterator[str]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_COLUMNS)
    for row in rows:
        entry = Entry.model_validate(row, from_attributes=True)
        writer.writerow([_plain(getattr(entry, name)) for name in _COLUMNS])
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    yield text.getvalue()


def _plain(value: Any) -> str:
    text = value.isoformat() if isinstance(value, datetime) else "" if value is None else str(value)
    # A spreadsheet takes such a cell for a formula, and reasons are anybody's words.
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _json_lines(rows: Rows[AuditRow]) -> Iterator[str]:
    for row in rows:
        entry = Entry.model_validate(row, from_attributes=True).model_dump(mode="json", exclude={"verdicts", "link"})
        yield json.dumps({**entry, "verdicts": row.verdicts}, ensure_ascii=False) + "\n"


def _filtered(session: Session, filters: AuditFilter) -> Rows[AuditRow]:
    rows = session.query(AuditRow)
    for name in ("surface", "actor", "action", "version"):
        if (value := getattr(filters, name)) is not None:
            rows = rows.filter(getattr(AuditRow, name) == value)
    if filters.since is not None:
        rows = rows.filter(AuditRow.at >= parse_instant(filters.since, "since"))
    if filters.until is not None:
        rows = rows.filter(AuditRow.at <= parse_instant(filters.until, "until"))
    return rows


def _distinct(session: Session, column: Any) -> list[str]:
    return [value for (value,) in session.query(column).distinct().order_by(column).limit(500)]


def _held(here: Visit, moment: datetime) -> list[Held]:
    return [Held(surface=surface, aliases=aliases_at(here.database, surface, moment)) for surface in SURFACES]
