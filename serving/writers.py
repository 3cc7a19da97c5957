"""Who writes served lists down, how far each has come, and what is missing of those that ended without a stop.

A process keeps a row of its own, written in the transactions of the lists themselves. Beside it, it counts what it
hands out in a file that outlives it (:mod:`serving.handed_out`). Where it is gone without a word, the difference of the
two is what is missing: at most, since a list is counted before it leaves.
"""

import logging
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from contracts.clock import utc_now
from contracts.database import Database
from contracts.liveness import Holder, is_alive, myself
from contracts.log_rows import LogWriterRow
from serving.handed_out import Handed, HandedOut

__all__ = ["Gap", "Writer", "gaps", "nobody_writes", "settle_gaps"]

_LOG = logging.getLogger("backbeat.serving")

_BEAT_EVERY = timedelta(seconds=10)


class Writer:
    """This process's row and file. The methods are for one thread, but for :meth:`hand_out`.

    Args:
        counters: Directory of the file.
    """

    def __init__(self, counters: Path) -> None:
        self.id = uuid.uuid4().hex
        self._registered = False
        self._beat_at = utc_now()
        self._lists = 0
        self._lost = 0
        self._lost_from: datetime | None = None
        self._lost_until: datetime | None = None
        try:
            self.handed: HandedOut | None = HandedOut(_counter(counters, self.id))
        except OSError as error:
            _LOG.warning("lists that a killed process leaves out cannot be counted: %s", error)
            self.handed = None

    def hand_out(self, lists: int) -> None:
        """So many lists are about to leave. Never waits."""
        if self.handed is not None:
            self.handed.add(lists)

    def lose(self, lists: int) -> None:
        """So many lists are given up."""
        if lists:
            self._lost += lists
            self._lost_until = utc_now()
            self._lost_from = self._lost_from or self._lost_until

    def due(self) -> bool:
        """Whether the row must be written although there is nothing else to write."""
        return not self._registered or utc_now() - self._beat_at >= _BEAT_EVERY

    def save(self, session: Session, lists: int, ended: bool = False) -> None:
        """Write the row within a transaction; :meth:`saved` once that is committed.

        Args:
            session: The transaction.
            lists: How many the transaction adds.
            ended: Whether it is the last one.
        """
        now = utc_now()
        values: dict[str, Any] = {
            "beat_at": now,
            "lists": self._lists + lists,
            "lost": self._lost,
            "lost_from": self._lost_from,
            "lost_until": self._lost_until,
        }
        if ended:
            values |= {"ended_at": now, "missing": 0}
        if self._registered:
            session.execute(update(LogWriterRow).where(LogWriterRow.id == self.id).values(values))
        else:
            session.add(LogWriterRow(id=self.id, **asdict(myself()), started_at=now, **values))

    def saved(self, lists: int) -> None:
        """The transaction of :meth:`save` is committed."""
        self._registered = True
        self._beat_at = utc_now()
        self._lists += lists

    def close(self, clean: bool) -> None:
        """Count no more.

        Args:
            clean: Whether the row says so; else the file stays for :func:`settle_gaps`.
        """
        if self.handed is not None:
            if clean:
                self.handed.remove()
            else:
                self.handed.close()


@dataclass(frozen=True)
class Gap:
    """Served lists that are not among the records."""

    writer: str
    host: str
    pid: int
    cause: str
    """``killed``: the process ended before it had written them; ``lost``: it could not write them."""
    since: str | None
    """UTC, ISO 8601; None where that is not known, as the next."""
    until: str | None
    lists: int | None
    """How many at most; None where that is not known."""

    def as_dict(self) -> dict[str, Any]:
        """The gap as one JSON document."""
        return asdict(self)

    def sentence(self) -> str:
        """The gap in words."""
        number = "an unknown number of lists" if self.lists is None else f"at most {self.lists:,} lists"
        when = f"{_clock(self.since)} to {_clock(self.until)} UTC" if self.since else "at an unknown time"
        why = "ended without a stop" if self.cause == "killed" else "could not write them"
        return f"{when}: {number} missing, process {self.pid} on {self.host} {why}"


def settle_gaps(database: Database, counters: Path) -> list[Gap]:
    """Find out what is missing of processes that are gone, and keep it with their rows.

    Args:
        database: The platform's tables.
        counters: Directory of the processes' files.

    Returns:
        What was found now.
    """
    found: list[Gap] = []
    with database.session() as session:
        for row in session.scalars(select(LogWriterRow).where(LogWriterRow.ended_at.is_(None))):
            if is_alive(Holder(row.host, row.pid, row.born), row.beat_at):
                continue
            _settle(row, Handed.read(_counter(counters, row.id)))
            found += [gap for gap in _gaps_of(row) if gap.cause == "killed"]
        session.flush()
        settled = session.scalars(select(LogWriterRow.id).where(LogWriterRow.ended_at.is_not(None))).all()
    for writer in settled:
        _counter(counters, writer).unlink(missing_ok=True)
    for gap in found:
        _LOG.warning("records have a gap: %s", gap.sentence())
    return found


def gaps(database: Database, since: datetime | None = None) -> list[Gap]:
    """What is known to be missing, the oldest first.

    Args:
        database: The platform's tables.
        since: Only of processes that were at work then or later.
    """
    rows = select(LogWriterRow).order_by(LogWriterRow.started_at)
    if since is not None:
        rows = rows.where(LogWriterRow.beat_at >= since)
    with database.session() as session:
        return [gap for row in session.scalars(rows) for gap in _gaps_of(row)]


def nobody_writes(database: Database) -> bool:
    """Whether no list is on its way to the database: each process has ended well, or it is known what it left out."""
    with database.session() as session:
        return session.scalar(select(LogWriterRow.id).where(LogWriterRow.ended_at.is_(None)).limit(1)) is None


def _settle(row: LogWriterRow, handed: Handed | None) -> None:
    row.ended_at = utc_now()
    same_boot = row.born.partition(":")[0] == myself().born.partition(":")[0]
    if handed is None or not same_boot:  # what a machine that went down had not yet put on its disk is gone
        row.missing, row.missing_from, row.missing_until = None, row.beat_at, None
        return
    row.missing = max(handed.lists - row.lists - row.lost, 0)
    if row.missing:
        row.missing_from, row.missing_until = handed.oldest or handed.newest, handed.newest


def _gaps_of(row: LogWriterRow) -> Iterator[Gap]:
    who = (row.id, row.host, row.pid)
    if row.lost:
        yield Gap(*who, "lost", _iso(row.lost_from), _iso(row.lost_until), row.lost)
    if row.ended_at is not None and row.missing != 0:
        yield Gap(*who, "killed", _iso(row.missing_from), _iso(row.missing_until), row.missing)


def _counter(counters: Path, writer: str) -> Path:
    return counters / f"writer.{writer}.count"


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _clock(moment: str | None) -> str:
    return "an unknown time" if moment is None else moment[:23].replace("T", " ")
