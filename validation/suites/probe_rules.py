"""Whether items come out as they are stored when they are encoded again."""

from typing import Any

from great_expectations import expectations as gxe

from contracts.tables import EMBEDDING_PREFIX
from validation.expectations.probes import ExpectProbesToReencodeAlike
from validation.material import Material
from validation.probes import TOLERANCE, Probe
from validation.suites.suite import Rule

__all__ = ["probe_facts", "probe_rules"]

_MOST_STALE = 0.5
_LISTED = 5


def probe_rules(material: Material, table: str, notes: list[str]) -> list[Rule]:
    """Rules for which items were encoded again; why others are left out is added to the notes."""
    probe = _probe(material, table)
    if probe is None:
        return []
    if probe.reason is not None:
        notes.append(f"nothing was encoded again: {probe.reason}")
    if probe.unread:
        notes.append(f"{len(probe.unread)} items cannot be encoded again, such as {': '.join(probe.unread[0])}")
    rules = []
    swapped = "Rows carry other items' vectors: write the table again from what the encoder gave."
    other_encoder = (
        "Encode the table again under a revision of its own: its spec names another encoder, or media changed."
    )
    examples = tuple(f"the vector of {item} stands at {other}" for item, other in probe.moved[:_LISTED])
    examples += tuple(f"{item} ({distance:.2g} standard deviations)" for item, distance in probe.farthest[:_LISTED])
    if probe.worst is not None:
        rules.append(
            Rule(
                ExpectProbesToReencodeAlike(
                    column="probe_distance",
                    tolerance=TOLERANCE,
                    detail=probe.text,
                    description="items that are encoded again come out as they are stored",
                ),
                swapped if probe.moved else other_encoder,
                examples=examples[:_LISTED],
            )
        )
    if probe.drift is not None:
        rules.append(
            Rule(
                ExpectProbesToReencodeAlike(
                    column="probe_drift",
                    tolerance=TOLERANCE,
                    detail=probe.text,
                    description="items that are encoded again come out as when a snapshot was last accepted",
                ),
                "The encoder has drifted under one revision: encode under a new one, or restore its libraries.",
                compared=True,
                examples=examples[:_LISTED],
            )
        )
    if probe.stale:
        rules.append(
            Rule(
                gxe.ExpectColumnMaxToBeBetween(
                    column="probe_stale_share",
                    max_value=_MOST_STALE,
                    description=f"at most {_MOST_STALE:.0%} of the probed items have other media than were encoded",
                ),
                "Encode the items again whose media or texts have changed.",
                examples=probe.stale[:_LISTED],
            )
        )
    return rules


def probe_facts(material: Material, table: str) -> dict[str, Any]:
    """The columns that these rules judge."""
    probe = _probe(material, table)
    if probe is None:
        return {}
    stale = len(probe.stale) / probe.probed if probe.probed else None
    return {"probe_distance": probe.worst, "probe_drift": probe.drift, "probe_stale_share": stale}


def _probe(material: Material, table: str) -> Probe | None:
    return material.probes.get(table.removeprefix(EMBEDDING_PREFIX))
