"""What crosses the wire between a client and the service."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["RecommendRequest", "RecommendResponse", "RecommendedItem"]

Identifier = Annotated[str, Field(min_length=1, max_length=256)]


class RecommendRequest(BaseModel):
    """Ask for videos for a user."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    user_id: Identifier
    k: int = Field(default=20, ge=1, le=500)
    """How many items."""
    exclude: list[Identifier] = Field(default=[], max_length=10_000)
    """Videos not to return, besides those in the user's history."""


class RecommendedItem(BaseModel):
    """One item of a served list."""

    model_config = ConfigDict(frozen=True)

    video_id: str
    score: float
    step: Literal["ranked", "popular"]
    """Which step of the chain supplied it."""


class RecommendResponse(BaseModel):
    """A served list."""

    model_config = ConfigDict(frozen=True)

    response_id: str
    surface: str
    model: str
    version: str
    items: list[RecommendedItem]
