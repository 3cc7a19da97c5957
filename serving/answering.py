"""From a request to a champion's list: what is read, for how long, and what the response says of it."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from contracts.clock import utc_now
from contracts.messages import Fallback, MissingFeature, RecommendRequest, RecommendResponse
from serving.contexts import Context
from serving.experiments.live import Served
from serving.fallback import Around
from serving.reading import TimedReads
from serving.recommend import Query

if TYPE_CHECKING:
    from serving.lineup import Lineup

__all__ = ["Answer", "Answering", "Deadlines", "UserFeatures"]


class UserFeatures(Protocol):
    """Where user features come from; :class:`serving.features.SurfaceFeatures` in a running service."""

    def user_history(self, user_ids: Sequence[str]) -> list[list[str]]:
        """Items each user has chosen, oldest first; empty for an unknown user."""
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


@dataclass(frozen=True)
class Answer:
    """A response with what was needed to make it."""

    response: RecommendResponse
    query: Query
    reading_ms: float
    latency_ms: float
    read_at: datetime
    """When the user's features had been read."""
    propensities: tuple[float, ...] | None = None
    """Chance of each item in its place, where an experiment makes it known."""
    teams: tuple[int, ...] | None = None
    """Whose each item of an interleaved list is."""


@dataclass(frozen=True)
class Deadlines:
    """How long an answer waits for what it can do without, in seconds."""

    features_s: float = 0.25
    """For the users' histories, and once more for what the request brings."""
    network_s: float = 0.25
    """For what the people around users choose."""


class Answering:
    """Answers by whichever line-up it is given. For one thread at a time.

    Args:
        surface: Name of the registered model.
        deadlines: Of the reads from the online store.
    """

    def __init__(self, surface: str, deadlines: Deadlines | None = None) -> None:
        self._surface = surface
        self._deadlines = deadlines or Deadlines()
        self._reads = TimedReads()

    def answers(self, lineup: "Lineup", requests: Sequence[RecommendRequest]) -> list[Answer]:
        """The champion's lists, in the order of the requests, by one read of features and one matrix product.

        Raises:
            BadInput: The catalogue does not have what a request filters by.
        """
        started = time.perf_counter()
        user_ids = [request.user_id for request in requests]
        missing: list[MissingFeature] = []
        network: list[MissingFeature] = []
        lonely: set[str] = set()
        read = self._reads.read(lambda: lineup.features.user_history(user_ids), self._deadlines.features_s)
        if read.fault is not None:
            missing.append(MissingFeature(feature="user_history", reason=read.fault))
        histories = read.value or [[] for _ in user_ids]
        videos = [request.video_id for request in requests]
        contexts = self._contexts(lineup, user_ids, videos, missing)
        reading_ms, read_at = (time.perf_counter() - started) * 1e3, utc_now()

        def around(strangers: Sequence[str]) -> Sequence[Around]:
            networks = lineup.networks
            if networks is None:
                return [() for _ in strangers]
            found = self._reads.read(lambda: networks.around(strangers), self._deadlines.network_s)
            if found.fault is not None:
                lonely.update(strangers)
                network.append(MissingFeature(feature="user_network", reason=found.fault))
            return found.value or [() for _ in strangers]

        queries = [
            Query(
                request.user_id,
                tuple(history),
                tuple(request.exclude),
                request.k,
                request.filters,
                video_id=request.video_id,
                context=context,
            )
            for request, history, context in zip(requests, histories, contexts, strict=True)
        ]
        response_ids = [uuid.uuid4().hex for _ in queries]
        if lineup.experiment is None:
            rankings = lineup.champion.recommend(queries, around)
            served = [Served(ranking, lineup.champion) for ranking in rankings]
        else:
            served = lineup.experiment.serve(lineup.champion, queries, around, response_ids)
        latency_ms = (time.perf_counter() - started) * 1e3
        return [
            Answer(
                self._response(
                    response_id,
                    each,
                    _with_absent(
                        missing + (network if each.ranking.query.user_id in lonely else []),
                        each.ranking.query,
                        lineup,
                    ),
                ),
                each.ranking.query,
                reading_ms,
                latency_ms,
                read_at,
                propensities=each.propensities,
                teams=each.teams,
            )
            for response_id, each in zip(response_ids, served, strict=True)
        ]

    def _contexts(
        self,
        lineup: "Lineup",
        user_ids: Sequence[str],
        videos: Sequence[str | None],
        missing: list[MissingFeature],
    ) -> Sequence[Context]:
        contexts = lineup.contexts
        if contexts is None or not contexts.wanted:
            return [{} for _ in user_ids]
        ids = [user if video is None else video for user, video in zip(user_ids, videos, strict=True)]
        read = self._reads.read(lambda: contexts.read(ids), self._deadlines.features_s)
        if read.fault is not None:
            brought = "user_posts" if videos[0] is None else "video_content"
            missing.append(MissingFeature(feature=brought, reason=read.fault))
        return read.value or [{} for _ in user_ids]

    def counts(self) -> dict[str, int]:
        """Reads that were late, and that failed."""
        return {"late": self._reads.late, "failed": self._reads.failed}

    def close(self) -> None:
        """Read no more."""
        self._reads.close()

    def _response(self, response_id: str, served: Served, missing: list[MissingFeature]) -> RecommendResponse:
        fallbacks = served.ranking.fallbacks
        if any(each.feature != "user_network" and each.reason != "absent" for each in missing):
            # Whether the model would have known the user by what was not read cannot be told.
            fallbacks = [
                Fallback(step=each.step, reason="missing_features") if each.reason == "unknown_user" else each
                for each in fallbacks
            ]
        return RecommendResponse.model_construct(
            response_id=response_id,
            surface=self._surface,
            model=served.ranker.model,
            version=served.ranker.version,
            experiment=served.experiment,
            arm=served.arm,
            items=served.ranking.items,
            fallbacks=fallbacks,
            missing=missing,
        )


def _with_absent(missing: list[MissingFeature], query: Query, lineup: "Lineup") -> list[MissingFeature]:
    """What is missing of one request of a batch, a video that the store does not know included."""
    asked = lineup.contexts is not None and lineup.contexts.wanted and query.video_id is not None
    if not asked or query.context or any(each.feature == "video_content" for each in missing):
        return missing
    return [*missing, MissingFeature(feature="video_content", reason="absent")]
