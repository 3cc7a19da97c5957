"""The training pairs of a frame on their way to a model."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.batches import Samples, UserBatch
from training.negatives import SAMPLERS, NegativesAmong, Sampler

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame
    from training.learned import LearnedRecommender

__all__ = ["Feed"]


class Feed:
    """Makes an epoch's samples; holds the pairs and contexts on the model's device.

    Args:
        model: Its configuration says which negatives; a hard one is what it scores highest at the moment.
        frame: The training pairs.

    Raises:
        BadInput: A user has seen every item, so that there is no negative.
    """

    def __init__(self, model: "LearnedRecommender", frame: "TrainingFrame") -> None:
        device = model.device
        self._model = model
        self._pairs = torch.from_numpy(frame.train).to(device)
        self._context_rows: Tensor | None = None
        self._contexts: dict[str, Tensor] = {}
        if frame.train_context is not None:
            self._context_rows = torch.from_numpy(frame.train_context).to(device)
            self._contexts = {name: torch.from_numpy(table).to(device) for name, table in frame.contexts.items()}
        if model.config.sampler == "hard":
            self._history = torch.from_numpy(frame.history).to(device)
        make = SAMPLERS[model.config.sampler]
        self._sampler: Sampler
        if frame.negative_candidates is None:
            self._sampler = make(self._pairs, len(frame.users), len(frame.items), self._scores)
        else:
            candidates = torch.from_numpy(frame.negative_candidates).to(device)
            self._sampler = NegativesAmong(make, self._pairs, len(frame.users), candidates, self._scores)

    def samples(self, generator: torch.Generator) -> Iterator[Samples]:
        """The batches of one epoch.

        Args:
            generator: Draws the order and the negatives; on the device.
        """
        config = self._model.config
        for some in torch.split(self._model.visits(self._pairs, generator), config.batch_size):
            users, positives = self._pairs[some].T.contiguous()
            rows = None if self._context_rows is None else self._context_rows[some]
            context = {} if rows is None else {name: table[rows] for name, table in self._contexts.items()}
            drawn = self._sampler.sample(users, config.negatives, generator, positives=positives, context=context)
            yield Samples(users, positives, *drawn, context)

    def _scores(self, users: Tensor, items: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        self._model.eval()
        with torch.no_grad():
            scores = self._model.score(UserBatch(users, self._history[users], context), items)
        self._model.train()
        return scores
