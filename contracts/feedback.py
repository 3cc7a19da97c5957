"""Feedback on served lists, as it crosses the wire."""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

__all__ = ["FeedbackEvent", "FeedbackReceipt", "FeedbackRequest", "Kind", "ReceivedEvent"]

Kind = Literal["impression", "click", "like", "follow", "share", "watch"]

# Postgres keeps no NUL in a text.
_Identifier = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]


class FeedbackEvent(BaseModel):
    """What a user did with one item of a served list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event_id: _Identifier
    """The client's own name for it: sent again, it is not counted again."""
    kind: Kind
    item_id: _Identifier
    """An item of the list."""
    at: AwareDatetime
    """When it happened, by the client's clock."""
    seconds: float | None = Field(default=None, ge=0, le=86_400, allow_inf_nan=False)
    """Watched; of the kind ``watch`` alone, which needs it."""

    @model_validator(mode="after")
    def _seconds_are_watched(self) -> Self:
        if (self.kind == "watch") != (self.seconds is not None):
            raise ValueError("seconds for the kind watch, and for no other")
        return self


class FeedbackRequest(BaseModel):
    """Events on one served list: all of them are taken, or none."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    response_id: _Identifier
    events: list[FeedbackEvent] = Field(min_length=1, max_length=500)


class ReceivedEvent(BaseModel):
    """What became of an event."""

    model_config = ConfigDict(frozen=True)

    event_id: str
    state: Literal["stored", "duplicate"]
    late: bool
    """Whether it came so long after it happened that it counts as late: an hour, or ``BACKBEAT_FEEDBACK_LATE``."""


class FeedbackReceipt(BaseModel):
    """Events that are in the database now, and stay there."""

    model_config = ConfigDict(frozen=True)

    response_id: str
    events: list[ReceivedEvent]
    """In the order of the request."""
