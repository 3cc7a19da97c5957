"""What crosses the wire between a client and the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from contracts.surfaces import BACKGROUND_MUSIC, VIDEO_FEED, Surface

__all__ = [
    "MOST_USERS",
    "BatchRequest",
    "BatchResponse",
    "Fallback",
    "Filters",
    "MissingFeature",
    "RecommendRequest",
    "RecommendResponse",
    "RecommendedItem",
    "Step",
]

Identifier = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]
"""Without NUL, which Postgres cannot keep."""

Step = Literal["model", "neighbours", "network", "popular"]
"""What supplied an item: the model's own order; items like those that the user chose last; what the people around the
user choose; what is chosen most."""

MOST_USERS = 256
"""Users of a batch."""


class Filters(BaseModel):
    """What the videos of a list must be like. A video of which the catalogue does not say is left out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    authors: tuple[Identifier, ...] | None = Field(default=None, min_length=1, max_length=1_000)
    """Only videos of these users."""
    music: tuple[Identifier, ...] | None = Field(default=None, min_length=1, max_length=1_000)
    """Only videos with one of these pieces of background music."""
    shortest: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Least duration, in seconds."""
    longest: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Greatest duration, in seconds."""
    published_since: AwareDatetime | None = None
    """Only videos of this moment or later."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.shortest is not None and self.longest is not None and self.shortest > self.longest:
            raise ValueError("a least duration that is not above the greatest")
        return self


class _Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    surface: Surface = VIDEO_FEED
    """What is asked for: videos, music for a video, or music."""
    k: int = Field(default=20, ge=1, le=500)
    """How many items."""
    exclude: list[Identifier] = Field(default=[], max_length=10_000)
    """Items not to return, besides what the user has had already; on ``background-music`` nothing else is left out, as
    people take the same music again."""
    filters: Filters | None = None
    """What the items must be like."""


class RecommendRequest(_Wanted):
    """Ask for items for a user."""

    user_id: Identifier
    video_id: Identifier | None = Field(default=None, validate_default=True)
    """The video that is to get its music; on ``background-music``, and nowhere else."""

    @field_validator("video_id")
    @classmethod
    def _of_the_surface(cls, video: str | None, info: ValidationInfo) -> str | None:
        _require_video(video is not None, info)
        return video


class BatchRequest(_Wanted):
    """Ask for items for many users at once, of each the same number and by the same conditions."""

    user_ids: list[Identifier] = Field(min_length=1, max_length=MOST_USERS)
    video_ids: list[Identifier] | None = Field(default=None, max_length=MOST_USERS, validate_default=True)
    """The video of each user that is to get its music; on ``background-music``, and nowhere else."""

    @field_validator("video_ids")
    @classmethod
    def _of_the_surface(cls, videos: list[str] | None, info: ValidationInfo) -> list[str] | None:
        _require_video(videos is not None, info)
        users = info.data.get("user_ids")
        if videos is not None and users is not None and len(videos) != len(users):
            raise ValueError(f"a video for each of the {len(users)} users")
        return videos

    def singles(self) -> list[RecommendRequest]:
        """The request of each user."""
        videos: Sequence[str | None] = self.video_ids or [None] * len(self.user_ids)
        return [
            RecommendRequest.model_construct(
                surface=self.surface,
                k=self.k,
                exclude=self.exclude,
                filters=self.filters,
                user_id=user,
                video_id=video,
            )
            for user, video in zip(self.user_ids, videos, strict=True)
        ]


def _require_video(given: bool, info: ValidationInfo) -> None:
    surface = info.data.get("surface")  # absent where it is not one of ours, which is said already
    if surface == BACKGROUND_MUSIC and not given:
        raise ValueError("a video, for background-music is chosen for one")
    if surface is not None and surface != BACKGROUND_MUSIC and given:
        raise ValueError(f"none on {surface}; videos come with requests for background-music")


@dataclass(frozen=True, slots=True)
class RecommendedItem:
    """One item of a served list. A plain value: a request makes as many as its list is long."""

    item_id: str
    """A video; on the surfaces of music, a piece of music."""
    score: float
    """Comparable within a step only: the model's score, a cosine, a sum of ties, a number of views."""
    step: Step
    """Which step of the chain supplied it."""

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"item_id": self.item_id, "score": self.score, "step": self.step}


class Fallback(BaseModel):
    """A step that filled a list where the model did not."""

    model_config = ConfigDict(frozen=True)

    step: Literal["neighbours", "network", "popular"]
    reason: Literal["unknown_user", "missing_features", "too_few"]
    """``unknown_user``: the model has nothing to say about the user; ``missing_features``: nor could it, without what
    was not read; ``too_few``: it ran out of videos."""


class MissingFeature(BaseModel):
    """A feature that a list was made without."""

    model_config = ConfigDict(frozen=True)

    feature: Literal["user_history", "user_network", "user_posts", "video_content"]
    reason: Literal["late", "failed", "absent"]
    """The online store did not answer in time, or not at all; or it does not know the video of the request."""


class RecommendResponse(BaseModel):
    """A served list."""

    model_config = ConfigDict(frozen=True)

    response_id: str
    surface: str
    model: str
    version: str
    """Of an interleaved list the champion's."""
    experiment: str | None = None
    """Of which the list is a part; none for most."""
    arm: str | None = None
    """Of that experiment: `champion`, `challenger`, `interleaved` or `shuffled`."""
    items: list[RecommendedItem]
    fallbacks: list[Fallback] = []
    """Steps that filled the list where the model did not, and why; none for a list of the model's own."""
    missing: list[MissingFeature] = []
    """What the online store did not give."""


class BatchResponse(BaseModel):
    """Served lists, in the order of the users."""

    model_config = ConfigDict(frozen=True)

    responses: list[RecommendResponse]
