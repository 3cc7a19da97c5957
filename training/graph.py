"""The user-item graph, and propagation over it."""

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

__all__ = ["mean_of_layers", "normalised_adjacency"]


def normalised_adjacency(pairs: npt.NDArray[np.int64], users: int, items: int) -> Tensor:
    """Symmetrically normalised adjacency of the bipartite graph (LightGCN, eq. 7): D^-1/2 A D^-1/2.

    Args:
        pairs: Edges (user row, item row), distinct, ``[n, 2]``.
        users: Number of users; their nodes come first.
        items: Number of items.

    Returns:
        Sparse CSR float32 ``[users + items, users + items]`` with 1 / sqrt(degree(a) degree(b)) on each edge;
        rows of isolated nodes are empty.
    """
    rows = np.concatenate([pairs[:, 0], pairs[:, 1] + users])
    columns = np.concatenate([pairs[:, 1] + users, pairs[:, 0]])
    nodes = users + items
    degree = np.bincount(rows, minlength=nodes)
    values = (1 / np.sqrt(degree[rows] * degree[columns].astype(np.float64))).astype(np.float32)
    graph = sp.coo_matrix((values, (rows, columns)), shape=(nodes, nodes)).tocsr()
    return torch.sparse_csr_tensor(
        torch.from_numpy(graph.indptr.astype(np.int64)),
        torch.from_numpy(graph.indices.astype(np.int64)),
        torch.from_numpy(graph.data),
        size=graph.shape,
        check_invariants=True,
    )


class _MeanOfLayers(torch.autograd.Function):
    """A polynomial in a symmetric matrix is symmetric: its gradient is the same polynomial of the gradient."""

    @staticmethod
    def forward(context: Any, graph: Tensor, x: Tensor, steps: int) -> Tensor:
        context.graph, context.steps = graph, steps
        return _mean(graph, x, steps)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[None, Tensor, None]:
        return None, _mean(context.graph, gradients[0], context.steps), None


def mean_of_layers(graph: Tensor, x: Tensor, steps: int) -> Tensor:
    """Mean of ``x`` and of what each of some steps of propagation makes of it (LightGCN, eqs. 3-4 and 7-8),
    differentiable in ``x``.

    Args:
        graph: Symmetric sparse CSR ``[n, n]``.
        x: ``[n, d]``.
        steps: K, at least 0.
    """
    with torch.autocast(x.device.type, enabled=False):  # Sparse products know float32 only.
        mean: Tensor = _MeanOfLayers.apply(graph, x.float(), steps)  # type: ignore[no-untyped-call]
    return mean


def _mean(graph: Tensor, x: Tensor, steps: int) -> Tensor:
    layer, share = x.contiguous(), 1 / (steps + 1)
    mean = layer * share
    for _ in range(steps):
        layer = _product(graph, layer)
        mean.add_(layer, alpha=share)
    return mean


def _product(graph: Tensor, x: Tensor) -> Tensor:
    if x.device.type != "cpu":
        return graph @ x
    # A weighted sum of embeddings for each row is the same product, several times faster than the sparse one.
    return embedding_bag(
        graph.col_indices(),
        x,
        graph.crow_indices(),
        mode="sum",
        per_sample_weights=graph.values(),
        include_last_offset=True,
    )
