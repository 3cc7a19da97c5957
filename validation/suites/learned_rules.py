"""What accepted snapshots lead to expect of a table of vectors as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

from great_expectations import expectations as gxe

from validation.expectations.bands import ExpectColumnShareToStayInLearnedBand, ExpectStatisticToStayInLearnedBand
from validation.statistics.bands import Band, least_share_band, share_band, since_overridden, value_band
from validation.statistics.profile import Profile, newly_dead
from validation.suites.suite import Rule

__all__ = ["learned_rules"]

History = Sequence[Mapping[str, float]]

_PAIRED = frozenset({"repeated_share", "near_duplicate_share"})
_FEW: Mapping[str, tuple[str, str]] = {
    "zero_share": ("zero vectors are no more than in accepted snapshots", "Encode the items with zero vectors again."),
    "constant_share": (
        "vectors with all components equal are no more than in accepted snapshots",
        "Encode these items again: their media may not have been read.",
    ),
    "repeated_share": (
        "vectors that repeat another item's are no more than in accepted snapshots",
        "Look for one vector written to many items, and encode those again.",
    ),
    "near_duplicate_share": (
        "vectors that nearly repeat another item's are no more than in accepted snapshots",
        "Look for a placeholder or for re-uploads, and encode those items again.",
    ),
    "clipped_share": (
        "vectors with components at a shared limit are no more than in accepted snapshots",
        "Look for clipping or saturation in the encoder, and encode the table again.",
    ),
    "norm_outlier_share": (
        "vectors whose length is far from the others' are no more than in accepted snapshots",
        "Look for a part of the table that was scaled otherwise, and encode it again.",
    ),
}
_TRIFLE = 1e-3
"""Share of the rows that wakes nobody, however large the table and however clean those before it."""
_MANY: Mapping[str, tuple[str, float, float, str]] = {
    "coverage": (
        "entities with a vector are no fewer than in accepted snapshots",
        1.0,
        0.005,
        "Encode the missing items: `backbeat features encode`.",
    ),
    "recent_coverage": (
        "the newest entities have vectors as often as in accepted snapshots",
        0.05,
        0.02,
        "Look at whether the encoder keeps up with what is published, and encode the missing items.",
    ),
}
"""Statistic → the rule, the part of the rows that it is a share of, a decrease that wakes nobody, and the advice."""
_VALUES: Mapping[str, tuple[str, float, bool, str]] = {
    "effective_rank": (
        "the effective rank is as in accepted snapshots",
        0.05,
        True,
        "Look for a collapse or another encoder, and encode the table again.",
    ),
    "top_eigenvalue_share": (
        "the first principal component has the share of variance that it had",
        0.1,
        True,
        "Look for a collapse or another encoder, and encode the table again.",
    ),
    "relative_spread": (
        "vectors differ among each other as in accepted snapshots",
        0.1,
        True,
        "Look for a collapse or another centring, and encode the table again.",
    ),
    "norm_median": (
        "the median norm is as in accepted snapshots",
        0.03,
        True,
        "Look for another scaling or normalisation, and encode the table again.",
    ),
    "norm_spread": (
        "norms spread as in accepted snapshots",
        0.1,
        True,
        "Look for a part of the table that was scaled otherwise, and encode it again.",
    ),
    "hub_share": (
        "no item is the neighbour of more others than in accepted snapshots",
        0.5,
        False,
        "Look at the item that is everybody's neighbour: such vectors are often a mean or a placeholder.",
    ),
    "hub_concentration": (
        "the places among the nearest are shared by as many items as in accepted snapshots",
        0.3,
        False,
        "Look for items that are everybody's neighbours: such vectors are often a mean or a placeholder.",
    ),
    "hubness_skewness": (
        "nearness is spread over the items as in accepted snapshots",
        0.2,
        False,
        "Look for items that are everybody's neighbours: such vectors are often a mean or a placeholder.",
    ),
}
"""Statistic → the rule, the relative change that matters to nobody, whether it may not fall either, and the advice."""
_LAG_HOURS, _LAG_PART, _LAG_MOST = 24.0, 0.5, 168.0
"""Further behind than usual by a day and half of what is usual, never by more than a week. Twice what is usual would
grow as fast as the lag of an encoder that has stopped."""

Share = tuple[float, int]
_NOBODY: Mapping[str, tuple[str, ...]] = {}


def learned_rules(
    history: History, now: Profile, before: Profile | None, examples: Mapping[str, tuple[str, ...]] = _NOBODY
) -> list[Rule]:
    """Rules for the statistics that accepted snapshots had, whether or not they could be measured now.

    Args:
        history: Statistics of accepted snapshots, oldest first.
        now: What is judged.
        before: The last accepted one.
        examples: Statistic → some of the rows that make it up, by name.
    """
    rows = int(now.statistics.get("rows", 0))
    rules = []
    for name, (words, advice) in _FEW.items():
        known = _shares(name, history)
        if known:
            band = share_band(known, rows, pairs=name in _PAIRED)
            high = max(band.high or 0.0, _TRIFLE)
            rules.append(_share_rule(name, Band(None, high, len(known)), words, advice, examples.get(name, ())))
    for name, (words, part, trifle, advice) in _MANY.items():
        known = _shares(name, history, part)
        if known:
            least = _least_share(known, max(int(part * rows), 1), trifle)
            rules.append(_share_rule(name, Band(least, None, len(known)), words, advice))
    for name, (words, floor, both, advice) in _VALUES.items():
        values = [past[name] for past in history if name in past]
        if values:
            errors = [profile.errors[name] for profile in (now, before) if profile and name in profile.errors]
            band = _value_band(values, max(errors, default=0.0), floor)
            rules.append(_value_rule(name, band, both, words, advice))
    lags = [past["freshness_lag_hours"] for past in history if "freshness_lag_hours" in past]
    if lags:
        rules.append(_lag_rule(_most_lag(since_overridden(lags, lambda past, lag: lag <= _most_lag(past)))))
    if before is not None and now.width == before.width:
        rules.append(_dead_rule(newly_dead(before, now).tolist()))
    return rules


def _least_share(known: Sequence[Share], rows: int, trifle: float) -> float:
    """Below the best of the level by a trifle, or by what accepted snapshots vary: a slow fall adds up."""

    def least(past: Sequence[Share], rows: int) -> float:
        few = max(share for share, _ in past) - trifle
        low = least_share_band(past, rows).low
        return max(min(few, 1.0 if low is None else low), 0.0)

    return least(since_overridden(known, lambda past, now: now[0] >= least(past, now[1])), rows)


def _value_band(values: Sequence[float], error: float, floor: float) -> Band:
    def inside(past: Sequence[float], value: float) -> bool:
        band = value_band(past, error, floor)
        return band.low is None or band.high is None or band.low <= value <= band.high

    level = since_overridden(values, inside)
    return replace(value_band(level, error, floor), learned_from=len(values))


def _most_lag(past: Sequence[float]) -> float:
    usual = median(past)
    return usual + min(_LAG_HOURS + _LAG_PART * usual, _LAG_MOST)


def _shares(name: str, history: History, part: float = 1.0) -> list[Share]:
    """Accepted shares, each with the number of rows that it is a share of."""
    return [(past[name], max(int(part * past.get("rows", 0)), 1)) for past in history if name in past]


def _share_rule(name: str, band: Band, words: str, advice: str, examples: tuple[str, ...] = ()) -> Rule:
    rule = ExpectColumnShareToStayInLearnedBand(
        column=name, low=band.low, high=band.high, learned_from=band.learned_from, description=words
    )
    # Fewer vectors than usual may be vectors that are zero or broken, of which there are rules of their own.
    return Rule(rule, advice, compared=True, examples=examples, consequence=band.low is not None)


def _value_rule(name: str, band: Band, both: bool, words: str, advice: str) -> Rule:
    rule = ExpectStatisticToStayInLearnedBand(
        column=name,
        low=band.low if both else None,
        high=band.high,
        learned_from=band.learned_from,
        description=words,
    )
    return Rule(rule, advice, compared=True, consequence=True)


def _lag_rule(most: float) -> Rule:
    rule = gxe.ExpectColumnMaxToBeBetween(
        column="freshness_lag_hours",
        max_value=most,
        description=f"the newest vector is at most {most:,.0f} hours behind the newest entity",
    )
    advice = "Look at whether the encoder still runs, and encode what came last."
    return Rule(rule, advice, compared=True, consequence=True)


def _dead_rule(dimensions: list[int]) -> Rule:
    rule = gxe.ExpectColumnMaxToBeBetween(
        column="newly_dead_dimensions",
        max_value=0,
        description="every dimension that varied in the accepted snapshot still varies",
    )
    examples = tuple(f"dimension {number}" for number in dimensions)
    advice = "Look at what the encoder writes to these dimensions, and encode the table again."
    return Rule(rule, advice, compared=True, examples=examples)
