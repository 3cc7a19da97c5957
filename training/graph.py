"""The user-item graph, and propagation over it."""

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import Tensor

__all__ = ["normalised_adjacency", "propagate"]


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


class _SymmetricProduct(torch.autograd.Function):
    """``graph @ x``; since the graph is symmetric, its gradient is ``graph @ gradient``, again a CSR product."""

    @staticmethod
    def forward(context: Any, graph: Tensor, x: Tensor) -> Tensor:
        context.graph = graph
        return graph @ x

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        return None, context.graph @ gradients[0]


def propagate(graph: Tensor, x: Tensor) -> Tensor:
    """One step of neighbourhood averaging, differentiable in ``x``.

    Args:
        graph: Symmetric sparse CSR ``[n, n]``.
        x: ``[n, d]``.
    """
    with torch.autocast(x.device.type, enabled=False):  # Sparse products know float32 only.
        product: Tensor = _SymmetricProduct.apply(graph, x.float())  # type: ignore[no-untyped-call]
    return product
