"""How one model version turns users into lists: vectors, candidates, conditions, and fallbacks to fill up."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from contracts.errors import BadInput
from contracts.messages import Fallback, Filters, RecommendedItem
from serving.contexts import Brings, Context
from serving.draft import Draft, best_of
from serving.facts import FACTS, ItemFacts
from serving.fallback import Around, Neighbours
from serving.newcomers import Newcomers
from training.batches import UserBatch
from training.candidate_generation import candidates_of
from training.packages import LoadedPackage
from training.questions import question_of
from training.recommender import TwoTower
from training.requests import batch_of_rows
from training.retrieval import ExactIndex, Found, Index
from training.steady import steady_scores, steady_user_vectors

__all__ = ["Query", "Ranker", "Ranking"]

_Rows = npt.NDArray[np.int64]
_Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Query:
    """What is asked of a version. The champion and the shadow get the very same object."""

    user_id: str
    history: Sequence[str]
    """Videos the user has watched, oldest first; empty where nothing is known."""
    exclude: Sequence[str]
    """Videos not to return, besides those in the history."""
    k: int
    filters: Filters | None = None
    """What the videos must be like."""
    around: Around = ()
    """What the people around the user choose; read only where the champion needed it."""
    video_id: str | None = None
    """The video that is to get its music, on the surface of background music."""
    context: Context = field(default_factory=dict)
    """What the online store had of that video, or of the user's posts."""


@dataclass(frozen=True)
class Ranking:
    """A list, and how it came about."""

    items: list[RecommendedItem]
    query: Query
    """The query with what was read on the way."""
    fallbacks: list[Fallback] = field(default_factory=list)


class Ranker:
    """One model version, loaded and, where it has vectors to find candidates by, indexed.

    A two-tower model's best items are what its index finds. A scorer ranks candidates, as many as its manifest says:
    those of :class:`training.candidate_generation.Candidates`, which follow from the package and the query alone, of
    which nothing that is excluded, withdrawn or filtered out is one. Where the manifest names no number, it ranks all
    items. A shadow process, a Bento and a replay make such a ranker of the same package and hand it the same query, so
    that a version ranks the same candidates there, whoever else is asked at the same time.

    The chain has four steps, and every item says which supplied it. ``model``: the model's own order; its score is the
    inner product of user and item vector, or what a scorer says of the item. Where the model has nothing to say about
    the user (its ``can_score`` says no, as of an unknown user without a history it can read): ``neighbours``, videos
    like those the user saw last, by cosine; then ``network``, what the people around the user watch, by the sum of
    their ties. Then, and where the model runs out of items: ``popular``, by the number of views.

    Args:
        version: The registered version.
        package: Its package.
        facts: What requests filter by; None where the catalogue is not at hand.
        neighbours: Of the package's items; None where nothing says what they contain.
        index: Over the vectors that candidates are found by; the package's graph, or an exact one, if None.
        brings: Turns what requests bring into what the model was fitted with; as the manifest says if None.
    """

    def __init__(
        self,
        version: str,
        package: LoadedPackage,
        facts: ItemFacts | None = None,
        neighbours: Neighbours | None = None,
        index: Index | None = None,
        brings: Brings | None = None,
    ) -> None:
        self.version = version
        self.model = package.manifest.model
        self.package = package
        self._device = package.recommender.device
        self._candidates = candidates_of(package, index)
        self._index = None if package.item_vectors is None else index or package.index
        if self._index is None and package.item_vectors is not None:
            self._index = ExactIndex(package.item_vectors)
        self.items = package.items
        """Videos that can be returned: the package's, and behind them those admitted since."""
        self._popularity = package.popularity
        self._by_views = np.argsort(-package.popularity, kind="stable")
        self._facts = facts
        self._neighbours = neighbours
        self._brings = brings or Brings.of_manifest(package.manifest)
        self._again = not question_of(package.manifest.feature_service).protocol.exclude_seen
        """Whether people choose the same item again, so that lists are judged with what they have had."""
        self.newest: str | None = None
        """Snapshot whose new items it returns; None while it has looked at none."""
        self._there: _Mask | None = None
        """Videos not withdrawn; None while all are there."""

    def rank(self, query: Query) -> list[RecommendedItem]:
        """The ``k`` best videos that the user has not watched and the request does not exclude, best first."""
        return self.recommend([query])[0].items

    def recommend(
        self, queries: Sequence[Query], around: Callable[[Sequence[str]], Sequence[Around]] | None = None
    ) -> list[Ranking]:
        """:meth:`rank` for many users; those of equal filters that follow each other share one matrix product.

        Args:
            queries: What is asked.
            around: Gives what the people around users watch; asked only for users whom the steps before left short.
                Without it the queries have it.

        Raises:
            BadInput: The catalogue does not have what is filtered by.
        """
        rankings: list[Ranking] = []
        for filters, group in groupby(queries, key=lambda query: query.filters):
            rankings += self._of_group(list(group), self._allowed(filters), around)
        return rankings

    def leave_out(self, item_ids: Collection[str]) -> int:
        """Return these items no more and all others again, from the next request on; how many of them it knows."""
        rows = self.items.rows(list(item_ids))
        rows = rows[rows >= 0]
        there = None
        if len(rows):
            there = np.ones(len(self.items), dtype=bool)
            there[rows] = False
        self._there = there  # one assignment: a request under way keeps the mask it began with
        return len(rows)

    def admit(self, new: Newcomers) -> int:
        """Return new items too, from the next request on; nothing is built again. Between requests only.

        Returns:
            How many they are.

        Raises:
            BadInput: The model has no item vectors, or theirs are of another shape.
        """
        count, index, own = len(new.items) - len(self.items), self._index, self.package.item_vectors
        if new.vectors is not None:
            if index is None or own is None or new.vectors.shape != (count, own.shape[1]):
                raise BadInput(
                    f"new items for version {self.version}",
                    found=f"vectors {list(new.vectors.shape)} of {count} items",
                    expected="a model with item vectors" if own is None else f"{own.shape[1]} components of each",
                    next_step="encode them with the version's own item tower, or train again",
                )
            index.add(new.vectors)
        if self._neighbours is not None:
            self._neighbours.add(new.content, count)
        nothing = np.zeros(count, dtype=np.int64)
        self._by_views = np.concatenate([self._by_views, len(self._popularity) + np.arange(count)])
        self._popularity = np.concatenate([self._popularity, nothing])
        if self._there is not None:
            self._there = np.concatenate([self._there, nothing == 0])
        self._facts = new.facts or self._facts
        self.items = new.items
        return count

    def batch(self, queries: Sequence[Query]) -> UserBatch:
        """What the model gets for some requests."""
        return self._batch(queries, self._rows([query.history for query in queries]))

    def _allowed(self, filters: Filters | None) -> _Mask | None:
        there = self._there
        if filters is None:
            return there
        if self._facts is None:
            raise BadInput(
                "request field 'filters'",
                found="no table of the items beside the model",
                expected=f"the offline table of the model's snapshot, with {', '.join(FACTS)}",
                next_step="leave the filters out, or ingest the model's data in the home that serves",
            )
        passed = np.zeros(len(self.items), dtype=bool)
        told = self._facts.allowed(filters)
        passed[: len(told)] = told
        return passed if there is None else passed & there

    def _of_group(
        self,
        queries: list[Query],
        allowed: _Mask | None,
        around: Callable[[Sequence[str]], Sequence[Around]] | None,
    ) -> list[Ranking]:
        items = self.items
        seen, banned = self._rows([q.history for q in queries]), self._rows([q.exclude for q in queries])
        if not self._again:
            banned = [np.concatenate(pair) for pair in zip(seen, banned, strict=True)]
        drafts = [Draft(items, query.k, rows, allowed) for query, rows in zip(queries, banned, strict=True)]
        strangers = []
        for row, found in enumerate(self._best(self._batch(queries, seen), queries, banned, allowed)):
            if found is not None:
                drafts[row].take_checked("model", *found)
                continue
            strangers.append(row)
            if self._neighbours is not None and (cosines := self._cosines(seen[row])).any():
                # Nothing is its own neighbour, also where it may be returned.
                known = np.concatenate([seen[row], banned[row]])
                rows, values = best_of(cosines, queries[row].k, known, allowed)
                drafts[row].take("neighbours", rows[values > 0], values[values > 0])
        short = [row for row in strangers if drafts[row].missing]
        if around is not None and short:
            for row, videos in zip(short, around([queries[row].user_id for row in short]), strict=True):
                queries[row] = replace(queries[row], around=videos)
        for row in short:
            rows = items.rows([video for video, _ in queries[row].around])
            scores = np.array([score for _, score in queries[row].around], np.float32)
            drafts[row].take("network", rows[rows >= 0], scores[rows >= 0])
        for draft in drafts:
            if draft.missing:
                draft.take_popular(self._by_views, self._popularity)
        unknown = set(strangers)
        return [
            Ranking(draft.items, query, _fallbacks(draft, "unknown_user" if row in unknown else "too_few"))
            for row, (draft, query) in enumerate(zip(drafts, queries, strict=True))
        ]

    def _rows(self, lists: Sequence[Sequence[str]]) -> list[_Rows]:
        """Item rows of each list, by one look-up."""
        ends = np.cumsum([len(each) for each in lists])
        return np.split(self.items.rows([item for each in lists for item in each]), ends[:-1])

    def _cosines(self, seen: _Rows) -> npt.NDArray[np.float32]:
        assert self._neighbours is not None
        cosines = np.zeros(len(self.items), np.float32)
        told = len(self._neighbours)
        cosines[:told] = self._neighbours.of(seen[seen < told])
        return cosines

    def _batch(self, queries: Sequence[Query], seen: Sequence[_Rows]) -> UserBatch:
        brought = self._brings.of([query.context for query in queries], [query.video_id for query in queries])
        return batch_of_rows(self.package, [query.user_id for query in queries], seen, brought)

    def _best(
        self, batch: UserBatch, queries: Sequence[Query], banned: Sequence[_Rows], allowed: _Mask | None
    ) -> list[Found | None]:
        """Item rows and scores of each user, best first; None where the model has nothing to say about the user."""
        batch = batch.to(self._device)
        model, k = self.package.recommender, max(query.k for query in queries)
        best: list[Found | None] = [None] * len(queries)
        with torch.inference_mode():
            able = np.flatnonzero(model.can_score(batch).cpu().numpy()).tolist()
            if not able:
                return best
            scored = len(self.package.items) if self._index is None else len(self._index)
            if scored < len(self.items):  # of those behind, the model says nothing
                banned = [rows[rows < scored] for rows in banned]
                allowed = None if allowed is None else allowed[:scored]
            if isinstance(model, TwoTower) and self._index is not None:
                vectors = steady_user_vectors(model, batch).float().cpu().numpy()[able]
                for row, found in zip(
                    able, self._index.search_all(vectors, k, [banned[row] for row in able], allowed), strict=True
                ):
                    best[row] = found
                return best
        for row in able:
            best[row] = self._of_scorer(batch, row, queries[row].k, banned[row], allowed)
        return best

    def _of_scorer(self, batch: UserBatch, row: int, k: int, banned: _Rows, allowed: _Mask | None) -> Found:
        if self._candidates is None:
            return best_of(steady_scores(self.package, batch, row), k, banned, allowed)
        candidates = self._candidates.of(batch.history[row].cpu().numpy(), k, banned, allowed)
        if not len(candidates):
            return candidates, np.zeros(0, np.float32)
        places, scores = best_of(steady_scores(self.package, batch, row, candidates), k, banned[:0])
        return candidates[places], scores


def _fallbacks(draft: Draft, reason: Literal["unknown_user", "too_few"]) -> list[Fallback]:
    return [Fallback(step=step, reason=reason) for step in draft.steps if step != "model"]
