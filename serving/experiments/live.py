"""An experiment at work: which list each request gets, and what is to be recorded of how it came about."""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from contracts.errors import BadInput
from contracts.experiments import CHALLENGER, CHAMPION, INTERLEAVED, SHUFFLED, Experiment
from contracts.messages import RecommendedItem
from serving.analysis.assignment import Assignment
from serving.analysis.interleaving import CHALLENGER as THEIRS
from serving.analysis.interleaving import team_draft
from serving.experiments.exploring import explore
from serving.fallback import Around
from serving.recommend import Query, Ranker, Ranking

__all__ = ["LiveExperiment", "Served", "interleaved"]

_LOG = logging.getLogger("backbeat.serving")

_Reads = Callable[[Sequence[str]], Sequence[Around]] | None


@dataclass(frozen=True)
class Served:
    """A list, whose it is, and what the experiment makes known of it."""

    ranking: Ranking
    ranker: Ranker
    """The version that the response names."""
    experiment: str | None = None
    arm: str | None = None
    propensities: tuple[float, ...] | None = None
    """Chance of each item in its place; None where it is not known."""
    teams: tuple[int, ...] | None = None
    """Whose each item of an interleaved list is."""


class LiveExperiment:
    """An experiment with the version it tries, loaded and proven.

    A version that fails on a request, or answers what cannot be shown, costs the user nothing: the champion answers.
    The arm stays, so that the failure counts against whom it belongs to.

    Args:
        experiment: What is to be done.
        challenger: The version on trial; None in an exploration.
    """

    def __init__(self, experiment: Experiment, challenger: Ranker | None) -> None:
        self.experiment = experiment
        self.challenger = challenger
        self._assignment = Assignment(experiment.name, experiment.weights) if experiment.mode == "ab" else None

    def status(self) -> dict[str, Any]:
        """What runs, for people."""
        about = {"name", "mode", "champion", "challenger", "weights", "epsilon", "top", "started_at", "started_by"}
        return {name: value for name, value in self.experiment.as_dict().items() if name in about}

    def serve(
        self, champion: Ranker, queries: Sequence[Query], around: _Reads, response_ids: Sequence[str]
    ) -> list[Served]:
        """The lists of some requests, in their order.

        Args:
            champion: Who serves outside of experiments.
            queries: What is asked.
            around: As for :meth:`serving.recommend.Ranker.recommend`.
            response_ids: Of each request.

        Raises:
            BadInput: The champion's catalogue does not have what is filtered by.
        """
        if self.experiment.mode == "exploration":
            return self._explored(champion, queries, around, response_ids)
        assert self.challenger is not None
        if self._assignment is None:
            return self._interleaved(champion, self.challenger, queries, around, response_ids)
        return self._split(champion, self.challenger, self._assignment, queries, around)

    def _split(
        self, champion: Ranker, challenger: Ranker, assignment: Assignment, queries: Sequence[Query], around: _Reads
    ) -> list[Served]:
        arms = [assignment.arm(query.user_id) for query in queries]
        found: dict[int, Served] = {}
        for arm, ranker in ((CHAMPION, champion), (CHALLENGER, challenger)):
            rows = [row for row, of in enumerate(arms) if of == arm]
            if not rows:
                continue
            asked = [queries[row] for row in rows]
            rankings = None if arm == CHAMPION else self._tried(ranker, asked, around)
            if rankings is None:
                ranker, rankings = champion, champion.recommend(asked, around)
            for row, ranking in zip(rows, rankings, strict=True):
                found[row] = Served(ranking, ranker, self.experiment.name, arm)
        return [found[row] for row in range(len(queries))]

    def _interleaved(
        self,
        champion: Ranker,
        challenger: Ranker,
        queries: Sequence[Query],
        around: _Reads,
        response_ids: Sequence[str],
    ) -> list[Served]:
        own = champion.recommend(queries, around)
        other = self._tried(challenger, [ranking.query for ranking in own], None)
        name = self.experiment.name
        if other is None:
            return [Served(ranking, champion, name, INTERLEAVED) for ranking in own]
        served = []
        for mine, theirs, response_id in zip(own, other, response_ids, strict=True):
            items, teams = interleaved(mine.items, theirs.items, mine.query.k, name, response_id)
            served.append(Served(replace(mine, items=items), champion, name, INTERLEAVED, teams=teams))
        return served

    def _explored(
        self, champion: Ranker, queries: Sequence[Query], around: _Reads, response_ids: Sequence[str]
    ) -> list[Served]:
        epsilon, top, name = self.experiment.epsilon, self.experiment.top, self.experiment.name
        assert epsilon is not None
        assert top is not None
        served = []
        wider = champion.recommend([replace(query, k=max(query.k, top)) for query in queries], around)
        for query, ranking, response_id in zip(queries, wider, response_ids, strict=True):
            shown = explore(ranking.items, query.k, epsilon, name, response_id)
            ranking = replace(ranking, items=list(shown.items), query=replace(ranking.query, k=query.k))
            arm = SHUFFLED if shown.shuffled else CHAMPION
            served.append(Served(ranking, champion, name, arm, propensities=shown.propensities))
        return served

    def _tried(self, challenger: Ranker, queries: Sequence[Query], around: _Reads) -> list[Ranking] | None:
        """What the version on trial answers; None where it fails."""
        try:
            rankings = challenger.recommend(queries, around)
            _require_sense(challenger.version, rankings)
        except Exception:  # noqa: BLE001 - whatever its model does, the user gets a list
            _LOG.exception(
                "experiment %s: version %s failed; the champion answers", self.experiment.name, challenger.version
            )
            return None
        return rankings


def interleaved(
    mine: Sequence[RecommendedItem], theirs: Sequence[RecommendedItem], k: int, salt: str, request: str
) -> tuple[list[RecommendedItem], tuple[int, ...]]:
    """The interleaved list of two, each item with the score and the step of whose it is; and the teams.

    Args:
        mine: The champion's.
        theirs: The challenger's.
        k: Length at most.
        salt: Name of the experiment.
        request: Response id.
    """
    first, second = ({item.item_id: item for item in items} for items in (mine, theirs))
    draft = team_draft(list(first), list(second), k, salt, request)
    items = [
        (second if team == THEIRS or item_id not in first else first)[item_id]
        for item_id, team in zip(draft.items, draft.teams, strict=True)
    ]
    return items, draft.teams


def _require_sense(version: str, rankings: Sequence[Ranking]) -> None:
    for ranking in rankings:
        ids = {item.item_id for item in ranking.items}
        unordered = [item.score for item in ranking.items if not math.isfinite(item.score)]
        if unordered or len(ids) < len(ranking.items):
            raise BadInput(
                f"list of version {version}",
                found=f"score {unordered[0]}" if unordered else "an item twice",
                expected="distinct items with finite scores",
                next_step="end the experiment; do not promote the version",
            )
