"""Similarities of items by a ridge regression of each on all others."""

from typing import Final

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.sparse

from contracts.errors import BadInput

__all__ = ["RIDGE_LIMIT", "ridge_similarities"]

RIDGE_LIMIT: Final = 20_000
"""Items at most: two square float64 matrices of them take 6 GiB."""


def ridge_similarities(
    pairs: npt.NDArray[np.int64], shape: tuple[int, int], *, penalty: float, activity_exponent: float
) -> npt.NDArray[np.float32]:
    """Weights B that give back the interactions, X B = X, without using an item for itself (Steck, WWW 2019, eq. 8).

    A user who has seen n items counts n to minus ``activity_exponent`` in the squares, as in Steck's weighted variants.

    Args:
        pairs: User row and item row, distinct, ``[n, 2]``.
        shape: Numbers of users and items.
        penalty: Of the ridge, in users.
        activity_exponent: See above; 0 is the paper's.

    Returns:
        What having seen the item of a row says of the item of a column, ``[N, N]``; zero on the diagonal, and where
        either was never seen.

    Raises:
        BadInput: There are too many items for it.
    """
    if shape[1] > RIDGE_LIMIT:
        raise BadInput(
            "similarities of items by ridge regression",
            found=f"{shape[1]:,} items",
            expected=f"at most {RIDGE_LIMIT:,}, whose pairs fit into memory",
            next_step="leave the option `similarities` unset",
        )
    users, items = pairs.T
    weights = np.bincount(users, minlength=shape[0])[users].astype(np.float64) ** -activity_exponent
    seen = scipy.sparse.csr_array((np.ones(len(users)), (users, items)), shape=shape)
    weighted = scipy.sparse.csr_array((weights, (users, items)), shape=shape)
    squares = (weighted.T @ seen).toarray()
    squares[np.diag_indices(shape[1])] += penalty
    inverse = scipy.linalg.inv(squares, overwrite_a=True, check_finite=False)
    similarities: npt.NDArray[np.float32] = (inverse / -inverse.diagonal()).astype(np.float32)
    np.fill_diagonal(similarities, 0)
    return similarities
