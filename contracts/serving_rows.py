"""Tables of what became of served lists."""

from datetime import datetime

from sqlalchemy import Float, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from contracts.platform import PlatformBase

__all__ = ["FeedbackRow"]


class FeedbackRow(PlatformBase):
    """One event on an item of a served list; a client's event is stored once."""

    __tablename__ = "feedback"

    response_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    event_id: Mapped[str] = mapped_column(String(256), primary_key=True)
    """The client's name for it, so that what is sent again can be told."""
    item_id: Mapped[str] = mapped_column(String(256))
    kind: Mapped[str] = mapped_column(String(16))
    """``impression``, ``click``, ``like``, ``follow``, ``share`` or ``watch``."""
    seconds: Mapped[float | None] = mapped_column(Float)
    """Watched; None for other kinds."""
    at: Mapped[datetime]
    """When it happened, by the client's clock."""
    received_at: Mapped[datetime]
    late: Mapped[bool]
    """Whether it came so long after it happened that an analysis may have been made without it."""

    __table_args__ = (Index("feedback_by_time", "received_at"),)
