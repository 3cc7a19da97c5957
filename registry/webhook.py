"""Telling a webhook what happened: recorded with the move, sent by a process of its own, signed, tried again.

``python -m registry.webhook`` sends all that waits in the home of the environment's settings and ends.
"""

import hashlib
import hmac
import json
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from contracts.clock import utc_now
from contracts.database import Database
from contracts.process import answer_as_module
from contracts.promotion_rows import DeliveryRow
from contracts.settings import Settings, environment_of_child

if TYPE_CHECKING:
    from contracts.home import Home

__all__ = ["EVENTS", "Delivery", "deliveries", "main", "send_waiting", "signature", "start_sending", "tell"]

EVENTS = (
    "requested",
    "approved",
    "rejected",
    "withdrawn",
    "waived",
    "moved",
    "rolled_back",
    "drift",
    "experiment_started",
    "experiment_ended",
)
"""All that is told."""

_PATIENCE_S = 5.0
"""For one answer."""

_PAUSES_S = (2, 10, 60, 300, 1800, 7200)
"""After each attempt that failed; after one more the event is given up."""

_STAY_S = 600
"""A sender waits so long for what is to be tried again; later attempts are made after the next move."""

_LEASE = timedelta(seconds=60)
"""So long nobody else tries what a sender is trying."""


@dataclass(frozen=True)
class Delivery:
    """One event, and how far it got."""

    id: str
    at: str
    event: str
    surface: str
    state: str
    attempts: int
    status: int | None
    error: str | None


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """What stands in ``X-Backbeat-Signature``: HMAC-SHA256 over ``<timestamp>.<body>``, in hexadecimal.

    Args:
        secret: Known to both sides.
        timestamp: That of ``X-Backbeat-Timestamp``, so that an old message cannot be sent again as a new one.
        body: As received.
    """
    signed = timestamp.encode() + b"." + body
    return "sha256=" + hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def tell(session: Session, settings: Settings, event: str, surface: str, facts: Mapping[str, Any]) -> None:
    """Record an event in the transaction that makes it true; nothing where no webhook is set.

    Args:
        session: That transaction.
        settings: Name the webhook.
        event: One of :data:`EVENTS`.
        surface: Registered model.
        facts: The rest of the message, as JSON.
    """
    if settings.webhook_url is None:
        return
    now, name = utc_now(), uuid.uuid4().hex
    body = {"id": name, "event": event, "at": now.isoformat(), "surface": surface, **facts}
    session.add(
        DeliveryRow(id=name, at=now, event=event, surface=surface, body=body, state="waiting", attempts=0, next_at=now)
    )


def start_sending(settings: Settings, database: Database) -> None:
    """Let a process of its own send what waits, if anything does; nobody waits for it, and no fault comes back."""
    if settings.webhook_url is None:
        return
    with suppress(Exception), database.session() as session:
        if session.query(DeliveryRow.id).filter_by(state="waiting").first() is None:
            return
        subprocess.Popen(
            [sys.executable, "-P", "-m", "registry.webhook"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env=environment_of_child(settings),
        )


def send_waiting(settings: Settings, database: Database, stay: float = _STAY_S) -> int:
    """Send everything that waits, and wait for what is to be tried again soon.

    Args:
        settings: Name the webhook and its secret.
        database: The platform's tables.
        stay: Seconds to wait for later attempts.

    Returns:
        How many were delivered.
    """
    if settings.webhook_url is None or settings.webhook_secret is None:
        return 0
    until, sent = time.monotonic() + stay, 0
    while True:
        row = _take(database)
        if row is not None:
            sent += _try(settings.webhook_url, settings.webhook_secret.get_secret_value(), database, row)
            continue
        pause = _pause(database)
        if pause is None or time.monotonic() + pause > until:
            return sent
        time.sleep(pause)


def deliveries(database: Database, limit: int | None = None) -> list[Delivery]:
    """What was told, or is to be, newest first."""
    with database.session() as session:
        rows = session.query(DeliveryRow).order_by(DeliveryRow.at.desc()).limit(limit).all()
        return [
            Delivery(r.id, r.at.isoformat(), r.event, r.surface, r.state, r.attempts, r.status, r.error) for r in rows
        ]


def _take(database: Database) -> DeliveryRow | None:
    """A row that is due, which nobody else will try meanwhile."""
    while True:
        now = utc_now()
        with database.session() as session:
            due = session.query(DeliveryRow).filter(DeliveryRow.state == "waiting", DeliveryRow.next_at <= now)
            row = due.order_by(DeliveryRow.at).first()
            if row is None:
                return None
            session.expunge(row)
        with database.session() as session:
            # Whoever changes the moment first has it.
            mine = update(DeliveryRow).where(DeliveryRow.id == row.id, DeliveryRow.next_at == row.next_at)
            taken: Any = session.execute(mine.values(next_at=now + _LEASE, attempts=DeliveryRow.attempts + 1))
            if taken.rowcount == 1:
                return row


def _pause(database: Database) -> float | None:
    """Seconds until the next attempt is due; None where nothing waits."""
    with database.session() as session:
        waiting = session.query(DeliveryRow.next_at).filter_by(state="waiting")
        row = waiting.order_by(DeliveryRow.next_at).first()
        return None if row is None else max(0.05, (row[0] - utc_now()).total_seconds())


def _try(url: str, secret: str, database: Database, row: DeliveryRow) -> int:
    status, error = _post(url, secret, row)
    now, attempts = utc_now(), row.attempts + 1
    with database.session() as session:
        found = session.get_one(DeliveryRow, row.id)
        found.status, found.error = status, error
        if error is None:
            found.state, found.ended_at = "delivered", now
        elif attempts > len(_PAUSES_S):
            found.state, found.ended_at = "failed", now
        else:
            found.next_at = now + timedelta(seconds=_PAUSES_S[attempts - 1])
    return int(error is None)


def _post(url: str, secret: str, row: DeliveryRow) -> tuple[int | None, str | None]:
    """Status of the answer, and what is wrong; None for an answer of 2xx."""
    from http.client import HTTPException
    from urllib.error import HTTPError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Stay(HTTPRedirectHandler):
        """What was signed for one address is sent to no other."""

        def redirect_request(self, *_: Any) -> None:
            return None

    body, timestamp = json.dumps(row.body, sort_keys=True).encode(), str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "backbeat",
        "X-Backbeat-Event": row.event,
        "X-Backbeat-Delivery": row.id,
        "X-Backbeat-Timestamp": timestamp,
        "X-Backbeat-Signature": signature(secret, timestamp, body),
    }
    try:
        with build_opener(Stay).open(Request(url, body, headers, method="POST"), timeout=_PATIENCE_S) as answer:
            return answer.status, None
    except HTTPError as error:
        error.close()
        return error.code, f"answered {error.code}"
    except (OSError, HTTPException, ValueError) as error:
        return None, f"{type(error).__name__}: {error}"


def main(arguments: Sequence[str]) -> int:
    """Send what waits; returns the exit code."""

    def work(settings: Settings, home: "Home", _: Sequence[str]) -> dict[str, int]:
        database = Database(settings, home)
        try:
            return {"delivered": send_waiting(settings, database)}
        finally:
            database.close()

    return answer_as_module("python -m registry.webhook", arguments, work)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
