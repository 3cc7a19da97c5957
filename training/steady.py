"""What a model says of requests, the same to the last bit whoever else is asked at the same time.

The last digits of a matrix product depend on its shape: libraries choose another order of summation for one row than
for many. A list that is answered together with others must be the one that would have been answered alone.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad

from training.batches import PADDING, UserBatch
from training.packages import LoadedPackage
from training.recommender import TwoTower
from training.requests import scores_of

__all__ = ["steady_scores", "steady_user_vectors"]

_BLOCK = 8
"""Users of every product: a tower costs hardly more for them than for one."""


def steady_user_vectors(model: TwoTower, batch: UserBatch) -> Tensor:
    """User vectors, ``[B, D]``, by products of eight users each; the last is filled up with nobody."""
    count = len(batch)
    short = -count % _BLOCK
    rows = pad(batch.rows, (0, short), value=PADDING)
    history = pad(batch.history, (0, 0, 0, short), value=PADDING)
    context = {name: pad(values, (0, 0) * (values.ndim - 1) + (0, short)) for name, values in batch.context.items()}
    blocks = [
        model.user_vectors(
            UserBatch(
                rows[start : start + _BLOCK],
                history[start : start + _BLOCK],
                {name: values[start : start + _BLOCK] for name, values in context.items()},
            )
        )
        for start in range(0, count, _BLOCK)
    ]
    return torch.cat(blocks)[:count]


def steady_scores(
    package: LoadedPackage, batch: UserBatch, row: int, items: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.float32]:
    """Scores of items for one row of a batch, ``[C]``, by itself, as users share nothing here.

    Args:
        package: The model.
        batch: The users.
        row: Which of them.
        items: Item rows, ``[C]``; all N if None.
    """
    alone = UserBatch(
        batch.rows[row : row + 1],
        batch.history[row : row + 1],
        {name: values[row : row + 1] for name, values in batch.context.items()},
    )
    (scores,) = scores_of(package, alone, items)
    return np.asarray(scores)
