"""Which items a scorer ranks for a request, where its catalogue is too large to rank all of it.

Half of them are the most viewed; the other half are those that the people who had the user's items had too: the
largest inner products with the sum of the vectors of the items in the user's history. What a user has is read from the
request, so that users whom nobody knew in training have candidates of their own.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from training.retrieval import ExactIndex, Index, outside

if TYPE_CHECKING:
    from training.packages import LoadedPackage

__all__ = ["Candidates", "candidate_vectors", "candidates_of"]

Rows = npt.NDArray[np.int64]

_DIMENSION = 128
"""Leading factors of the interactions; as many as a two-tower model has components."""


class Candidates:
    """Finds the candidates of a scorer, the same ones for a user whoever else is asked at the same time.

    Args:
        vectors: Of items, ``[N, D]`` float32, as :func:`candidate_vectors` makes them.
        index: Over those vectors.
        popularity: Training views of each item, ``[N]``.
        count: How many candidates a request has.
    """

    def __init__(
        self, vectors: npt.NDArray[np.float32], index: Index, popularity: npt.NDArray[np.int64], count: int
    ) -> None:
        self.vectors = vectors
        self.index = index
        self.count = count
        self._by_views = np.argsort(-popularity, kind="stable")

    def user_vector(self, history: Rows) -> npt.NDArray[np.float32]:
        """The sum of the vectors of the distinct items of a history, ``[D]``; rows below zero are nobody's."""
        vector: npt.NDArray[np.float32] = self.vectors[np.unique(history[history >= 0])].sum(axis=0)
        return vector

    def of(self, history: Rows, k: int, banned: Rows, allowed: npt.NDArray[np.bool_] | None = None) -> Rows:
        """The items that are to be ranked for a user.

        Half of them are the most viewed, the others the nearest to the history. Where those are too few, as of a user
        without a history or where a graph finds no more, more of the most viewed take their place.

        Args:
            history: Item rows that the user has chosen.
            k: How many items are wanted; there are at least as many candidates.
            banned: Item rows that are not to be returned; those below zero are ignored.
            allowed: Whether an item may be returned, ``[N]``; all may if None.

        Returns:
            Distinct item rows, ascending; all that may be returned where those are no more than the candidates.
        """
        wanted = max(self.count, k)
        viewed = self._by_views if allowed is None else self._by_views[allowed[self._by_views]]
        viewed = viewed[: wanted + len(banned)]  # enough, were all that is banned in it
        viewed = viewed[outside(viewed, banned)][:wanted]
        user = self.user_vector(history)
        near = self.index.search(user, wanted, banned, allowed)[0] if user.any() else viewed
        in_turn = np.concatenate([viewed[: wanted // 2], near, viewed])
        first = np.sort(np.unique(in_turn, return_index=True)[1])[:wanted]
        return np.sort(in_turn[first])


def candidate_vectors(pairs: Rows, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """Vectors whose inner products say how many people had both of two items.

    With R the interactions and D the users' degrees, products are those of R^T D^-1 R, each user counting for less the
    more items the user has, as far as the leading factors tell of the interactions divided by the square roots of
    both degrees.

    Args:
        pairs: User row and item row of the training interactions, ``[n, 2]``.
        shape: Numbers of users and items.

    Returns:
        float32 ``[N, D]``, D at most 128; zeros of items nobody had.
    """
    import scipy.sparse
    from sklearn.utils.extmath import randomized_svd

    users, items = np.unique(pairs, axis=0).T
    of_user = np.bincount(users, minlength=shape[0]).clip(1)
    of_item = np.bincount(items, minlength=shape[1]).clip(1)
    matrix = scipy.sparse.csr_array(((of_user[users] * of_item[items]) ** -0.5, (users, items)), shape=shape)
    # Unlike Lanczos' method, this one ends where many factors are equally strong, as of groups that share nothing.
    _, strength, right = randomized_svd(matrix, min(_DIMENSION, *shape), random_state=0)
    vectors = right.T * strength * of_item[:, np.newaxis] ** 0.5
    # What rounding leaves of items nobody had would make them candidates in an order of no meaning.
    vectors[np.bincount(items, minlength=shape[1]) == 0] = 0
    return np.ascontiguousarray(vectors, dtype=np.float32)


def candidates_of(package: "LoadedPackage", index: Index | None = None) -> Candidates | None:
    """What finds the candidates of a package's scorer; None where every item is ranked, or there is nothing to rank.

    Args:
        package: The package.
        index: Over its candidate vectors; the package's graph, or an exact one, if None.
    """
    vectors = package.candidate_vectors
    if vectors is None:
        return None
    found_by = index or package.index or ExactIndex(vectors)
    return Candidates(vectors, found_by, package.popularity, package.manifest.candidates)
