"""What two versions show of the catalogue: how much of it, how popular, how novel, how new."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contracts.errors import BadInput
from training.metrics import coverage, novelty

__all__ = ["Shown", "shown"]


@dataclass(frozen=True)
class Shown:
    """What a set of lists shows. The shift between two versions is the difference of two of these, field by field."""

    coverage: float
    """Share of the catalogue that stands in any list."""
    popularity: float
    """Mean over the places of the number of users who have seen the item."""
    novelty: float
    """Mean self-information of the places, in bits (Zhou et al. 2010)."""
    new_share: float
    """Share of the places that hold a new item."""

    def minus(self, other: "Shown") -> "Shown":
        """The shift from another set of lists to this one."""
        return Shown(
            self.coverage - other.coverage,
            self.popularity - other.popularity,
            self.novelty - other.novelty,
            self.new_share - other.new_share,
        )


def shown(lists: npt.NDArray[np.int64], seen: npt.NDArray[np.int64], users: int, new: npt.NDArray[np.bool_]) -> Shown:
    """Measure a set of lists.

    Args:
        lists: Rows of the catalogue, best first, -1 where a list has ended, ``[R, k]``.
        seen: Number of users who have seen each item, ``[N]``.
        users: Number of users.
        new: Whether each item is new, ``[N]``.

    Raises:
        BadInput: All lists are empty.
    """
    items = lists[lists >= 0]
    if not len(items):
        raise BadInput(
            "lists to measure",
            found=f"{len(lists)} lists without an item",
            expected="at least one item",
            next_step="take the requests that were answered without an error",
        )
    exposure = np.bincount(items, minlength=len(seen))
    return Shown(
        coverage=coverage(exposure),
        popularity=float(seen[items].mean()),
        novelty=novelty(exposure, seen, users),
        new_share=float(new[items].mean()),
    )
