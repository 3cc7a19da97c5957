"""The suites, by name. Importing this loads Great Expectations, so commands do it late."""

from types import MappingProxyType
from typing import Final

from validation.suites.clusters import CLUSTERS
from validation.suites.embeddings import VECTORS
from validation.suites.rows import ROWS
from validation.suites.splits import SPLITS

__all__ = ["SUITES"]

SUITES: Final = MappingProxyType({**ROWS, "splits": SPLITS, **VECTORS, "clusters": CLUSTERS})
