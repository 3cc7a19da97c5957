"""What is expected of every vector, whatever came before it. The limits are absolute."""

from great_expectations import expectations as gxe

from contracts.embeddings import EmbeddingSpec
from contracts.tables import EMBEDDING_PREFIX, ENTITY_KEYS, ENTITY_TABLES, required_columns
from validation.expectations.within import ExpectColumnValuesToLieWithin
from validation.suites.suite import Rule, complete_rule

__all__ = ["counted", "rules_on_rows", "rules_on_table"]

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
_UNIT = 1e-3
"""How far the norm of a normalised vector may be from 1: rounding to half precision is below it."""
_HALF_ERROR = 0.01
"""Relative error of a vector in half precision; rounding within its range is 20 times smaller."""
_LEAST_RANK = 2.0
_LEAST_SPREAD = 0.01
"""One vector with a little noise has any rank."""
_MOST_HUB = 0.5
_LEAST_FOR_HUBS = 500
"""In a small table ten neighbours are a large share of it."""

_LEAST_RECENT = 0.2
_LEAST_FOR_RECENT = 1000
"""The newest are a twentieth; below 50 of them chance alone may leave most without a vector."""
_LARGEST_LENGTH = 1e9
"""Counts, shares and seconds stay far below. Beyond, float32 no longer tells one count from the next hundred, and one
such row is all of the table's variance."""
_MOST_ZERO_COUNTED = 0.99
_LEAST_COUNTED = 10
"""Fewer counted vectors may well be alike."""

_ENCODE_ROWS = "Encode these items again, or leave their rows out: `backbeat validate run --quarantine`."
_ENCODE_TABLE = "Look at the encoder's log and encode the table again."


def rules_on_rows(spec: EmbeddingSpec) -> list[Rule]:
    """Rules on every row of a table of vectors of some spec."""
    entities = ENTITY_TABLES[spec.entity]
    rules = [
        Rule(
            gxe.ExpectTableRowCountToBeBetween(min_value=1, description=f"there is at least one of the {entities}"),
            f"Look at what was ingested: there are no {entities} and no vectors.",
        ),
        Rule(
            gxe.ExpectColumnValuesToBeUnique(
                column=ENTITY_KEYS[spec.entity], description=f"each of the {entities} has one vector"
            ),
            "Leave out all but one vector of each: something was encoded or taken in twice.",
        ),
        Rule(
            gxe.ExpectColumnValuesToBeInSet(
                column="known", value_set=[True], description=f"every vector belongs to a row of the {entities} table"
            ),
            f"Ingest the missing {entities}, or leave out the vectors that belong to none.",
        ),
        Rule(
            ExpectColumnValuesToLieWithin(
                column="width",
                min_value=spec.width,
                max_value=spec.width,
                description=f"every vector has the {spec.width} components of its spec",
            ),
            _ENCODE_ROWS,
        ),
        Rule(
            ExpectColumnValuesToLieWithin(
                column="nonfinite", max_value=0, description="no component is NaN or infinite"
            ),
            _ENCODE_ROWS,
        ),
    ]
    if spec.entity != "post":  # one post has a text and no picture, the next a picture and no text
        rules.append(
            Rule(
                gxe.ExpectColumnValuesToBeInSet(
                    column="present",
                    value_set=[True],
                    mostly=_LEAST_COVERAGE,
                    description=f"at least {_LEAST_COVERAGE:.0%} of the {entities} have a vector",
                ),
                f"Encode the missing {entities}: `backbeat features encode`.",
            )
        )
    rules.append(complete_rule(required_columns(EMBEDDING_PREFIX + spec.name)))
    return rules + (_of_counted_vectors() if counted(spec) else _of_deep_vectors(spec))


def rules_on_table(spec: EmbeddingSpec, rows: int) -> list[Rule]:
    """Rules on a table of vectors as a whole; one whose statistic could not be measured is to be left out.

    Args:
        spec: What the vectors are.
        rows: How many there are.
    """
    entities = ENTITY_TABLES[spec.entity]
    rules = [
        Rule(
            gxe.ExpectColumnMinToBeBetween(
                column="rows", min_value=1, description=f"at least one of the {entities} has a vector"
            ),
            f"Encode the {entities}, `backbeat features encode`, or leave the table out of what is ingested.",
        )
    ]
    if spec.entity != "post" and rows >= _LEAST_FOR_RECENT:
        rules.append(
            Rule(
                gxe.ExpectColumnMinToBeBetween(
                    column="recent_coverage",
                    min_value=_LEAST_RECENT,
                    description=f"at least {_LEAST_RECENT:.0%} of the newest of the {entities} have a vector",
                ),
                "Look at whether the encoder still runs, and encode what came last.",
            )
        )
    if counted(spec):
        return [*rules, *_of_counted_table()] if rows >= _LEAST_COUNTED else rules
    return [*rules, *_of_deep_table(spec, rows)]


def counted(spec: EmbeddingSpec) -> bool:
    """Whether vectors are counts and the like, which may well be zero, or equal between short texts."""
    return spec.modality.endswith("_handcrafted")


def _of_counted_vectors() -> list[Rule]:
    return [
        Rule(
            ExpectColumnValuesToLieWithin(
                column="norm",
                max_value=_LARGEST_LENGTH,
                description=f"no vector is longer than {_LARGEST_LENGTH:,.0f}",
            ),
            _ENCODE_ROWS,
        )
    ]


def _of_counted_table() -> list[Rule]:
    return [
        Rule(
            gxe.ExpectColumnMaxToBeBetween(
                column="zero_share",
                max_value=_MOST_ZERO_COUNTED,
                description=f"at most {_MOST_ZERO_COUNTED:.0%} of the vectors are zero",
            ),
            _ENCODE_TABLE,
        ),
        Rule(
            gxe.ExpectColumnMinToBeBetween(
                column="distinct", min_value=2, description="the vectors are not all one and the same"
            ),
            _ENCODE_TABLE,
        ),
    ]


def _of_deep_table(spec: EmbeddingSpec, rows: int) -> list[Rule]:
    half = spec.width // 2
    rules = [
        Rule(
            gxe.ExpectColumnMinToBeBetween(
                column="effective_rank",
                min_value=_LEAST_RANK,
                description=f"vectors spread over {_LEAST_RANK:g} effective dimensions or more",
            ),
            "The encoder has collapsed: look at its weights and its input, and encode the table again.",
        ),
        Rule(
            gxe.ExpectColumnMinToBeBetween(
                column="relative_spread",
                min_value=_LEAST_SPREAD,
                description=f"vectors differ by {_LEAST_SPREAD:.0%} of their length or more",
            ),
            "The encoder has collapsed: look at its weights and its input, and encode the table again.",
        ),
        Rule(
            gxe.ExpectColumnMaxToBeBetween(
                column="dead_dimensions", max_value=half, description=f"at most {half} of the dimensions never vary"
            ),
            "The encoder has collapsed: look at its weights and its input, and encode the table again.",
        ),
    ]
    hub = (
        Rule(
            gxe.ExpectColumnMaxToBeBetween(
                column="hub_share",
                max_value=_MOST_HUB,
                description=f"no item is among the ten nearest of more than {_MOST_HUB:.0%} of the others",
            ),
            "Look at the item that is everybody's neighbour: such vectors are often a mean or a placeholder.",
        ),
    )
    return [*rules, *hub] if rows >= _LEAST_FOR_HUBS else rules


def _of_deep_vectors(spec: EmbeddingSpec) -> list[Rule]:
    low, high = _NORM_BAND
    marks = {
        "zero": (_MOST_ZERO, "are zero", "Look for media that could not be decoded, and encode those items again."),
        "constant": (_MOST_CONSTANT, "have all components equal", _ENCODE_TABLE),
        "repeated": (_MOST_REPEATED, "repeat another one", _ENCODE_TABLE),
    }
    rules = [
        Rule(
            ExpectColumnValuesToLieWithin(
                column=column,
                max_value=0,
                mostly=1 - most,
                description=f"at most {most:.0%} of the vectors {what}",
            ),
            advice,
        )
        for column, (most, what, advice) in marks.items()
    ]
    rules += [
        Rule(
            ExpectColumnValuesToLieWithin(
                column="relative_norm",
                min_value=low,
                max_value=high,
                mostly=_LEAST_IN_BAND,
                description=f"{_LEAST_IN_BAND:.1%} of the norms lie between {low:g} and {high:g} times their median",
            ),
            _ENCODE_ROWS,
        ),
        Rule(
            ExpectColumnValuesToLieWithin(
                column="fp16_error",
                max_value=_HALF_ERROR,
                mostly=1.0 if spec.dtype == "float16" else _LEAST_IN_BAND,
                description=f"vectors keep to {_HALF_ERROR:.0%} in half precision: nothing overflows or vanishes",
            ),
            "Look for an overflow in half precision in the encoder, and encode these items again in float32.",
        ),
    ]
    if spec.normalisation == "l2":
        rules.append(
            Rule(
                ExpectColumnValuesToLieWithin(
                    column="norm",
                    min_value=1 - _UNIT,
                    max_value=1 + _UNIT,
                    mostly=1 - _MOST_ZERO,  # the zeros among them have a rule of their own
                    description="vectors have length 1, as the spec's normalisation says",
                ),
                "Normalise the vectors, or correct the spec.",
            )
        )
    return rules
