"""Guessing passwords is slow: failed attempts are counted for each account and each address, in the database."""

from datetime import timedelta
from typing import Final

from sqlalchemy import delete, func, select

from contracts.clock import utc_now
from contracts.database import Database
from contracts.errors import TooManyAttempts
from contracts.people_rows import LoginAttemptRow

__all__ = ["PER_ACCOUNT", "PER_ADDRESS", "WINDOW", "forget_failures", "note_failure", "require_few_failures"]

WINDOW: Final = timedelta(minutes=15)

PER_ACCOUNT: Final = 8
"""Failures of one account within the window, from any address."""

PER_ADDRESS: Final = 30
"""Failures from one address within the window, whatever the account."""


def require_few_failures(database: Database, name: str, address: str) -> None:
    """Refuse to look at a password where too many have been tried.

    Raises:
        TooManyAttempts: For this account, or from this address.
    """
    since = utc_now() - WINDOW
    with database.session() as session:

        def count(column: object, value: str) -> int:
            wanted = select(func.count()).where(column == value, LoginAttemptRow.at > since)  # type: ignore[arg-type]
            return int(session.execute(wanted).scalar_one())

        of_account, of_address = count(LoginAttemptRow.name, name), count(LoginAttemptRow.address, address)
    if of_account >= PER_ACCOUNT or of_address >= PER_ADDRESS:
        minutes = int(WINDOW.total_seconds() // 60)
        raise TooManyAttempts(
            "signing in",
            found=f"{max(of_account, of_address)} failed attempts in {minutes} minutes",
            expected=f"fewer than {PER_ACCOUNT} for an account and {PER_ADDRESS} from an address",
            next_step=f"wait {minutes} minutes, or ask an admin to run `backbeat users password NAME`",
        )


def note_failure(database: Database, name: str, address: str) -> None:
    """Count a failed attempt, and forget those that no longer count."""
    now = utc_now()
    with database.session() as session:
        session.execute(delete(LoginAttemptRow).where(LoginAttemptRow.at <= now - WINDOW))
        session.add(LoginAttemptRow(at=now, name=name[:128], address=address[:64]))


def forget_failures(database: Database, name: str) -> None:
    """The account's owner has come in, or an admin has given it another password."""
    with database.session() as session:
        session.execute(delete(LoginAttemptRow).where(LoginAttemptRow.name == name))
