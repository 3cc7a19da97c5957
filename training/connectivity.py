"""ID embeddings averaged over the graph of users and items, with the edges to be predicted left out."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.graph import mean_of_layers, normalised_adjacency

__all__ = ["Connectivity"]


class Connectivity:
    """Means over steps of propagation (LightGCN, eqs. 3-5 and 7), where a batch does not see its own pairs.

    Two nodes joined by an edge have much of each other in their means, which is no evidence for the edge: a model that
    is trained with it learns to recognise the pairs it has, and not those it lacks.

    Args:
        pairs: Edges (user row, item row), distinct, ``[n, 2]``.
        users: Number of users.
        items: Number of items.
        steps: Steps of propagation K, at least 1.
        device: Where it computes.
    """

    def __init__(self, pairs: npt.NDArray[np.int64], users: int, items: int, steps: int, device: torch.device) -> None:
        self._users, self._items, self._steps = users, items, steps
        whole = normalised_adjacency(pairs, users, items)
        starts, columns = whole.crow_indices(), whole.col_indices()
        rows = torch.repeat_interleave(torch.arange(users + items), starts.diff())
        user, item = torch.minimum(rows, columns), torch.maximum(rows, columns) - users
        keys = user * items + item
        self._keys = keys[: len(pairs)].to(device)  # The upper half: users' rows, ascending.
        self._edge = torch.searchsorted(keys[: len(pairs)], keys).to(device)
        self._starts, self._columns, self._rows = starts.to(device), columns.to(device), rows.to(device)
        self._whole = whole.to(device)

    def means(
        self, users: Tensor, items: Tensor, without: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Mean over layers 0 to K of every user's and every item's embedding.

        Args:
            users: ``[U, d]``.
            items: ``[N, d]``.
            without: User rows and item rows ``[B]`` of edges to leave out, those that exist; none if None.
        """
        graph = self._whole if without is None else self._graph_without(*without)
        mean = mean_of_layers(graph, torch.cat([users, items]), self._steps)
        return mean[: self._users], mean[self._users :]

    def _graph_without(self, users: Tensor, items: Tensor) -> Tensor:
        wanted = users * self._items + items
        found = torch.searchsorted(self._keys, wanted).clamp(max=len(self._keys) - 1)
        kept = torch.ones(len(self._keys), device=self._keys.device)
        kept[found[self._keys[found] == wanted]] = 0
        values = kept[self._edge]
        degrees = torch.zeros(self._users + self._items, device=values.device).index_add(0, self._rows, values)
        scale = degrees.clamp(min=1).rsqrt()
        return torch.sparse_csr_tensor(
            self._starts,
            self._columns,
            values * scale[self._rows] * scale[self._columns],
            size=self._whole.shape,
            check_invariants=False,
        )
