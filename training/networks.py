"""Several networks of users, whose vectors they bring near to each other (MMM, section 3.5)."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from training.histories import HistorySum, history_sum
from training.sized import SizedByData

__all__ = ["UserNetworks", "shared_interests"]

_ROWS = 1024
"""Users compared with all others at a time."""


def shared_interests(
    pairs: npt.NDArray[np.int64], shape: tuple[int, int], neighbours: int, shrinkage: float
) -> sp.csr_array:
    """The network of users who chose the same items: each is tied to the most similar others.

    Users are as similar as the number of items that they share over (sqrt(a) sqrt(b) + shrinkage), where a and b are
    their numbers of items; of those equally similar the first.

    Args:
        pairs: User row and item row, distinct, ``[n, 2]``.
        shape: Numbers of users and items.
        neighbours: Ties of a user at most; nobody is tied to someone without a common item.
        shrinkage: See above.

    Returns:
        float32 ``[U, U]``, the similarity where there is a tie.
    """
    seen = sp.csr_array((np.ones(len(pairs), np.float32), (pairs[:, 0], pairs[:, 1])), shape=shape)
    counts, by_item = np.bincount(pairs[:, 0], minlength=shape[0]), seen.T.tocsr()
    rows, columns, values = [], [], []
    for start in range(0, shape[0], _ROWS):
        shared = (seen[start : start + _ROWS] @ by_item).tocoo()
        row, column = shared.row.astype(np.int64), shared.col.astype(np.int64)
        similarity = shared.data / (np.sqrt(counts[row + start]) * np.sqrt(counts[column]) + shrinkage)
        others = row + start != column
        row, column, similarity = row[others], column[others], similarity[others]
        order = np.lexsort((column, -similarity, row))
        first = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=_ROWS))])
        kept = order[np.arange(len(order)) - first[row[order]] < neighbours]
        rows.append(row[kept] + start)
        columns.append(column[kept])
        values.append(similarity[kept].astype(np.float32))
    cells = (np.concatenate(rows), np.concatenate(columns))
    return sp.csr_array((np.concatenate(values), cells), shape=(shape[0], shape[0]))


class UserNetworks(SizedByData):
    """A vector of each of U users in each of K networks, and how much each network says about a user.

    Args:
        users: Number of users U.
        dimension: Width d of a vector.
    """

    sized = ("vectors", "impact")

    def __init__(self, users: int, dimension: int) -> None:
        super().__init__()
        self.vectors = nn.Parameter(torch.zeros(0, users, dimension))
        """u^k, ``[K, U, d]``."""
        self.impact = nn.Parameter(torch.zeros(0, users))
        """a of eq. 13, ``[K, U]``; the softmax of it is over the networks in which a user has ties."""
        self._means: list[HistorySum] = []
        self._tied = torch.zeros(0, users, dtype=torch.bool)

    def start(self, networks: Mapping[str, sp.csr_array], vectors: Tensor) -> None:
        """Take the networks, every tie of a user with equal weight T = 1 / number of ties.

        Args:
            networks: Name → ``[U, U]``, from row to column; in order of name.
            vectors: Of the users to start from, ``[U, d]``.
        """
        device = self.vectors.device
        for name in self.sized:
            self.resize(name, len(networks))
        self._means, tied = [], []
        for place, network in enumerate(networks[key] for key in sorted(networks)):
            ties = sp.csr_array((np.ones(network.nnz, np.float32), network.indices, network.indptr), network.shape)
            count = np.asarray(ties.sum(axis=1)).ravel()
            means = sp.csr_array(sp.diags_array(1 / count.clip(1)) @ ties)
            self._means.append(HistorySum(_tensor(means), _tensor(sp.csr_array(means.T))).to(device))
            tied.append(torch.from_numpy(count > 0))
            with torch.no_grad():
                self.vectors[place].copy_(vectors)
        self._tied = torch.stack(tied).to(device) if tied else self.impact.detach().bool()

    @property
    def tied(self) -> Tensor:
        """Who has ties in each network, bool ``[K, U]``."""
        return self._tied

    def neighbours(self, table: Tensor | None = None) -> Tensor:
        """Eq. 12: the mean over the ties of each user in each network, ``[K, U, d]``; zeros without ties.

        Args:
            table: Of what, ``[U, d]`` in every network; the networks' own vectors if None.
        """
        tables = self.vectors if table is None else [table] * len(self._means)
        with torch.autocast(self.vectors.device.type, enabled=False):  # Sparse products know float32 only.
            means = [history_sum(mean, table) for mean, table in zip(self._means, tables, strict=True)]
        return torch.stack(means) if means else torch.zeros_like(self.vectors)

    def mixed(self, vectors: Tensor) -> Tensor:
        """Eq. 13 of vectors ``[K, U, d]``: ``[U, d]``, zeros for a user without any tie."""
        # Not minus infinity, of which a user without ties would have nothing but NaN for a gradient.
        lowest = torch.finfo(self.impact.dtype).min
        weights = torch.softmax(self.impact.masked_fill(~self._tied, lowest), dim=0) * self._tied
        return (weights.unsqueeze(2) * vectors).sum(0)

    def penalties(self, users: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The three sums of squares of eq. 15, each halved, over users with ties.

        Args:
            users: u of all users, ``[U, d]``.

        Returns:
            Of u less what the networks say (eq. 13), of u^k less the mean of the neighbours' (eq. 12), and of u^k.
        """
        tied = self._tied.unsqueeze(2)
        apart = (users - self.mixed(self.vectors)) * self._tied.any(0).unsqueeze(1)
        alone = (self.vectors - self.neighbours()) * tied
        first, second, third = (part.square().sum() / 2 for part in (apart, alone, self.vectors * tied))
        return first, second, third


def _tensor(matrix: sp.csr_array) -> Tensor:
    matrix.sort_indices()
    return torch.sparse_csr_tensor(
        torch.from_numpy(matrix.indptr.astype(np.int64)),
        torch.from_numpy(matrix.indices.astype(np.int64)),
        torch.from_numpy(matrix.data.astype(np.float32)),
        size=matrix.shape,
        check_invariants=True,
    )
