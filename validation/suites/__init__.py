"""The suites, by name. Importing this loads Great Expectations, so commands do it late."""

from types import MappingProxyType
from typing import Final

from validation.suites import embeddings, interactions

__all__ = ["SUITES"]

SUITES: Final = MappingProxyType(
    {
        "interactions": interactions.EVENTS,
        "splits": interactions.SPLITS,
        "embeddings": embeddings.VECTORS,
    }
)
