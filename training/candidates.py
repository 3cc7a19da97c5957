"""What a held-out item is ranked against in sampled ranking."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from contracts.errors import BadInput

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["drawn_candidates"]

Rows = npt.NDArray[np.int64]

_BLOCK = 8_192
"""Held-out items drawn for at a time. The draws depend on it: another number is another protocol."""


def drawn_candidates(frame: "TrainingFrame", pairs: Rows, ranked: Rows | None, count: int, seed: int) -> Rows:
    """Items drawn uniformly, none twice, from those that the user has no interaction with in any known part.

    Those are the parts of the frame and the held-out pairs themselves; the test part is known only when it is what is
    judged. The draws depend on the data and the seed alone, so they are equal for every model.

    Args:
        frame: Training and validation pairs.
        pairs: Held-out (user row, item row), ``[m, 2]``; the draws depend on their order.
        ranked: Distinct item rows to draw from; all if None.
        count: Items for each pair.
        seed: Of the draws.

    Returns:
        Item rows, ``[m, count]``.

    Raises:
        BadInput: A user has fewer items left.
    """
    items = np.arange(len(frame.items)) if ranked is None else ranked
    position = np.full(len(frame.items), -1)
    position[items] = np.arange(len(items))
    known = np.concatenate([frame.train, frame.validation, pairs])
    at = position[known[:, 1]]
    # As in the sampler of negatives: behind j known items at sorted positions p_0 < p_1 < ... there are p_j - j free
    # ones, so the r-th free position is r plus the number of j with p_j - j <= r.
    cells = np.sort(known[at >= 0, 0] * len(items) + at[at >= 0])
    cells = cells[np.diff(cells, prepend=-1) > 0]
    users, at = np.divmod(cells, len(items))
    taken = np.bincount(users, minlength=len(frame.users))
    start = np.cumsum(taken) - taken
    stride = len(items) + 1
    keys = users * stride + at - (np.arange(len(cells)) - start[users])

    rows = pairs[:, 0]
    free = len(items) - taken
    _require_enough(rows, free, count)
    generator = np.random.default_rng(seed)
    found = np.empty((len(pairs), count), np.int64)
    for first in range(0, len(pairs), _BLOCK):
        part = rows[first : first + _BLOCK]
        drawn = _distinct(free[part], count, generator)
        before = np.searchsorted(keys, part * stride + drawn, side="right") - start[part]
        found[first : first + _BLOCK] = items[drawn + before].T
    return found


def _distinct(free: Rows, count: int, generator: np.random.Generator) -> Rows:
    """Distinct numbers below each bound, every set of them equally likely (Floyd 1987), ``[count, len(free)]``."""
    chosen = np.empty((count, len(free)), np.int64)
    for step in range(count):
        last = free - count + step
        drawn = generator.integers(0, last + 1)
        chosen[step] = np.where((chosen[:step] == drawn).any(axis=0), last, drawn)
    return chosen


def _require_enough(rows: Rows, free: Rows, count: int) -> None:
    fewest = rows[free[rows].argmin()]
    if free[fewest] < count:
        raise BadInput(
            f"candidates for user row {fewest}",
            found=f"{free[fewest]:,} items without an interaction",
            expected=f"at least the {count:,} that each held-out item is ranked against",
            next_step="rank against fewer, or use full ranking",
        )
