"""What is expected of an encoder's vectors. The limits are absolute; drift against earlier data is another matter."""

import pandas as pd
from great_expectations import expectations as gxe
from great_expectations.expectations import Expectation

from contracts.embeddings import EmbeddingSpec
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX, ENTITY_KEYS, ENTITY_TABLES, TABLES
from validation.suites.suite import Material, Suite
from validation.summaries import embedding_summary

__all__ = ["VECTORS"]

"""Entity → the table of its rows."""
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


def _key(material: Material, table: str) -> str:
    return ENTITY_KEYS[_spec(material, table).entity]


def _summarise(material: Material, table: str) -> pd.DataFrame:
    spec = _spec(material, table)
    table_of_owners = ENTITY_TABLES[spec.entity]
    owners = material.tables.get(table_of_owners, TABLES[table_of_owners].empty_table())
    return embedding_summary(material.tables[table], owners, _key(material, table), spec.width)


def _expectations(material: Material, table: str) -> list[Expectation]:
    spec = _spec(material, table)
    entities = ENTITY_TABLES[spec.entity]
    expected: list[Expectation] = [
        gxe.ExpectTableRowCountToBeBetween(min_value=1, description=f"there is at least one of the {entities}"),
        gxe.ExpectColumnValuesToBeUnique(
            column=_key(material, table), description=f"each of the {entities} has one vector"
        ),
        gxe.ExpectColumnValuesToBeInSet(
            column="known", value_set=[True], description=f"every vector belongs to a row of the {entities} table"
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="width",
            min_value=spec.width,
            max_value=spec.width,
            description=f"every vector has the {spec.width} components of its spec",
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="nonfinite", max_value=0, description="no component is NaN or infinite"
        ),
    ]
    if spec.entity != "post":  # one post has a text and no picture, the next a picture and no text
        expected.append(
            gxe.ExpectColumnValuesToBeInSet(
                column="present",
                value_set=[True],
                mostly=_LEAST_COVERAGE,
                description=f"at least {_LEAST_COVERAGE:.0%} of the {entities} have a vector",
            )
        )
    if not spec.modality.endswith("_handcrafted"):  # counts may well be zero, or equal between short texts
        expected += _expect_of_deep_vectors()
    return expected


def _expect_of_deep_vectors() -> list[Expectation]:
    low, high = _NORM_BAND
    return [
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
            description=f"at most {_MOST_REPEATED:.0%} of the vectors repeat another one",
        ),
        gxe.ExpectColumnValuesToBeBetween(
            column="relative_norm",
            min_value=low,
            max_value=high,
            mostly=_LEAST_IN_BAND,
            description=f"{_LEAST_IN_BAND:.1%} of the norms lie between {low:g} and {high:g} times their median",
        ),
    ]


VECTORS = Suite(_tables, _summarise, _expectations, identity=lambda material, table: (_key(material, table),))
