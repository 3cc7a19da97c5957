"""Versions side by side: figures with paired intervals where they mean the same thing, and options."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from contracts.errors import BadInput, NotFound
from contracts.home import Home
from contracts.manifest import read_manifest
from contracts.metric_names import headlines
from contracts.settings import Settings
from contracts.user_figures import UserFigures
from registry.evidence import users_of_package
from registry.store import ModelStore, ModelVersion

__all__ = ["MOST_VERSIONS", "Comparison", "Difference", "Group", "compare_versions"]

MOST_VERSIONS = 8
"""More cannot be read side by side."""


@dataclass(frozen=True)
class Difference:
    """Of a version from the baseline: mean over users, and its 95 % interval by a paired bootstrap."""

    mean: float
    low: float
    high: float
    users: int


@dataclass(frozen=True)
class Group:
    """Versions that were measured by one protocol."""

    protocol: str
    versions: tuple[str, ...]
    models: dict[str, str]
    baseline: str
    """What the others differ from: the champion where it is among them, else the first."""
    metrics: dict[str, dict[str, float | str | None]]
    """Metric → version → value, None where it was not measured; a value that is not finite is its name."""
    differences: dict[str, dict[str, Difference]]
    """Metric → version → its difference from the baseline, where both have figures of the same users."""


@dataclass(frozen=True)
class Comparison:
    """Versions of one surface, by protocol."""

    surface: str
    groups: tuple[Group, ...]
    options: dict[str, dict[str, Any]]
    """Option → version → value, of those that are not alike in all; a version without it has None."""
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return asdict(self)


def compare_versions(settings: Settings, home: Home, surface: str, versions: Sequence[ModelVersion]) -> Comparison:
    """Put versions side by side.

    Args:
        settings: Name the model registry.
        home: Holds it in the local profile.
        surface: The registered model that all are versions of.
        versions: 2 to 8 distinct ones.

    Raises:
        BadInput: There are fewer or more, one stands there twice, or one is of another surface.
    """
    _require_choice(surface, versions)
    store, notes = ModelStore(settings, home), []
    configs: dict[str, Mapping[str, Any]] = {}
    users: dict[str, UserFigures] = {}
    for version in versions:
        try:
            package = store.package_path(version)
            configs[version.version] = _flat({"model": version.model, **read_manifest(package).config})
        except (NotFound, BadInput) as error:
            notes.append(f"version {version.version}: {error.subject}: found {error.found}")
            continue
        if (figures := users_of_package(package)) is None:
            notes.append(
                f"version {version.version} has no figures of users, and so no intervals; "
                f"`backbeat train {version.model} --force` makes a version that has"
            )
        else:
            users[version.version] = figures
    protocols = list(dict.fromkeys(version.protocol for version in versions))
    return Comparison(
        surface=surface,
        groups=tuple(_group([v for v in versions if v.protocol == protocol], users) for protocol in protocols),
        options=_unlike(configs),
        notes=tuple(notes),
    )


def _require_choice(surface: str, versions: Sequence[ModelVersion]) -> None:
    numbers = [version.version for version in versions]
    strangers = [
        f"version {version.version} of {version.surface}" for version in versions if version.surface != surface
    ]
    found = None
    if strangers:
        found = strangers[0]
    elif len(set(numbers)) < len(numbers):
        found = f"version {next(n for n in numbers if numbers.count(n) > 1)} twice"
    elif not 2 <= len(numbers) <= MOST_VERSIONS:
        found = f"{len(numbers)} versions"
    if found is not None:
        raise BadInput(
            f"versions of {surface} to compare",
            found=found,
            expected=f"2 to {MOST_VERSIONS} different versions of {surface}",
            next_step="choose them from `backbeat models list`",
        )


def _group(versions: Sequence[ModelVersion], users: Mapping[str, UserFigures]) -> Group:
    baseline = next((v for v in versions if "champion" in v.aliases), versions[0])
    of_all = [headlines(version.metrics) for version in versions]
    names = sorted({name for metrics in of_all for name in metrics})
    differences = {}
    base = users.get(baseline.version)
    for name in base.figures if base is not None else ():
        found = {
            version.version: Difference(*mine.difference(base, name), users=len(mine))
            for version in versions
            if version is not baseline
            and base is not None
            and (mine := users.get(version.version)) is not None
            and mine.pairs_with(base, name)
        }
        if found:
            differences[name] = {number: each for number, each in found.items() if math.isfinite(each.mean)}
    return Group(
        protocol=versions[0].protocol,
        versions=tuple(version.version for version in versions),
        models={version.version: version.model for version in versions},
        baseline=baseline.version,
        metrics={
            name: {v.version: _json(metrics.get(name)) for v, metrics in zip(versions, of_all, strict=True)}
            for name in names
        },
        differences=differences,
    )


def _json(value: float | None) -> float | str | None:
    return value if value is None or math.isfinite(value) else str(value)


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options of options by their path: ``loss.weight``."""
    found: dict[str, Any] = {}
    for name, value in config.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found


def _unlike(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    names = sorted({name for config in configs.values() for name in config})
    table = {name: {number: config.get(name) for number, config in configs.items()} for name in names}
    return {
        name: values
        for name, values in table.items()
        if len({json.dumps(each, sort_keys=True, default=str) for each in values.values()}) > 1
    }
