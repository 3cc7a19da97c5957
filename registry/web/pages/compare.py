"""Two to eight versions side by side; what was measured differently is kept apart."""

import re
from dataclasses import asdict
from typing import Annotated

from fastapi import Query
from pydantic import BaseModel, ConfigDict

from contracts.errors import BadInput
from contracts.metric_names import headlines
from contracts.surfaces import PRIMARY_METRICS, SURFACES, VIDEO_FEED
from registry.catalogue.catalogue import CataloguedVersion
from registry.comparison import MOST_VERSIONS, Comparison, compare_versions
from registry.comparison import Group as PairedGroup
from registry.web.page import Pages
from registry.web.pages.artifacts import RunFiles
from registry.web.pages.catalogued import as_stored, catalogue_of
from registry.web.site import Here, Visit

__all__ = ["ComparePage", "pages"]

pages = Pages("compare")

_MORE_IS_BETTER = re.compile(r"(^|_)(recall|precision|ndcg|hr|mrr|map|auc)_at_\d+$")


class MetricLine(BaseModel):
    """One metric of every version of a group."""

    model_config = ConfigDict(frozen=True)

    name: str
    values: list[float | None]
    """In the order of the group's versions."""
    best: float | None
    """The highest, of metrics of which more is better; None where they are alike."""
    quality: bool
    """Whether it says how good lists are; others are losses, counts and times."""


class DifferenceLine(BaseModel):
    """How a version differs from the group's baseline, by the figures of the same users."""

    model_config = ConfigDict(frozen=True)

    metric: str
    version: str
    model: str
    mean: float
    low: float
    high: float
    """Bounds of the 95 % interval, by a paired bootstrap over users."""
    users: int


class Group(BaseModel):
    """Versions measured by the same protocol, and so comparable."""

    model_config = ConfigDict(frozen=True)

    protocol: str
    versions: list[CataloguedVersion]
    metrics: list[MetricLine]
    baseline: str
    """Version that the others differ from: the champion where it is among them, else the first."""
    differences: list[DifferenceLine]


class OptionLine(BaseModel):
    """One option that is not the same in all versions."""

    model_config = ConfigDict(frozen=True)

    option: str
    values: list[str | None]


class Curve(BaseModel):
    """The primary metric of one version, epoch by epoch."""

    model_config = ConfigDict(frozen=True)

    version: str
    model: str
    epochs: list[float]
    values: list[float]


class ComparePage(BaseModel):
    """The comparison; without versions, what can be compared."""

    model_config = ConfigDict(frozen=True)

    surface: str
    surfaces: list[str]
    metric: str
    versions: list[CataloguedVersion]
    groups: list[Group]
    """By protocol fingerprint."""
    config: list[OptionLine]
    curves: list[Curve]
    notes: list[str]
    """What could not be compared, and why."""


@pages.page("/compare", "pages/compare.html")
def compare(
    here: Here,
    surface: Annotated[str, Query(max_length=64)] = VIDEO_FEED,
    version: Annotated[list[str], Query()] = [],  # noqa: B006
) -> ComparePage:
    """Metrics, configuration and curves of two to eight versions of a surface.

    Raises:
        NotFound: There is no such surface or version.
        BadInput: One version, or more than eight.
    """
    catalogue = catalogue_of(here)
    chosen = list(dict.fromkeys(each.strip() for text in version for each in text.split(",") if each.strip()))
    if len(chosen) == 1 or len(chosen) > MOST_VERSIONS:
        raise BadInput(
            f"comparison of {surface} versions",
            found=f"{len(chosen)} version{'s' if len(chosen) > 1 else ''}",
            expected="two to eight versions",
            next_step=f"choose them at /versions/{surface}",
        )
    found = list({each.version: each for each in (catalogue.get(surface, name) for name in chosen)}.values())
    if not found:
        catalogue.choices(surface)
    paired, notes = _paired(here, surface, found)
    return ComparePage(
        surface=surface,
        surfaces=list(SURFACES),
        metric=PRIMARY_METRICS[surface],
        versions=found,
        groups=_groups(found, PRIMARY_METRICS[surface], paired),
        config=_options(found),
        curves=[curve for one in found if (curve := _curve(RunFiles(here, one), one)) is not None],
        notes=notes,
    )


def _paired(here: Visit, surface: str, versions: list[CataloguedVersion]) -> tuple[Comparison | None, list[str]]:
    """Paired differences of those whose packages are on this machine; a page fetches none."""
    there = [version for version in versions if RunFiles(here, version).package is not None]
    away = [f"version {v.version}: its package is not on this machine" for v in versions if v not in there]
    if len(there) < 2:
        return None, away
    found = compare_versions(here.settings, here.home, surface, [as_stored(version) for version in there])
    return found, [*away, *found.notes]


def _groups(versions: list[CataloguedVersion], primary: str, paired: Comparison | None) -> list[Group]:
    by_protocol: dict[str, list[CataloguedVersion]] = {}
    for version in versions:
        by_protocol.setdefault(version.protocol, []).append(version)
    found = {} if paired is None else {group.protocol: group for group in paired.groups}
    return [
        Group(
            protocol=protocol,
            versions=alike,
            metrics=_metrics(alike, primary),
            baseline=found[protocol].baseline if protocol in found else alike[0].version,
            differences=_differences(found[protocol], primary) if protocol in found else [],
        )
        for protocol, alike in sorted(by_protocol.items(), key=lambda pair: -len(pair[1]))
    ]


def _differences(group: PairedGroup, primary: str) -> list[DifferenceLine]:
    return [
        DifferenceLine(metric=metric, version=number, model=group.models[number], **asdict(difference))
        for metric, of_versions in sorted(group.differences.items(), key=lambda pair: (pair[0] != primary, pair[0]))
        for number, difference in of_versions.items()
    ]


def _metrics(versions: list[CataloguedVersion], primary: str) -> list[MetricLine]:
    shown = [headlines({name: value for name, value in each.metrics.items() if value is not None}) for each in versions]
    names = sorted(
        {name for each in shown for name in each}, key=lambda name: (name != primary, "_at_" not in name, name)
    )
    lines = []
    for name in names:
        values = [each.get(name) for each in shown]
        known = {value for value in values if value is not None}
        best = max(known) if len(known) > 1 and _MORE_IS_BETTER.search(name) else None
        lines.append(MetricLine(name=name, values=values, best=best, quality="_at_" in name))
    return lines


def _options(versions: list[CataloguedVersion]) -> list[OptionLine]:
    names = sorted({name for each in versions for name in each.parameters})
    lines = [OptionLine(option=name, values=[each.parameters.get(name) for each in versions]) for name in names]
    return [line for line in lines if len(set(line.values)) > 1]


def _curve(files: RunFiles, version: CataloguedVersion) -> Curve | None:
    numbers = files.numbers("curves")
    if numbers is None:
        return None
    name = PRIMARY_METRICS[version.surface].removeprefix("validation_")
    epochs, values = numbers.get("epoch"), (numbers.get("validation") or {}).get(name)
    if not isinstance(epochs, list) or not isinstance(values, list) or len(epochs) != len(values):
        return None
    return Curve(version=version.version, model=version.model, epochs=epochs, values=values)
