"""What is expected of a table of vectors beside the accepted one: its items, its new items, other modalities."""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from validation.comparison import ALPHA, DRIFT, Comparison
from validation.expectations.bands import ExpectColumnShareToStayInLearnedBand, ExpectStatisticToStayInLearnedBand
from validation.expectations.drift import ExpectNoDriftBeyondChance
from validation.expectations.modalities import ExpectPairedModalitiesToAgree
from validation.expectations.vectors import ExpectItemsToKeepTheirVectors
from validation.material import MARGIN
from validation.statistics.bands import share_band, value_band
from validation.statistics.crossmodal import Margin
from validation.statistics.drift import LEAST_NEW, Drift
from validation.statistics.paired import Paired
from validation.suites.suite import Rule

__all__ = ["compared_facts", "compared_rules", "loss_rules"]

_MOST_CHANGED, _FEW_CHANGED = 0.01, 2
_MOST_MOVED, _FEW_MOVED = 0.002, 1
"""Share of the common items, and number of them in a small table, that may be."""
_MOST_LOST = 0.02
"""Above the 1 % of rows that a quarantine may have taken out."""
_MOST_GONE = 0.05
_LEAST_OVERLAP, _FOR_OVERLAP = 0.95, 200
_MOST_SHIFT, _FOR_SHIFT = 0.02, 50
"""Limits, and the number of sampled common items that it takes."""
_MARGIN_FLOOR = 0.2
_LISTED = 5

History = Sequence[Mapping[str, float]]


def loss_rules(facts: Mapping[str, Any], notes: list[str]) -> list[Rule]:
    """Rules on vectors of the accepted snapshot that are no more.

    Args:
        facts: ``lost_share`` and ``shrunk_share``; None for what there is nothing to judge by.
        notes: Gets to say why rules are left out.
    """
    rules = {
        "lost_share": (
            f"at least {1 - _MOST_LOST:.0%} of the items that had a vector and are still there have one",
            _MOST_LOST,
            "Encode the items that have lost their vectors: `backbeat features encode`.",
        ),
        "shrunk_share": (
            f"there are at least {1 - _MOST_GONE:.0%} as many vectors as in the accepted snapshot",
            _MOST_GONE,
            "Look at which source is missing, and override if the items were removed on purpose.",
        ),
    }
    found = []
    for column, (words, most, advice) in rules.items():
        if facts[column] is None:
            notes.append(f"nothing to judge by whether {words}")
        else:
            rule = ExpectItemsToKeepTheirVectors(column=column, max_share=most, description=words)
            found.append(Rule(rule, advice, compared=True))
    return found


def compared_rules(comparison: Comparison, history: History, notes: list[str]) -> list[Rule]:
    """Rules for which there is evidence.

    Args:
        comparison: What came out beside an accepted table of the spec.
        history: Statistics of accepted snapshots, oldest first.
        notes: Gets to say why rules are left out.
    """
    rules = [] if comparison.paired is None else _paired_rules(comparison.paired, history, notes)
    if comparison.drift is None:
        notes.append(f"fewer than {LEAST_NEW} new items: no test of drift")
    else:
        rules.append(_drift_rule(comparison.drift))
    expected = history[-1] if history else {}
    learned = {name.removeprefix(MARGIN) for past in history for name in past if name.startswith(MARGIN)}
    # One that was measured for the last accepted snapshot must be measured again.
    known = sorted(name for name in learned if MARGIN + name in expected or name in comparison.margins)
    rules += [_margin_rule(name, comparison.margins.get(name), history) for name in known]
    rules += [_new_pairs_rule(name, m) for name, m in comparison.margins.items() if m.p_value is not None]
    return rules


def compared_facts(comparison: Comparison) -> dict[str, float]:
    """The columns that these rules judge and that are no statistics."""
    return {name if name == DRIFT else _pairs_column(name): p for name, p in comparison.p_values.items()}


def _paired_rules(paired: Paired, history: History, notes: list[str]) -> list[Rule]:
    if not paired.common:
        notes.append("no item in common with the accepted snapshot: nothing to compare one by one")
        return []
    known = [(past["changed_share"], int(past["common"])) for past in history if "changed_share" in past]
    learned = share_band(known, paired.common).high if known else None
    changed = max(_MOST_CHANGED, _FEW_CHANGED / paired.common, learned or 0.0)
    moved = max(_MOST_MOVED, _FEW_MOVED / paired.common)
    rules = [
        Rule(
            ExpectItemsToKeepTheirVectors(
                column="moved_share",
                max_share=moved,
                description=f"at most {moved:.2%} of the items carry what was another item's vector",
            ),
            "Look for rows that were shifted, sorted or joined wrongly, and encode the table again.",
            compared=True,
            examples=tuple(f"{item} carries the vector of {other}" for item, other in paired.moved[:_LISTED]),
        ),
        Rule(
            ExpectItemsToKeepTheirVectors(
                column="changed_share",
                max_share=changed,
                description=f"at most {changed:.2%} of the items have another vector than before",
            ),
            "Look at whether the encoder, its weights or its preprocessing changed; a new encoder needs a new spec.",
            compared=True,
            examples=tuple(
                f"{item} ({distance:.2g} standard deviations)" for item, distance in paired.changed[:_LISTED]
            ),
        ),
    ]
    shape = _shape_rules(history)
    for column, least in (("neighbour_overlap", _FOR_OVERLAP), ("shift", _FOR_SHIFT)):
        if paired.sampled >= least:
            rules.append(shape[column])
        else:
            notes.append(f"{paired.sampled} items in both samples: too few to judge the {column.replace('_', ' ')}")
    return rules


def _shape_rules(history: History) -> dict[str, Rule]:
    overlaps = value_band([past["neighbour_overlap"] for past in history if "neighbour_overlap" in past], 0.0, 0.05)
    shifts = value_band([past["shift"] for past in history if "shift" in past], _MOST_SHIFT / 10, 0.0)
    least = min(_LEAST_OVERLAP, overlaps.low) if overlaps.low is not None else _LEAST_OVERLAP
    most = max(_MOST_SHIFT, shifts.high) if shifts.high is not None else _MOST_SHIFT
    return {
        "neighbour_overlap": Rule(
            ExpectColumnShareToStayInLearnedBand(
                column="neighbour_overlap",
                low=least,
                learned_from=overlaps.learned_from,
                description="items have the nearest neighbours that they had",
            ),
            "Look for vectors that changed places, or another encoder, and encode the table again.",
            compared=True,
            consequence=True,
        ),
        "shift": Rule(
            ExpectStatisticToStayInLearnedBand(
                column="shift",
                high=most,
                learned_from=shifts.learned_from,
                description="the vectors of common items have not all moved in one direction",
            ),
            "Look for another preprocessing or another centring, and encode the table again.",
            compared=True,
            consequence=True,
        ),
    }


def _drift_rule(drift: Drift) -> Rule:
    sizes = [
        f"{test} by {drift.effects[test]:.2g} standard deviations"
        for test, p in sorted(drift.p_values.items(), key=itemgetter(1))
        if p <= ALPHA and drift.severities[test] >= 1
    ]
    rule = ExpectNoDriftBeyondChance(
        column=DRIFT,
        alpha=ALPHA,
        detail=f"{drift.new:,} new items differ in {', '.join(sizes)}" if sizes else None,
        description="new items have vectors such as the accepted ones",
    )
    examples = tuple(f"{item} ({distance:.1f} times as far as usual)" for item, distance in drift.items[:_LISTED])
    advice = "Look at how the new items were encoded, and override if the catalogue itself has changed."
    return Rule(rule, advice, compared=True, consequence=True, examples=examples)


def _margin_rule(name: str, margin: Margin | None, history: History) -> Rule:
    values = [past[MARGIN + name] for past in history if MARGIN + name in past]
    low = value_band(values, 0.0 if margin is None else margin.error, _MARGIN_FLOOR).low
    rule = ExpectPairedModalitiesToAgree(
        column=MARGIN + name,
        least=min(values) if low is None else low,
        detail=None if margin is None else f"over {margin.pairs:,} pairs",
        description=f"an item's vector goes with its {name.replace('_', ' ')} vector as in accepted snapshots",
    )
    advice = "Look for rows of either table that carry other items' vectors, and encode that table again."
    return Rule(rule, advice, compared=True, consequence=True)


def _new_pairs_rule(name: str, margin: Margin) -> Rule:
    rule = ExpectNoDriftBeyondChance(
        column=_pairs_column(name),
        alpha=ALPHA,
        detail=f"{margin.new_pairs:,} new pairs lack {margin.drop:.0%} of the agreement of accepted ones",
        description=f"new items' vectors go with their {name.replace('_', ' ')} vectors as accepted ones do",
    )
    advice = "Look at how the new items were encoded: one of the two modalities has other items' vectors."
    return Rule(rule, advice, compared=True, consequence=True)


def _pairs_column(name: str) -> str:
    return f"new_pairs_{name}"
