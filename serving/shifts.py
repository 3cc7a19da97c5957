"""What two versions show of the catalogue, from the champion's package and the lists of both."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from contracts.vocabulary import Vocabulary
from serving.analysis.catalogue import Shown, shown

__all__ = ["KnownItems"]


@dataclass(frozen=True, eq=False)
class KnownItems:
    """The catalogue as it was when a version was trained."""

    items: Vocabulary
    seen: npt.NDArray[np.int64]
    """Views of each item, ``[N]``."""
    users: int

    @classmethod
    def of_package(cls, directory: Path) -> Self | None:
        """What a package says; nothing of the model is loaded. None where the package is gone."""
        files = [directory / name for name in ("items.parquet", "popularity.npy", "users.parquet")]
        if not all(path.is_file() for path in files):
            return None
        items, users = Vocabulary.load(files[0]), Vocabulary.load(files[2])
        return cls(items, np.load(files[1], allow_pickle=False), len(users))

    def shift(self, mine: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]]) -> dict[str, float] | None:
        """How what the second version shows differs from what the first one does; None where one shows nothing.

        New is what nobody had viewed when the version was trained.

        Args:
            mine: Lists of the first version.
            theirs: Of the second.
        """
        if not any(mine) or not any(theirs):
            return None
        later = sorted({item for lists in (mine, theirs) for ids in lists for item in ids} - self._known(mine, theirs))
        seen = np.concatenate([self.seen, np.zeros(len(later), dtype=np.int64)])
        rows = {item: len(self.seen) + number for number, item in enumerate(later)}
        first, second = (self._shown(lists, rows, seen) for lists in (mine, theirs))
        return {name: round(value, 6) for name, value in asdict(second.minus(first)).items()}

    def _known(self, *sides: Sequence[Sequence[str]]) -> set[str]:
        ids = sorted({item for lists in sides for each in lists for item in each})
        return {item for item, row in zip(ids, self.items.rows(ids), strict=True) if row >= 0}

    def _shown(self, lists: Sequence[Sequence[str]], later: dict[str, int], seen: npt.NDArray[np.int64]) -> Shown:
        places = [item for ids in lists for item in ids]
        rows = self.items.rows(places)
        numbers = [int(row) if row >= 0 else later[item] for item, row in zip(places, rows, strict=True)]
        return shown(np.array([numbers]), seen, max(self.users, 1), seen == 0)
