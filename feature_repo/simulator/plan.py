"""What is asked of the simulator: sizes, seed, lateness and minima, checked."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from contracts.errors import BadInput

__all__ = ["Plan"]

_RANGES: dict[str, tuple[float, float]] = {
    "users": (10, 10_000_000),
    "videos": (50, 10_000_000),
    "music": (20, 1_000_000),
    "posts": (0, 100_000_000),
    "listens": (0, 100_000_000),
    "events": (100, 100_000_000),
    "follows": (0, 100_000_000),
    "days": (2, 365),
    "seed": (0, 2**63 - 1),
    "late": (0.0, 0.5),
    "least_videos": (0, 1000),
    "least_events": (0, 1000),
    "least_listens": (0, 1000),
    "least_posts": (0, 1000),
    "post_text": (0.0, 1.0),
    "post_images": (0.0, 4.5),
    "post_video": (0.0, 1.0),
}


@dataclass(frozen=True)
class Plan:
    """Sizes of a platform.

    Raises:
        BadInput: A number is outside its range, or the numbers cannot be had together.
    """

    users: int
    videos: int
    events: int
    """Views; likes, shares and follows come on top."""
    days: int
    """Length of the period, from 2025-01-01 UTC."""
    seed: int
    music: int
    posts: int
    listens: int
    """Rows of kind ``listen``; likes and shares of music come on top."""
    follows: int
    """Users followed other than from a video."""
    late: float = 0.0
    """Share of the rows of interactions, listens, posts and edges that are known only after they happened."""
    least_videos: int = 0
    """Videos that every user published at least, and that every piece of music has at least."""
    least_events: int = 0
    """Views that every user has at least."""
    least_listens: int = 0
    """Listens that every user has at least."""
    least_posts: int = 0
    """Posts that every user wrote at least."""
    post_text: float = 0.91
    """Share of the posts with a text."""
    post_images: float = 0.89
    """Images per post."""
    post_video: float = 0.165
    """Share of the posts with a short video."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            low, high = _RANGES[name]
            if not low <= value <= high:
                raise BadInput(
                    f"option --{name.replace('_', '-')}",
                    found=value,
                    expected=f"{low:,} to {high:,}",
                    next_step="choose a number in range",
                )
        pairs = self.users * self.videos
        if self.events > pairs // 4:
            raise BadInput(
                "option --events",
                found=f"{self.events:,}",
                expected=f"at most {pairs // 4:,}, a quarter of all user-video pairs",
                next_step="ask for fewer events, or for more users or videos",
            )
        if self.follows > self.users * (self.users - 1) // 4:
            raise BadInput(
                "option --follows",
                found=f"{self.follows:,}",
                expected=f"at most {self.users * (self.users - 1) // 4:,}, a quarter of all pairs of users",
                next_step="ask for fewer follows, or for more users",
            )
        for table in ("videos", "events", "listens", "posts"):
            self._check_least(table)
        if self.post_images > 4.5 * (1 - self.post_video):
            raise BadInput(
                "option --post-images",
                found=self.post_images,
                expected=f"at most {4.5 * (1 - self.post_video):g} with --post-video {self.post_video:g}: "
                "a post has a video or up to nine images",
                next_step="ask for fewer images or videos",
            )

    def _check_least(self, table: str) -> None:
        least, count = getattr(self, f"least_{table}"), getattr(self, table)
        owners = max(self.users, self.music) if table == "videos" else self.users
        if least * owners > count:
            raise BadInput(
                f"option --least-{table}",
                found=f"{least} for each of {owners:,}, {least * owners:,} in all",
                expected=f"at most --{table} {count:,} in all",
                next_step=f"lower it, or ask for more {table}",
            )

    def describe(self) -> str:
        """All numbers, for the record of where the tables came from."""
        return " ".join(f"{name}={value}" for name, value in asdict(self).items())

    @classmethod
    def parse(cls, text: str) -> Self:
        """The plan that :meth:`describe` gives as this text.

        Raises:
            ValueError: It is none of this version's descriptions.
            BadInput: As for a plan.
        """
        kinds: dict[str, Any] = {field.name: field.type for field in fields(cls)}
        words = dict(word.split("=", 1) for word in text.split())
        if words.keys() != kinds.keys():
            raise ValueError(f"{', '.join(sorted(words))} where {', '.join(sorted(kinds))} are needed")
        return cls(**{name: kinds[name](value) for name, value in words.items()})
