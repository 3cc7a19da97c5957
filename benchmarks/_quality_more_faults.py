"""Faults that the issue of the suites does not name: kinds that encoders, batches and joins really have."""

from collections.abc import Callable

import numpy as np
from _quality_faults import BOTH, UPDATE, Case, Fault, some, whole_table
from _quality_worlds import Floats, Rows

__all__ = ["UNLISTED"]


def _permuted(matrix: Floats, rng: np.random.Generator) -> Floats:
    return matrix[:, rng.permutation(matrix.shape[1])]


def _flipped(matrix: Floats, rng: np.random.Generator) -> Floats:
    return np.asarray(matrix * rng.choice([-1, 1], matrix.shape[1]), np.float32)


def _quantised(matrix: Floats, _rng: np.random.Generator) -> Floats:
    low, high = matrix.min(axis=0), matrix.max(axis=0)
    step = np.maximum(high - low, 1e-12) / 15
    return np.asarray(np.round((matrix - low) / step) * step + low, np.float32)


def _truncated(matrix: Floats, _rng: np.random.Generator) -> Floats:
    matrix = matrix.copy()
    matrix[:, matrix.shape[1] // 2 :] = 0
    return matrix


def _noisy(matrix: Floats, rng: np.random.Generator) -> Floats:
    return np.asarray(matrix + 0.5 * matrix.std(axis=0) * rng.standard_normal(matrix.shape), np.float32)


def _one_dimension_longer(matrix: Floats, rng: np.random.Generator) -> Floats:
    matrix = matrix.copy()
    matrix[:, rng.integers(matrix.shape[1])] *= 10
    return matrix


def _clipped(matrix: Floats, _rng: np.random.Generator) -> Floats:
    return np.asarray(np.minimum(matrix, np.quantile(matrix, 0.95, axis=0)), np.float32)


def _underflowed(matrix: Floats, _rng: np.random.Generator) -> Floats:
    """Through float16 at a scale where a typical component is three times its smallest positive value, and back."""
    scale = np.float32(1.8e-7 / np.median(np.abs(matrix)))
    return np.asarray((matrix * scale).astype(np.float16).astype(np.float32) / scale, np.float32)


def _centred(matrix: Floats, _rng: np.random.Generator) -> Floats:
    return np.asarray(matrix - matrix.mean(axis=0), np.float32)


def _dropout(matrix: Floats, rng: np.random.Generator) -> Floats:
    return np.asarray(matrix * (rng.random(matrix.shape) > 0.1) / 0.9, np.float32)


def _batch_statistics(matrix: Floats, _rng: np.random.Generator) -> Floats:
    """Every batch of 64 standardised by itself, as a network left in training mode does, then put back at scale."""
    mean, deviation = matrix.mean(axis=0), matrix.std(axis=0)
    batches = np.array_split(matrix, max(1, len(matrix) // 64))
    standardised = [(batch - batch.mean(axis=0)) / np.maximum(batch.std(axis=0), 1e-12) for batch in batches]
    return np.asarray(np.concatenate(standardised) * deviation + mean, np.float32)


def _fine_tuned(matrix: Floats, rng: np.random.Generator) -> Floats:
    """A slightly other encoder: each component takes a tenth of its variance from the others."""
    centre, width = matrix.mean(axis=0), matrix.shape[1]
    mix = np.eye(width) + rng.standard_normal((width, width)) * np.sqrt(0.1 / width)
    return np.asarray((matrix - centre) @ mix + centre, np.float32)


def _other_modality(case: Case) -> None:
    case.vectors.matrix = case.now.tables[case.other].matrix.copy()


def _modalities_exchanged(case: Case) -> None:
    one, two = case.now.tables[case.modality], case.now.tables[case.other]
    one.matrix, two.matrix = two.matrix, one.matrix


def _part_with_other_norm(case: Case) -> None:
    """The last step left out, or put in, for one row in ten."""
    rows, matrix = some(case, 0.1), case.vectors.matrix
    norms = np.linalg.norm(matrix[rows], axis=1, keepdims=True)
    lognormal = case.rng.lognormal(0, 0.5, (len(rows), 1)).astype(np.float32)
    unit = case.now.specs[case.modality].normalisation == "l2"
    matrix[rows] = matrix[rows] * lognormal if unit else matrix[rows] / norms


def _new_ones(make: Callable[[Case, Rows], Floats]) -> Callable[[Case], None]:
    def inject(case: Case) -> None:
        rows = case.new
        case.vectors.matrix[rows] = case.encode(make(case, rows))

    return inject


def _stale(case: Case, rows: Rows) -> Floats:
    old = case.before.tables[case.modality].matrix
    return old[case.rng.choice(len(old), len(rows), replace=False)]


def _random_new(case: Case, rows: Rows) -> Floats:
    matrix = case.vectors.matrix
    drawn = case.rng.standard_normal((len(rows), matrix.shape[1])) * matrix.std(axis=0) + matrix.mean(axis=0)
    return np.asarray(drawn, np.float32)


def _rotated_new(case: Case, rows: Rows) -> Floats:
    matrix = case.vectors.matrix
    centre = matrix.mean(axis=0)
    rotation = np.linalg.qr(case.rng.standard_normal((matrix.shape[1],) * 2))[0]
    return np.asarray((matrix[rows] - centre) @ rotation + centre, np.float32)


def _near_mean_new(case: Case, rows: Rows) -> Floats:
    """The encoder sees blank media: all new vectors lie close together."""
    matrix = case.vectors.matrix
    noise = 0.05 * matrix.std(axis=0) * case.rng.standard_normal((len(rows), matrix.shape[1]))
    return np.asarray(matrix[case.rng.integers(len(matrix))] + noise, np.float32)


def _near_duplicates(case: Case) -> None:
    rows, matrix = some(case, 0.1), case.vectors.matrix
    half = len(rows) // 2
    noise = 1e-4 * matrix.std(axis=0) * case.rng.standard_normal((half, matrix.shape[1]))
    matrix[rows[:half]] = case.encode(matrix[rows[half : 2 * half]] + noise)


def _mean_vector(case: Case) -> None:
    mean = case.vectors.matrix.mean(axis=0, keepdims=True)
    case.vectors.matrix[some(case, 0.01)] = case.encode(mean)


def _constant(case: Case) -> None:
    rows = some(case, 0.01)
    level = case.rng.uniform(0.5, 1.5, (len(rows), 1)) * np.abs(case.vectors.matrix).mean()
    case.vectors.matrix[rows] = case.encode(np.repeat(level.astype(np.float32), case.vectors.matrix.shape[1], axis=1))


def _overwritten(case: Case) -> None:
    rows = some(case, 0.05)
    case.vectors.matrix[rows] = case.vectors.matrix[case.rng.integers(len(case.vectors.matrix), size=len(rows))]


def _batch_repeated(case: Case) -> None:
    """A batch of 128 is written once more over the next one."""
    at = int(case.rng.integers(len(case.vectors.matrix) - 256))
    case.vectors.matrix[at + 128 : at + 256] = case.vectors.matrix[at : at + 128]


def _hub(case: Case) -> None:
    """One row in twenty is one vector with a tenth of a sigma of noise."""
    rows, matrix = some(case, 0.05), case.vectors.matrix
    noise = 0.1 * matrix.std(axis=0) * case.rng.standard_normal((len(rows), matrix.shape[1]))
    matrix[rows] = case.encode(matrix[rows[0]] + noise)


def _newest_missing(case: Case) -> None:
    kept = np.arange(len(case.vectors.items) - round(0.03 * len(case.vectors.items)))
    case.vectors.items, case.vectors.matrix = case.vectors.items[kept], case.vectors.matrix[kept]


def _wrong_width(case: Case) -> None:
    case.vectors.matrix = np.ascontiguousarray(case.vectors.matrix[:, :-1])


def _short_row(case: Case) -> None:
    case.vectors.short = some(case, 1e-4)


def _denormal(case: Case) -> None:
    rows = some(case, 0.01)
    case.vectors.matrix[rows] = case.vectors.matrix[rows] * np.float32(1e-40)


def _other_byte_order(case: Case) -> None:
    rows = some(case, 0.01)
    case.vectors.matrix[rows] = case.vectors.matrix[rows].byteswap()


def _yesterdays(case: Case) -> None:
    case.now.tables[case.modality] = case.before.tables[case.modality].copy()


def _sorted_as_text(case: Case) -> None:
    """Vectors in the order of ids as numbers, ids in their order as text."""
    order = sorted(range(len(case.vectors.items)), key=lambda row: str(case.vectors.items[row]))
    case.vectors.items = case.vectors.items[order]


def _twice(case: Case) -> None:
    rows = some(case, 0.01)
    case.vectors.items = np.concatenate([case.vectors.items, case.vectors.items[rows]])
    case.vectors.matrix = np.concatenate([case.vectors.matrix, case.vectors.matrix[rows]])


def _strangers(case: Case) -> None:
    rows = some(case, 0.01)
    case.vectors.items[rows] += 1_000_000


def _declared_revision(case: Case) -> None:
    spec = case.now.specs[case.modality]
    case.now.specs[case.modality] = spec.model_copy(update={"revision": "2"})


def _averaged(case: Case) -> None:
    """One row in ten is the mean of itself and another: two media met in one item."""
    rows, matrix = some(case, 0.1), case.vectors.matrix
    others = matrix[case.rng.permutation(len(matrix))[: len(rows)]]
    matrix[rows] = case.encode(np.asarray((matrix[rows] + others) / 2, np.float32))


UNLISTED = [
    Fault("dimensions permuted", whole_table(_permuted)),
    Fault("half of the signs flipped", whole_table(_flipped)),
    Fault("16 levels", whole_table(_quantised)),
    Fault("second half of dimensions zero", whole_table(_truncated)),
    Fault("0.5 sigma of noise", whole_table(_noisy)),
    Fault("one dimension x 10", whole_table(_one_dimension_longer)),
    Fault("clipped at the 95 % quantile", whole_table(_clipped)),
    Fault("fp16 underflow", whole_table(_underflowed)),
    Fault("centred", whole_table(_centred)),
    Fault("dropout left on", whole_table(_dropout)),
    Fault("batch norm in training mode", whole_table(_batch_statistics), UPDATE),
    Fault("slightly fine-tuned encoder", whole_table(_fine_tuned), UPDATE),
    Fault("vectors of the other modality", _other_modality),
    Fault("two modalities exchanged", _modalities_exchanged),
    Fault("10 % with other norms", _part_with_other_norm),
    Fault("new items: vectors of old ones", _new_ones(_stale)),
    Fault("new items: random vectors", _new_ones(_random_new)),
    Fault("new items: another revision", _new_ones(_rotated_new)),
    Fault("new items: all alike", _new_ones(_near_mean_new)),
    Fault("5 % near-duplicates", _near_duplicates),
    Fault("1 % the mean vector", _mean_vector),
    Fault("1 % constant", _constant),
    Fault("5 % overwritten by other rows", _overwritten),
    Fault("a batch written twice", _batch_repeated),
    Fault("5 % round one hub", _hub),
    Fault("newest 3 % missing", _newest_missing),
    Fault("wrong width", _wrong_width),
    Fault("wrong width in 1 row", _short_row),
    Fault("1 % denormal", _denormal),
    Fault("1 % in other byte order", _other_byte_order),
    Fault("yesterday's table again", _yesterdays, UPDATE),
    Fault("ids sorted as text", _sorted_as_text, UPDATE),
    Fault("1 % of rows twice", _twice),
    Fault("1 % unknown ids", _strangers),
    Fault("a revision that nobody expects", _declared_revision, BOTH),
    Fault("10 % averaged with another", _averaged, UPDATE),
]
"""All at a severity that matters to a ranking; none is in the issue's list."""
