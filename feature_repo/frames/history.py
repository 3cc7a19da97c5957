"""Histories as row numbers."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from contracts.vocabulary import UNKNOWN, Vocabulary
from feature_repo.frames.events import rows_of
from feature_repo.views.history import HISTORY_LENGTH

__all__ = ["padded"]


def padded(lists: pa.Array, items: Vocabulary) -> npt.NDArray[np.int64]:
    """Lists of ids → ``[U, 50]`` item rows, padded with -1 on the right."""
    lengths = pc.list_value_length(lists).fill_null(0).to_numpy()
    filled = np.arange(HISTORY_LENGTH) < lengths[:, None]
    history = np.full(filled.shape, UNKNOWN, np.int64)
    history[filled] = rows_of(items, pa.chunked_array([lists.drop_null().flatten()]))
    known_first = np.argsort(history == UNKNOWN, axis=1, kind="stable")
    return np.take_along_axis(history, known_first, axis=1)
