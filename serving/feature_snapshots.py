"""What sampled lists were made from: chosen by the response's id, kept as the very query that the version answered."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import torch
from pydantic import TypeAdapter

from contracts.log_rows import FeatureSnapshotRow
from contracts.settings import Settings
from serving.recommend import Query

if TYPE_CHECKING:
    from serving.answering import Answer

__all__ = ["FeatureSampler", "computed_on", "left_out_of", "newest_of", "read_query"]

_QUERY = TypeAdapter(Query)
_LEFT_OUT, _NEWEST = "left_out", "newest"


def computed_on(settings: Settings, device: torch.device) -> dict[str, Any]:
    """What the numbers of a list hang on beside the version: where two of these are equal, so are the lists' bits."""
    cuda = device.type == "cuda"
    return {
        "device": device.type,
        "processor": torch.cuda.get_device_name(device) if cuda else torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "index": settings.index,
        "index_most_exact": settings.index_most_exact,
        "index_dtype": settings.index_dtype,
    }


def left_out_of(document: dict[str, Any]) -> list[str]:
    """The items that no list had, in a row's ``computed_on``."""
    return list(document[_LEFT_OUT])


def newest_of(document: dict[str, Any]) -> str | None:
    """Id of the snapshot whose new items lists had, in a row's ``computed_on``."""
    newest = document[_NEWEST]
    return None if newest is None else str(newest)


def read_query(document: dict[str, Any]) -> Query:
    """The query that a :class:`contracts.log_rows.FeatureSnapshotRow` holds."""
    return _QUERY.validate_python(document)


class FeatureSampler:
    """Chooses requests by a part of the response's id that no other sample is drawn by.

    Args:
        settings: The share of requests, and how candidates are found.
        device: What the lists are computed on.
    """

    def __init__(self, settings: Settings, device: torch.device) -> None:
        self._below = round(settings.log_features_sample * 2**32)
        self._computed_on = computed_on(settings, device)

    def row(self, answer: "Answer", left_out: Collection[str], newest: str | None = None) -> FeatureSnapshotRow | None:
        """What to keep of a request; None where it is not one of the sample.

        Args:
            answer: What was answered.
            left_out: Items that no list had at that time.
            newest: The snapshot whose new items lists had.
        """
        response = answer.response
        # Shadows are drawn by the first eight digits: by the same ones, a sample of 1 % would be theirs alone.
        if int(response.response_id[8:16], 16) >= self._below:
            return None
        return FeatureSnapshotRow(
            response_id=response.response_id,
            at=answer.read_at,
            surface=response.surface,
            user_id=answer.query.user_id,
            query=_QUERY.dump_python(answer.query, mode="json"),
            missing=[each.model_dump() for each in response.missing],
            computed_on=self._computed_on | {_LEFT_OUT: sorted(left_out), _NEWEST: newest},
        )
