"""Encoding some items: the unit of work, which may run in another process or on another machine."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pyarrow as pa

from feature_repo.encoders.encoding import Encoder, Encoding, Fault, MediaItem
from feature_repo.encoders.items import content_of, stamp_of
from feature_repo.encoders.parts import PART

__all__ = ["encode_part"]


def encode_part(encoder: Encoder, encoding: Encoding, items: Sequence[MediaItem], batch: int) -> pa.Table:
    """Encode some items.

    Args:
        encoder: Which.
        encoding: It, with its weights loaded.
        items: What, ``[n]``.
        batch: Items at once.

    Returns:
        A table as ``PART``, ``[n]``; faults have no vector.
    """
    tables = []
    for start in range(0, len(items), batch):
        chunk = items[start : start + batch]
        vectors, faults = _encode_batch(encoding, chunk)
        if not encoder.fills:
            for row in np.flatnonzero(~np.isfinite(vectors).all(1)):
                faults[row] = faults[row] or Fault("a vector with NaN or infinite values")
        tables.append(
            pa.table(
                {
                    "id": [item.id for item in chunk],
                    "stamp": [stamp_of(item) for item in chunk],
                    "content": [
                        content_of(item) if fault is None else "" for item, fault in zip(chunk, faults, strict=True)
                    ],
                    "vector": _lists(vectors, np.array([fault is not None for fault in faults])),
                    "path": [fault and fault.path for fault in faults],
                    "reason": [fault and fault.reason for fault in faults],
                    "absent": [fault and fault.absent for fault in faults],
                },
                schema=PART,
            )
        )
    return pa.concat_tables(tables) if tables else PART.empty_table()


def _encode_batch(encoding: Encoding, items: Sequence[MediaItem]) -> tuple[Any, list[Fault | None]]:
    """An item that a library cannot stand is found by encoding each alone; where none passes it is no item's fault.

    Raises:
        Exception: What the encoder raised for each of several items.
    """
    with suppress(Exception):
        return encoding.encode(items)
    rows: list[Any] = []
    faults: list[Fault | None] = []
    last: Exception | None = None
    for item in items:
        try:
            vector, fault = encoding.encode([item])
            rows.append(vector)
            faults += fault
        except Exception as error:  # noqa: BLE001 - whatever a library raises on a file that it cannot stand
            last = error
            culprit = item.clip or next(iter(item.images), None)
            faults.append(Fault(f"{type(error).__name__}: {error}", None if culprit is None else str(culprit)))
            rows.append(None)
    width = next((row.shape[1] for row in rows if row is not None), None)
    if width is None and last is not None and len(items) > 1:
        raise last
    return np.concatenate([np.zeros((1, width or 0), np.float32) if row is None else row for row in rows]), faults


def _lists(matrix: Any, missing: Any) -> pa.ListArray:
    offsets = pa.array(np.arange(len(matrix) + 1, dtype=np.int32) * matrix.shape[1])
    values = pa.array(np.ravel(matrix), pa.float32())
    return pa.ListArray.from_arrays(offsets, values, mask=pa.array(missing))
