"""What is expected of a modality's vectors. The limits are absolute; drift against earlier data is another matter."""

import pandas as pd
from great_expectations import expectations as gxe
from great_expectations.expectations import Expectation

from contracts.embeddings import EmbeddingSpec
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX
from validation.suites.suite import Material, Suite
from validation.summaries import embedding_summary

__all__ = ["VECTORS"]

_LEAST_COVERAGE = 0.5
"""Models take a missing modality, but not one that most videos miss."""
_MOST_ZERO = 0.02
"""Encoders write zeros for media they could not decode."""
_MOST_CONSTANT = 0.01
_MOST_REPEATED = 0.2
"""Re-uploads repeat vectors; a collapsed encoder repeats nearly all of them."""
_NORM_BAND = (0.02, 50.0)
"""Times the median norm."""
_LEAST_IN_BAND = 0.999


def _spec(material: Material, table: str) -> EmbeddingSpec:
    return material.snapshot.embeddings[table.removeprefix(EMBEDDING_PREFIX)]


def _tables(snapshot: Snapshot) -> list[str]:
    return [EMBEDDING_PREFIX + modality for modality in sorted(snapshot.embeddings)]


def _summarise(material: Material, table: str) -> pd.DataFrame:
    return embedding_summary(material.tables[table], material.tables["videos"], _spec(material, table).width)


def _expectations(material: Material, table: str) -> list[Expectation]:
    width = _spec(material, table).width
    low, high = _NORM_BAND
    return [
        gxe.ExpectTableRowCountToBeBetween(min_value=1, description="there is at least one video"),
        gxe.ExpectColumnValuesToBeUnique(column="video_id", description="a video has one vector"),
        gxe.ExpectColumnValuesToBeInSet(
            column="known", value_set=[True], description="every vector belongs to a video of the videos table"
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="present",
            value_set=[True],
            mostly=_LEAST_COVERAGE,
            description=f"at least {_LEAST_COVERAGE:.0%} of the videos have a vector",
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="width",
            min_value=width,
            max_value=width,
            description=f"every vector has the {width} components of its spec",
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="nonfinite", max_value=0, description="no component is NaN or infinite"
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="zero",
            value_set=[False],
            mostly=1 - _MOST_ZERO,
            description=f"at most {_MOST_ZERO:.0%} of the vectors are zero",
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="constant",
            value_set=[False],
            mostly=1 - _MOST_CONSTANT,
            description=f"at most {_MOST_CONSTANT:.0%} of the vectors have all components equal",
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="repeated",
            value_set=[False],
            mostly=1 - _MOST_REPEATED,
            description=f"at most {_MOST_REPEATED:.0%} of the vectors repeat another video's",
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="relative_norm",
            min_value=low,
            max_value=high,
            mostly=_LEAST_IN_BAND,
            description=f"{_LEAST_IN_BAND:.1%} of the norms lie between {low:g} and {high:g} times their median",
        ),
    ]


VECTORS = Suite(tables=_tables, summarise=_summarise, expectations=_expectations, identity=("video_id",))
