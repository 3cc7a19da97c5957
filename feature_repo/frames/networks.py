"""Who is tied to whom, as sparse matrices over the rows of users."""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy.sparse import csr_array

from contracts.vocabulary import UNKNOWN, Vocabulary
from feature_repo.frames.events import rows_of
from feature_repo.frames.lookup import Lookup

__all__ = ["NETWORK_VIEWS", "networks_of_users"]

NETWORK_VIEWS = "user_network_"
"""What the names of the views of networks begin with."""


def networks_of_users(lookup: Lookup, users: Vocabulary, views: Iterable[str]) -> dict[str, csr_array]:
    """Network → float32 ``[U, U]``, the weight of each user's tie (row) to another (column), known before the cut.

    As in serving: the 50 heaviest ties of a user, as of the midnight after the user's last active day (ADR 12).

    Args:
        lookup: Of the snapshot.
        users: Who has a row.
        views: Of networks.
    """
    names = list(views)
    if not names:
        return {}
    ids = pa.array(users.ids(range(len(users))), pa.string())
    found = lookup.at("user_id", ids, lookup.before_cut, names)
    return {name.removeprefix(NETWORK_VIEWS): _matrix(found, name, users) for name in names}


def _matrix(found: pa.Table, view: str, users: Vocabulary) -> csr_array:
    neighbours, weights = (found[f"{view}__{name}"].combine_chunks() for name in ("neighbour_ids", "weights"))
    row = np.repeat(np.arange(len(users)), pc.list_value_length(neighbours).fill_null(0).to_numpy())
    column = rows_of(users, pa.chunked_array([neighbours.flatten()]))
    known = column != UNKNOWN
    values = weights.flatten().to_numpy()[known].astype(np.float32)
    return csr_array((values, (row[known], column[known])), shape=(len(users), len(users)))
