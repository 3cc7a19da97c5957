"""The faults that ``quality.py`` injects, as their issue names them, and what a fault is."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from _quality_worlds import Delivery, Floats, Rows, Stage, Vectors, encoded

__all__ = ["BOTH", "ISSUE", "UPDATE", "Case", "Fault", "some", "whole_table"]

UPDATE: tuple[str, ...] = ("update",)
BOTH: tuple[str, ...] = ("update", "disjoint")


@dataclass
class Case:
    """A sound delivery about to be broken in one modality."""

    stage: Stage
    before: Delivery
    """The last good one."""
    now: Delivery
    """To be changed."""
    modality: str
    rng: np.random.Generator

    @property
    def vectors(self) -> Vectors:
        """The vectors to break."""
        return self.now.tables[self.modality]

    @property
    def other(self) -> str:
        """The modality that stays sound."""
        return next(modality for modality in self.now.tables if modality != self.modality)

    @property
    def new(self) -> Rows:
        """Rows of items that the last good delivery does not have."""
        return np.flatnonzero(~np.isin(self.vectors.items, self.before.tables[self.modality].items))

    def encode(self, matrix: Floats) -> Floats:
        """What would leave the encoder."""
        return encoded(matrix, self.now.specs[self.modality])


@dataclass(frozen=True)
class Fault:
    """One kind of fault at one severity."""

    name: str
    inject: Callable[[Case], None]
    draws: tuple[str, ...] = BOTH
    """Into which resamples; a fault that only common items can show is not put into a disjoint one."""
    listed: bool = False
    """The issue names it."""


def some(case: Case, share: float) -> Rows:
    """Rows of that share of the vectors, at least one, in random order."""
    count = len(case.vectors.matrix)
    return case.rng.choice(count, max(1, round(share * count)), replace=False)


def whole_table(change: Callable[[Floats, np.random.Generator], Floats]) -> Callable[[Case], None]:
    """A fault inside the encoder, which would still normalise if it does so last."""

    def inject(case: Case) -> None:
        case.vectors.matrix = case.encode(change(case.vectors.matrix, case.rng))

    return inject


def _one_value(value: float) -> Callable[[Case], None]:
    def inject(case: Case) -> None:
        row = some(case, 1e-4)  # one row of 10,000: one row of these tables
        case.vectors.matrix[row, case.rng.integers(case.vectors.matrix.shape[1])] = value

    return inject


def _zero(share: float) -> Callable[[Case], None]:
    def inject(case: Case) -> None:
        case.vectors.matrix[some(case, share)] = 0

    return inject


def _duplicated(case: Case) -> None:
    rows = some(case, 0.02)
    half = len(rows) // 2
    case.vectors.matrix[rows[:half]] = case.vectors.matrix[rows[half : 2 * half]]


def _swapped(case: Case) -> None:
    rows = some(case, 0.05)
    case.vectors.matrix[rows] = case.vectors.matrix[np.roll(rows, 1)]


def _shifted(case: Case) -> None:
    case.vectors.matrix = np.roll(case.vectors.matrix, 1, axis=0)


def _dead(matrix: Floats, rng: np.random.Generator) -> Floats:
    matrix = matrix.copy()
    matrix[:, rng.integers(matrix.shape[1])] = 0
    return matrix


def _rank_halved(matrix: Floats, _rng: np.random.Generator) -> Floats:
    """Raise the spectrum to a power until its effective rank is half; the total variance stays."""
    centre = matrix.mean(axis=0)
    values, directions = np.linalg.eigh(np.cov(matrix.T.astype(np.float64)))
    values = np.maximum(values, values[-1] * 1e-9)

    def rank(spectrum: Floats) -> float:
        shares = spectrum / spectrum.sum()
        return float(np.exp(-(shares * np.log(shares)).sum()))

    low, high = 1.0, 20.0
    for _ in range(60):
        power = (low + high) / 2
        low, high = (power, high) if rank(values**power) > rank(values) / 2 else (low, power)
    powered = values**power
    gain = np.sqrt(powered * values.sum() / powered.sum() / values)
    return np.asarray((matrix - centre) @ (directions * gain) @ directions.T + centre, np.float32)


def _longer(case: Case) -> None:
    case.vectors.matrix = case.vectors.matrix * np.float32(1.5)


def _saturated(case: Case) -> None:
    rows = some(case, 0.01)
    columns = case.rng.integers(case.vectors.matrix.shape[1], size=len(rows))
    case.vectors.matrix[rows, columns] = np.float32(65_504) * case.rng.choice([-1, 1], len(rows))


def _rotated(matrix: Floats, rng: np.random.Generator) -> Floats:
    """Another encoder of equal width: mean, norms about the mean and spectrum stay."""
    centre = matrix.mean(axis=0)
    rotation = np.linalg.qr(rng.standard_normal((matrix.shape[1],) * 2))[0]
    return np.asarray((matrix - centre) @ rotation + centre, np.float32)


def _missing(case: Case) -> None:
    kept = np.setdiff1d(np.arange(len(case.vectors.items)), some(case, 0.1))
    case.vectors.items, case.vectors.matrix = case.vectors.items[kept], case.vectors.matrix[kept]


def _moved(matrix: Floats, rng: np.random.Generator) -> Floats:
    signs = rng.choice([-1.0, 1.0], matrix.shape[1])
    return np.asarray(matrix + 0.1 * matrix.std(axis=0) * signs, np.float32)


def _half_from_elsewhere(case: Case) -> None:
    """Independent normal components of the same means and variances: only what they share is lost."""
    matrix, rows = case.vectors.matrix, some(case, 0.5)
    drawn = case.rng.standard_normal((len(rows), matrix.shape[1])) * matrix.std(axis=0) + matrix.mean(axis=0)
    matrix[rows] = case.encode(np.asarray(drawn, np.float32))


ISSUE = [
    Fault("NaN in 1 row", _one_value(np.nan), listed=True),
    Fault("Inf in 1 row", _one_value(np.inf), listed=True),
    Fault("1 % zero vectors", _zero(0.01), listed=True),
    Fault("5 % zero vectors", _zero(0.05), listed=True),
    Fault("1 % duplicated", _duplicated, listed=True),
    Fault("5 % rows swapped between items", _swapped, UPDATE, listed=True),
    Fault("table shifted by one row", _shifted, UPDATE, listed=True),
    Fault("one dead dimension", whole_table(_dead), listed=True),
    Fault("effective rank halved", whole_table(_rank_halved), listed=True),
    Fault("norms x 1.5", _longer, listed=True),
    Fault("fp16 saturation in 1 %", _saturated, listed=True),
    Fault("another revision of equal width", whole_table(_rotated), listed=True),
    Fault("10 % of items missing", _missing, listed=True),
    Fault("0.1-sigma mean shift", whole_table(_moved), listed=True),
    Fault("half from another distribution", _half_from_elsewhere, listed=True),
]
"""The faults of the issue at its severities."""
