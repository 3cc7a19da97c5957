"""Practising cold items: some of a batch's items are known by their content alone (DropoutNet, Volkovs et al. 2017)."""

import torch
from pydantic import Field
from torch import Tensor

from training.config import LearnedConfig
from training.content_recommender import ContentRecommender
from training.recommender import Catalogue

__all__ = ["ColdItems", "ColdItemsConfig"]


class ColdItemsConfig(LearnedConfig):
    """What a model that practises cold items can be told."""

    cold_rate: float = Field(default=0.0, ge=0, lt=1)
    """Share of the items of a batch that are taken for unknown: whatever was learned of them by their IDs is left out,
    so that their content has to do alone."""


class ColdItems(ContentRecommender):
    """A recommender by IDs and content whose content learns to do without the IDs."""

    config: ColdItemsConfig

    def __init__(self, config: ColdItemsConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self._generator = torch.Generator()

    def start_epoch(self, epoch: int, generator: torch.Generator) -> None:
        self._generator = generator

    def taken_for_cold(self, items: int) -> Tensor | None:
        """Which of so many items of a batch are taken for unknown, bool ``[n]``; None if there are to be none."""
        if not (self.training and self.config.cold_rate):
            return None
        drawn = torch.rand(items, generator=self._generator, device=self.device)
        return drawn < self.config.cold_rate
