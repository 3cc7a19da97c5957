"""Answers requests: features once, the champion's list, and beside the answer its record and the shadow's turn."""

import gc
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from contracts.clock import utc_now
from contracts.messages import RecommendRequest, RecommendResponse
from contracts.platform import ResponseRow
from serving.recommend import Query, Ranker
from serving.records import Recorder
from serving.shadow import Shadow, ShadowTask

__all__ = ["Answer", "Engine", "ShadowFault", "UserFeatures"]


class UserFeatures(Protocol):
    """Where user features come from; :class:`feature_repo.online.OnlineFeatures` in a running service."""

    def user_history(self, user_ids: Sequence[str]) -> list[list[str]]:
        """Videos each user has watched, oldest first; empty for an unknown user."""
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


@dataclass(frozen=True)
class ShadowFault:
    """Why the version that holds the shadow alias does not answer aside."""

    version: str
    fault: str


class Engine:
    """The champion with its features, recorder and, where there is one, shadow.

    Args:
        surface: Name of the registered model.
        champion: The version that answers.
        shadow: The version that answers aside, or None.
        features: User features; read once per request.
        recorder: Takes the served lists.
        shadow_fault: Why there is no shadow although a version has that alias.
    """

    def __init__(
        self,
        surface: str,
        champion: Ranker,
        shadow: Shadow | None,
        features: UserFeatures,
        recorder: Recorder,
        shadow_fault: ShadowFault | None = None,
    ) -> None:
        self._surface = surface
        self._champion = champion
        self._shadow = shadow
        self._features = features
        self._recorder = recorder
        self._shadow_fault = shadow_fault
        # One thread: ranking is bound by the processor, and the event loop stays free for health checks.
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="rank")

    def answer(self, request: RecommendRequest) -> Answer:
        """The champion's list for a user. Nothing is recorded yet; see :meth:`aside`."""
        started = time.perf_counter()
        history = self._features.user_history([request.user_id])[0]
        read = time.perf_counter()
        query = Query(request.user_id, tuple(history), tuple(request.exclude), request.k)
        response = RecommendResponse(
            response_id=uuid.uuid4().hex,
            surface=self._surface,
            model=self._champion.model,
            version=self._champion.version,
            items=self._champion.rank(query),
        )
        return Answer(response, query, (read - started) * 1e3, (time.perf_counter() - started) * 1e3)

    def aside(self, answer: Answer) -> None:
        """What happens beside an answer: it is recorded, and the shadow is offered the same query. Never waits."""
        response = answer.response
        self._recorder.put(
            ResponseRow(
                id=response.response_id,
                at=utc_now(),
                surface=self._surface,
                version=response.version,
                user_id=answer.query.user_id,
                items=[item.model_dump() for item in response.items],
                latency_ms=answer.latency_ms,
            )
        )
        if self._shadow is not None:
            task = ShadowTask(response.response_id, answer.query, answer.reading_ms, time.monotonic())
            self._shadow.offer(task)

    def status(self) -> dict[str, Any]:
        """Which versions serve, why the shadow does not where it should, and how far the work beside the answers is."""
        shadow = self._shadow
        return {
            "surface": self._surface,
            "champion": {"version": self._champion.version, "model": self._champion.model},
            "shadow": shadow
            and {
                "version": shadow.version,
                "model": shadow.model,
                "answered": shadow.answered,
                "failed": shadow.failed,
                "dropped": shadow.dropped,
                "pending": shadow.pending,
            },
            "shadow_fault": self._shadow_fault and asdict(self._shadow_fault),
            "records": {
                "written": self._recorder.written,
                "lost": self._recorder.lost,
                "pending": self._recorder.pending,
            },
        }

    def warm_up(self, user_ids: Sequence[str]) -> None:
        """Run the whole path until its lazy parts are loaded, then keep the garbage collector off what is there.

        A full collection walks every object of the libraries and shows as latency spikes of 0.2 s.

        Args:
            user_ids: Users the champion knows, so that its model and its index are used.
        """
        for user in user_ids:
            self.executor.submit(self.answer, RecommendRequest(user_id=user)).result()
        gc.collect()
        gc.freeze()

    def close(self) -> None:
        """Finish what was begun: requests, the shadow's queue, the records."""
        self.executor.shutdown()
        if self._shadow is not None:
            self._shadow.close()
        self._recorder.close()
        self._features.close()
