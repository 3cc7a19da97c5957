"""Hidden categories of items, found by K-means among their vectors while these are learnt (MMM, section 3.3)."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from feature_repo.views.kmeans import k_means, nearest

__all__ = ["HiddenCategories"]

_NONE = -1


class HiddenCategories(nn.Module):
    """K centres, the category of each of N items, and a vector of each category that lies near its centre.

    The centres go on from where they were: a category keeps its number, and with it its vector.

    Args:
        categories: K.
        items: N.
        dimension: Width d of a vector.
    """

    def __init__(self, categories: int, items: int, dimension: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.zeros(min(categories, items), dimension))
        self.register_buffer("centres", torch.zeros(self.vectors.shape))
        self.register_buffer("category", torch.full((items,), _NONE))
        self.centres: Tensor
        self.category: Tensor

    def start(self, items: Tensor, known: Tensor, seed: int) -> None:
        """Find the first centres; the categories' vectors start at zero, where they change no score.

        Args:
            items: Vectors of all items, ``[N, d]``.
            known: Whose vector says something; the others have no category. bool ``[N]``.
            seed: Of the search.
        """
        found, _ = k_means(items[known].cpu().numpy(), len(self.centres), seed)
        with torch.no_grad():
            self.centres.zero_()
            self.centres[: len(found)] = torch.from_numpy(found).to(self.centres.device)
            self.vectors.zero_()
        self.assign(items, known)

    def estimate(self, items: Tensor, known: Tensor) -> None:
        """Eq. 9 once: every item to the nearest centre, every centre to the mean of its items, if it has any."""
        self.assign(items, known)
        members = self.category[known]
        sums = torch.zeros_like(self.centres).index_add_(0, members, items[known].detach())
        counts = torch.bincount(members, minlength=len(self.centres)).unsqueeze(1)
        self.centres.copy_(torch.where(counts > 0, sums / counts.clamp(min=1), self.centres))

    def assign(self, items: Tensor, known: Tensor) -> None:
        """Every item to the nearest centre, the upper half of eq. 9."""
        chosen, _ = nearest(items[known].detach().cpu().numpy(), self.centres.cpu().numpy())
        self.category.fill_(_NONE)
        self.category[known] = torch.from_numpy(chosen.astype(np.int64)).to(self.category.device)

    def of(self, items: Tensor) -> Tensor:
        """Vectors of the categories of items, ``[..., d]``; zeros where an item has none."""
        category = self.category[items]
        return embedding(category.clamp(min=0), self.vectors) * (category != _NONE).unsqueeze(-1)

    def penalties(self) -> tuple[Tensor, Tensor]:
        """The sums of squares of eq. 10, each halved: of the vectors less their centres, and of the vectors."""
        return (self.vectors - self.centres).square().sum() / 2, self.vectors.square().sum() / 2
