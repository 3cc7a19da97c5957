"""What the service has recorded, and how it is taken out again: retention, and the wish of a user."""

import re
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, delete, select
from sqlalchemy.orm import Session

from contracts.database import Database
from contracts.errors import BadInput
from contracts.log_rows import FeatureSnapshotRow, LogWriterRow
from contracts.platform import ResponseRow, ShadowRow
from contracts.serving_rows import FeedbackRow
from serving.log_files import LogFiles

__all__ = ["Deleted", "delete_user", "parse_age", "prune"]

_AGE = re.compile(r"(\d{1,5})([dh])")


@dataclass(frozen=True)
class Deleted:
    """Rows that are gone."""

    responses: int
    shadow_lists: int
    feedback: int
    feature_snapshots: int
    in_files: int
    """Rows of all of these in Parquet files."""

    def as_dict(self) -> dict[str, Any]:
        """The counts as one JSON document."""
        return asdict(self)


def parse_age(text: str) -> timedelta:
    """An age such as ``30d`` or ``12h``.

    Raises:
        BadInput: It is none, or 0.
    """
    matched = _AGE.fullmatch(text.strip())
    age = timedelta(0)
    if matched:
        number = int(matched.group(1))
        age = timedelta(days=number) if matched.group(2) == "d" else timedelta(hours=number)
    if not age:
        raise BadInput(
            "age of records",
            found=repr(text),
            expected="days or hours, more than 0, such as 30d or 12h",
            next_step="give the age as in `backbeat logs prune --older-than 30d`",
        )
    return age


def delete_user(database: Database, files: LogFiles, user_id: str) -> Deleted:
    """Take out all lists that a user was served, with what they were made from, shadows showed and the user did.

    First in the files, then in the database; whoever is interrupted runs it again.

    Args:
        database: The platform's tables; there all is gone, or nothing.
        files: The records as Parquet.
        user_id: The user.

    Raises:
        Conflict: Somebody else changes the files.
    """
    with files.locked():
        with database.session() as session:
            ids = session.scalars(select(ResponseRow.id).where(ResponseRow.user_id == user_id)).all()
        in_files = files.delete_user(user_id, ids)
        with database.session() as session:
            gone = _delete(session, ResponseRow.user_id == user_id)
            # Features may be there without the response, where that was lost.
            alone = _count(session.execute(delete(FeatureSnapshotRow).where(FeatureSnapshotRow.user_id == user_id)))
    return Deleted(*gone, alone, in_files)


def prune(database: Database, files: LogFiles, before: datetime) -> Deleted:
    """Take out all lists that were served before a moment, with what belongs to them.

    In the files each row goes by its own time: an event that came later, on a list that goes, stays as long as it is
    young itself.

    Args:
        database: The platform's tables; there all is gone, or nothing.
        files: The records as Parquet.
        before: Exclusive.

    Raises:
        Conflict: Somebody else changes the files.
    """
    with files.locked():
        in_files = files.prune(before)
        with database.session() as session:
            responses, shadow_lists, feedback = _delete(session, ResponseRow.at < before)
            # What belongs to a list may be there without it, where that was lost.
            shadow_lists += _count(session.execute(delete(ShadowRow).where(ShadowRow.at < before)))
            features = _count(session.execute(delete(FeatureSnapshotRow).where(FeatureSnapshotRow.at < before)))
            session.execute(delete(LogWriterRow).where(LogWriterRow.ended_at < before))
    return Deleted(responses, shadow_lists, feedback, features, in_files)


def _delete(session: Session, chosen: ColumnElement[bool]) -> tuple[int, int, int]:
    """Responses, lists of shadows and events that are gone; features go by their own user and time."""
    ids = select(ResponseRow.id).where(chosen).scalar_subquery()
    feedback = _count(session.execute(delete(FeedbackRow).where(FeedbackRow.response_id.in_(ids))))
    aside = _count(session.execute(delete(ShadowRow).where(ShadowRow.response_id.in_(ids))))
    return _count(session.execute(delete(ResponseRow).where(chosen))), aside, feedback


def _count(done: Any) -> int:
    assert isinstance(done, CursorResult)
    return int(done.rowcount)
