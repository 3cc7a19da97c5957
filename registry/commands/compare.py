"""`backbeat models compare`: versions side by side, unlike ones kept apart."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.console import emit
from contracts.options import HomeOption, JsonOption
from contracts.surfaces import VIDEO_FEED
from registry.commands.options import SurfaceOption

if TYPE_CHECKING:
    from registry.comparison import Comparison, Difference, Group

__all__ = ["compare"]

_COSTS = ("score_latency_ms_p99", "train_seconds")
"""Shown beside the figures of ranking; --json has all else."""


def compare(
    versions: Annotated[list[str], typer.Argument(help="2 to 8 versions: number, alias, `best` or `runner-up`.")],
    surface: SurfaceOption = VIDEO_FEED,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Compare versions: metrics with paired intervals, and options. Example: `backbeat models compare champion 7`

    Differences are from the champion where it is among them, else from the first. Versions that were measured by
    another protocol stand in a group of their own and are not compared.
    """
    from contracts.opening import open_home
    from registry.comparison import compare_versions
    from registry.store import ModelStore

    settings, place = open_home(home)
    store = ModelStore(settings, place)
    chosen = [store.get(surface, version) for version in versions]
    compared = compare_versions(settings, place, surface, chosen)
    document = compared.as_dict()
    emit(document, as_json=as_json, text=_text(compared))
    return document


def _text(compared: "Comparison") -> str:
    lines: list[str] = []
    for group in compared.groups:
        lines += _of_group(group)
    if len(compared.groups) > 1:
        lines.append("Versions of different protocols are not compared: their figures mean different things.")
    if compared.options:
        lines.append("Options that differ:")
        numbers = list(next(iter(compared.options.values())))
        lines.append("  ".join(["  " + " " * 28, *(f"{'version ' + number:>16}" for number in numbers)]))
        for name, values in compared.options.items():
            lines.append("  ".join([f"  {name:<28}", *(f"{_option(values[number]):>16}" for number in numbers)]))
    lines += [f"Note: {text}" for text in compared.notes]
    return "\n".join(lines)


def _of_group(group: "Group") -> list[str]:
    heads = [f"{number} {group.models[number]}"[:22] for number in group.versions]
    lines = [f"protocol {group.protocol or 'unknown'}; differences are from version {group.baseline}"]
    lines.append("  ".join([" " * 30, *(f"{head:>34}" for head in heads)]))
    for metric, values in group.metrics.items():
        if "_at_" not in metric and metric not in _COSTS:
            continue
        cells = []
        for number in group.versions:
            value = values[number]
            said = "-" if value is None else f"{value:.4f}" if isinstance(value, float) else value
            cells.append(f"{said}{_difference(group.differences.get(metric, {}).get(number))}")
        lines.append("  ".join([f"  {metric:<28}", *(f"{cell:>34}" for cell in cells)]))
    return [*lines, ""]


def _difference(found: "Difference | None") -> str:
    return "" if found is None else f" ({found.mean:+.4f}, {found.low:+.4f} to {found.high:+.4f})"


def _option(value: object) -> str:
    return "-" if value is None else str(value)
