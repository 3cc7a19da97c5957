"""The facts of a table's rows as a frame of scalars, which expectations judge."""

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from validation.statistics.blocks import Blocks, Rows
from validation.statistics.entities import Entities
from validation.statistics.rows import RowFacts

__all__ = ["rows_frame"]


def rows_frame(
    key: str,
    blocks: Blocks,
    entities: Entities,
    facts: RowFacts,
    median_norm: float,
    repeated: npt.NDArray[np.bool_],
    near: npt.NDArray[np.bool_],
    clipped: Rows,
) -> pd.DataFrame:
    """A row per row of the table in its order, then one per owner that is not in it.

    Args:
        key: Name of the column of ids.
        blocks: The table's vectors.
        entities: Whose they are.
        facts: What was found of each.
        median_norm: Of the sound vectors; NaN where there is none.
        repeated: Rows that repeat another entity's vector ``[rows]``.
        near: Rows that nearly do ``[rows]``.
        clipped: Components at a shared limit ``[rows]``.
    """
    count, more = len(blocks.right), len(entities.absent)
    right = np.append(blocks.right, np.zeros(more, bool))
    moving = right & (np.append(facts.norm, np.zeros(more)) > 0)
    columns: dict[str, npt.NDArray[np.generic] | pd.Series] = {
        key: pa.concat_arrays([entities.ids, entities.absent]).to_pandas(),
        "known": np.append(entities.known, np.ones(more, bool)),
        "present": np.arange(count + more) < count,
        "width": np.append(blocks.lengths.astype(np.float64), np.full(more, np.nan)),
        "nonfinite": _numbers(facts.nonfinite, right),
        "zero": _marks(facts.norm == 0, right),
        "constant": _marks(facts.constant, right),
        "norm": _numbers(facts.norm, right),
        "relative_norm": _numbers(facts.norm / median_norm, moving),
        "repeated": _marks(repeated, moving),
        "near_duplicate": _marks(near, right),
        "fp16_error": _numbers(facts.fp16_error, right),
        "clipped": _numbers(clipped, right),
    }
    return pd.DataFrame(columns)


def _numbers(values: npt.NDArray[np.generic], told: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    filled = np.full(len(told), np.nan)
    filled[: len(values)] = values
    filled[~told] = np.nan
    return filled


def _marks(values: npt.NDArray[np.bool_], told: npt.NDArray[np.bool_]) -> npt.NDArray[np.generic]:
    # A column of bool has no null; only where one is needed does it become one of objects.
    if told.all():
        return values
    filled = np.full(len(told), None, dtype=object)
    filled[: len(values)] = values
    filled[~told] = None
    return filled
