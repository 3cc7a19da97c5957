"""Metrics of each user, which two models are compared by: a Parquet file of a package, written by training."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from contracts.bootstrap import Interval, difference_interval, mean_interval
from contracts.errors import BadInput

__all__ = ["USER_FIGURES", "UserFigures"]

USER_FIGURES = "validation_users.parquet"
"""File of a package."""

_USER, _LISTS = "user", "lists"
_SEED = 0
"""Of the resampling: equal figures give equal intervals."""


@dataclass(frozen=True)
class UserFigures:
    """What a model's metrics are for each user who has a list."""

    users: npt.NDArray[np.uint64]
    """Hash of each user's id, ascending, ``[U]``: rows differ from vocabulary to vocabulary, ids are nobody's
    business."""
    lists: npt.NDArray[np.int64]
    """Number of lists of each, by which users are weighted, ``[U]``."""
    figures: Mapping[str, npt.NDArray[np.float64]]
    """Metric, named as in the run, → its mean over each user's lists, ``[U]``."""

    @classmethod
    def of(
        cls, ids: Sequence[str], lists: npt.NDArray[np.int64], figures: Mapping[str, npt.NDArray[np.float64]]
    ) -> Self:
        """Figures of users by their ids, in any order."""
        users = np.array([_hashed(user) for user in ids], np.uint64)
        order = np.argsort(users)
        return cls(users[order], lists[order], {name: values[order] for name, values in figures.items()})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what :meth:`save` wrote.

        Raises:
            BadInput: It is no such file.
        """
        try:
            table = pq.read_table(path)
            columns = {name: table[name].to_numpy() for name in table.column_names}
            users, lists = columns.pop(_USER).astype(np.uint64), columns.pop(_LISTS).astype(np.int64)
            figures = {name: values.astype(np.float64) for name, values in columns.items()}
        except (OSError, pa.ArrowInvalid, KeyError, ValueError) as error:
            raise BadInput(
                path,
                found=f"a file that cannot be read ({(str(error) or type(error).__name__).splitlines()[0]})",
                expected="a table of users, their lists and metrics",
                next_step="train the version again with --force, or restore its artifacts",
            ) from None
        return cls(users, lists, figures)

    def save(self, path: Path) -> None:
        """Write them as Parquet; single precision is far below what users differ by."""
        columns = {_USER: self.users, _LISTS: self.lists.astype(np.int32)}
        pq.write_table(
            pa.table({**columns, **{name: each.astype(np.float32) for name, each in self.figures.items()}}), path
        )

    def __len__(self) -> int:
        return len(self.users)

    def mean(self, metric: str) -> float:
        """Mean over the lists, which is the metric of the run."""
        return float((self.figures[metric] * self.lists).sum() / self.lists.sum())

    def interval(self, metric: str) -> Interval:
        """95 % interval of that mean, by resampling users."""
        return mean_interval(self.figures[metric], np.random.default_rng(_SEED), weights=self.lists)

    def pairs_with(self, other: "UserFigures", metric: str) -> bool:
        """Whether both have the metric for the very same lists."""
        return (
            metric in self.figures
            and metric in other.figures
            and np.array_equal(self.users, other.users)
            and np.array_equal(self.lists, other.lists)
        )

    def difference(self, other: "UserFigures", metric: str) -> Interval:
        """95 % interval of this model's mean less another's, by a paired bootstrap over users.

        Args:
            other: Figures that :meth:`pairs_with` these.
            metric: Which.
        """
        return difference_interval(
            self.figures[metric], other.figures[metric], np.random.default_rng(_SEED), weights=self.lists
        )


def _hashed(user: str) -> int:
    return int.from_bytes(hashlib.blake2b(user.encode(), digest_size=8).digest(), "big")
