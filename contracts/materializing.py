"""Materialization as a job: what whoever queues one has to say, and the worker reads."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from contracts.clock import to_utc
from contracts.database import Database
from contracts.errors import BadInput
from contracts.jobs import queue_job

__all__ = ["MATERIALIZE", "REHEARSE", "materialization_parameters", "order_materialization"]

MATERIALIZE: Final = "materialize"
"""Kind of job that writes feature values to the online store."""

REHEARSE: Final = "rehearse"
"""Kind of job that counts what such a job would write, and writes nothing."""


def materialization_parameters(
    force: bool = False, until: datetime | None = None, memory: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Parameters of either kind.

    Args:
        force: Write all rows even where nothing is missing.
        until: Rows that were known up to this instant; all if None.
        memory: Cap on the worker's memory, bytes; None for its own default.
        seed: Of the sample that is compared at the end.
    """
    told = None if until is None else to_utc(until).isoformat()
    return {"force": force, "until": told, "memory": memory, "seed": seed}


def order_materialization(
    database: Database, snapshot: str, views: Sequence[str], parameters: dict[str, Any], *, rehearse: bool = False
) -> str:
    """Queue a job for `backbeat features work`, which checks that the snapshot passed and the views are known.

    Args:
        database: The platform's tables.
        snapshot: Whose features.
        views: Which feature views.
        parameters: Of :func:`materialization_parameters`.
        rehearse: Only count.

    Returns:
        The job's id.

    Raises:
        BadInput: No view is named.
    """
    if not views:
        raise BadInput(
            "materialization",
            found="no feature view",
            expected="at least one",
            next_step="choose one of `backbeat features status`",
        )
    return queue_job(database, REHEARSE if rehearse else MATERIALIZE, snapshot, list(dict.fromkeys(views)), parameters)
