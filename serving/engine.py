"""Answers requests: features once, the champion's list, and beside the answer its record and the shadow's turn."""

import gc
import threading
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from contracts.clock import utc_now
from contracts.messages import RecommendRequest
from contracts.surfaces import BACKGROUND_MUSIC, Surface
from serving.answering import Answer, Answering, Deadlines
from serving.batching import Gatherer, Gathering
from serving.lineup import Lineup
from serving.newcomers import Newcomers
from serving.recommend import Ranker
from serving.records import Listed, Recorder
from serving.shadow import ShadowTask

if TYPE_CHECKING:
    from serving.following import Follower

__all__ = ["Engine"]

_NO_VIDEO = "warm-up"


class Engine:
    """A line-up of versions with the recorder of what they serve.

    Args:
        surface: Name of the registered model.
        lineup: The champion, its features, and the shadows.
        recorder: Takes the served lists.
        deadlines: Of the reads from the online store.
        executor: One thread that ranks for all engines of the process; who gives it closes it, and the recorder. The
            engine has its own, and closes both, if None.
        gathering: How many requests that wait for it are answered together.
    """

    def __init__(
        self,
        surface: Surface,
        lineup: Lineup,
        recorder: Recorder,
        deadlines: Deadlines | None = None,
        executor: ThreadPoolExecutor | None = None,
        gathering: Gathering | None = None,
    ) -> None:
        self._surface: Surface = surface
        self._lineup = lineup
        self._recorder = recorder
        self._follower: Follower | None = None
        self.feedback = recorder.feedback
        self._answering = Answering(surface, deadlines)
        self._left_out: frozenset[str] = frozenset()
        self.newest: str | None = None
        """Snapshot whose new items are returned; None while nobody has looked for any."""
        self._changing = threading.Lock()
        # One thread: ranking is bound by the processor, and the event loop stays free for health checks.
        self.executor = executor or ThreadPoolExecutor(1, thread_name_prefix="rank")
        self.gatherer = Gatherer(self.executor, self.answer_all, gathering or Gathering())
        """Where single requests wait, and are answered together."""
        self._alone = executor is None

    def answer(self, request: RecommendRequest) -> Answer:
        """:meth:`answer_all` for one."""
        return self.answer_all([request])[0]

    def answer_all(self, requests: Sequence[RecommendRequest]) -> list[Answer]:
        """The champion's lists for requests, in their order. Nothing is recorded yet; see :meth:`aside`.

        Raises:
            BadInput: The catalogue does not have what a request filters by.
        """
        answers = self._answering.answers(self._lineup, requests)
        self._recorder.announce(len(answers))
        return answers

    def aside(self, answer: Answer) -> None:
        """What happens beside an answer: it is recorded, and the shadows are offered the same query. Never waits."""
        response = answer.response
        self._recorder.put(
            Listed(
                utc_now(),
                response,
                answer.query.user_id,
                answer.query.video_id,
                answer.latency_ms,
                answer.propensities,
                answer.teams,
            )
        )
        self._recorder.sample(answer, self._left_out, self.newest)
        task = ShadowTask(response.response_id, answer.query, answer.reading_ms, time.monotonic())
        for shadow in self._lineup.shadows:
            shadow.offer(task)

    @property
    def surface(self) -> Surface:
        """What it answers for."""
        return self._surface

    @property
    def lineup(self) -> Lineup:
        """Who serves now."""
        return self._lineup

    def swap(self, lineup: Lineup) -> None:
        """Have the next requests served by another line-up; those under way end as they began."""
        with self._changing:
            for ranker in lineup.rankers:
                ranker.leave_out(self._left_out)
            for shadow in lineup.shadows:
                if shadow not in self._lineup.shadows:
                    shadow.leave_out(self._left_out)
                    if self.newest is not None:
                        shadow.admit(self.newest)
            self._lineup = lineup

    @property
    def left_out(self) -> frozenset[str]:
        """Items that nobody is served."""
        return self._left_out

    def leave_out(self, item_ids: Collection[str]) -> int:
        """Serve these items no more and all others again, by whoever answers now or later; how many are known."""
        with self._changing:
            self._left_out = frozenset(item_ids)
            for shadow in self._lineup.shadows:
                shadow.leave_out(self._left_out)
            known = [ranker.leave_out(self._left_out) for ranker in self._lineup.rankers]
            return known[0]

    def admit(self, ranker: Ranker, new: Newcomers) -> int:
        """Have a version return new items too, between two requests; how many they are."""

        def between_requests() -> int:
            with self._changing:
                count = ranker.admit(new)
                ranker.leave_out(self._left_out)
                return count

        return self.executor.submit(between_requests).result()

    def follow(self, follower: "Follower") -> None:
        """Have something keep the line-up in step with the registry, from here until :meth:`close`."""
        self._follower = follower
        follower.start()

    def status(self) -> dict[str, Any]:
        """Which versions serve, why a shadow does not where it should, and how far the work beside the answers is."""
        lineup = self._lineup
        shadows = [shadow.status() for shadow in lineup.shadows]
        return {
            "surface": self._surface,
            "champion": {"version": lineup.champion.version, "model": lineup.champion.model},
            "shadow": shadows[0] if shadows else None,
            "shadows": shadows,
            "shadow_fault": asdict(lineup.faults[0]) if lineup.faults else None,
            "shadow_faults": [asdict(fault) for fault in lineup.faults],
            "experiment": lineup.experiment and lineup.experiment.status(),
            "following": self._follower and self._follower.status(),
            "records": {
                "written": self._recorder.written,
                "lost": self._recorder.lost,
                "pending": self._recorder.pending,
                "gaps_before": [gap.as_dict() for gap in self._recorder.gaps_before],
            },
            "features": self._answering.counts(),
            "batching": {"answered": self.gatherer.answered, "turns": self.gatherer.turns},
        }

    def warm_up(self, user_ids: Sequence[str]) -> None:
        """Run the whole path until its lazy parts are loaded, then keep the garbage collector off what is there.

        A full collection walks every object of the libraries and shows as latency spikes of 0.2 s.

        Args:
            user_ids: Users the champion knows, so that its model and its index are used.

        Raises:
            NotFound: Nothing of the champion's data is in the online store.
            ServiceUnavailable: The online store does not answer.
        """
        # Without a deadline: what an answer may do without, a start may not.
        self._lineup.features.user_history(user_ids)
        for user in user_ids:
            # Not by `answer`, which counts what users see.
            video = _NO_VIDEO if self._surface == BACKGROUND_MUSIC else None
            request = RecommendRequest(surface=self._surface, user_id=user, video_id=video)
            self.executor.submit(self._answering.answers, self._lineup, [request]).result()
        gc.collect()
        gc.freeze()

    def close(self) -> None:
        """Finish what was begun: requests, the shadows' queues, the records."""
        if self._follower is not None:
            self._follower.close()
        if self._alone:
            self.executor.shutdown()
        self._answering.close()
        for shadow in self._lineup.shadows:
            shadow.close()
        if self._alone:
            self._recorder.close()
        self._lineup.features.close()
