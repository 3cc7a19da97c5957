"""What recommenders that read item content have in common."""

from abc import abstractmethod
from dataclasses import replace
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from training.config import LearnedConfig
from training.content import ContentScaling, ItemContent, concatenated_content
from training.learned import LearnedRecommender
from training.recommender import Catalogue

__all__ = ["ContentRecommender"]


class ContentRecommender(LearnedRecommender):
    """A learned recommender that holds the content of its items."""

    reads_content = True

    def __init__(self, config: LearnedConfig, catalogue: Catalogue) -> None:
        super().__init__(config, catalogue)
        self.register_buffer("content", torch.zeros(catalogue.items, sum(catalogue.widths.values())))
        self.content: Tensor

    @property
    @abstractmethod
    def scaling(self) -> ContentScaling:
        """What is done to each modality's vectors before they are concatenated."""

    def scaled(self, content: ItemContent) -> Tensor:
        """Content of N items as the model holds it, ``[N, sum of widths]`` on the CPU.

        Raises:
            BadInput: There are no modalities.
        """
        return concatenated_content(content, self.scaling)

    def with_content(self, content: ItemContent) -> Self:
        scaled = self.scaled(content)
        model = self.like(len(scaled))
        shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
        # Only tables with a row for each item differ in shape; nothing was learnt of the items behind.
        state = {
            name: pad(tensor, (0, 0) * (tensor.dim() - 1) + (0, shapes[name][0] - tensor.shape[0]))
            if tensor.shape != shapes[name]
            else tensor
            for name, tensor in self.state().items()
        }
        model.load_state(state | self.content_state(scaled))
        return model.to(self.device).eval()

    def like(self, items: int) -> Self:
        """A model of the same kind for another number of items; its weights are to be loaded."""
        model = type(self)(self.config, replace(self.catalogue, items=items))
        model.make_room(self.state())
        return model

    def content_state(self, scaled: Tensor) -> dict[str, Tensor]:
        """The tensors of a model like this one that follow from its items' content.

        Args:
            scaled: As :meth:`scaled` gives it, ``[N, sum of widths]``.
        """
        return {"content": scaled}
