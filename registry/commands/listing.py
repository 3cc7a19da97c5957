"""``models list`` and ``models show``."""

from typing import TYPE_CHECKING, Any

from contracts.console import emit
from contracts.options import HomeOption, JsonOption
from contracts.surfaces import VIDEO_FEED
from registry.commands.options import SurfaceOption, VersionArgument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.store import ModelVersion

__all__ = ["list_versions", "show"]

_COLUMNS = {
    "validation_recall_at_20": "val R@20",
    "test_recall_at_20": "test R@20",
    "test_precision_at_20": "test P@20",
    "test_ndcg_at_20": "test N@20",
}


def list_versions(
    surface: SurfaceOption = VIDEO_FEED, home: HomeOption = None, as_json: JsonOption = False
) -> dict[str, Any]:
    """List the versions of a surface, newest first. Example: `backbeat models list`"""
    from contracts.opening import open_home
    from registry.store import ModelStore

    settings, place = open_home(home)
    versions = ModelStore(settings, place).versions(surface)
    document = {"surface": surface, "versions": [version_document(version) for version in versions]}
    emit(document, as_json=as_json, text=_table(versions))
    return document


def show(
    version: VersionArgument, surface: SurfaceOption = VIDEO_FEED, home: HomeOption = None, as_json: JsonOption = False
) -> dict[str, Any]:
    """Show one version with its tags, metrics and what the data it was trained on were judged to be.

    Example: `backbeat models show champion`
    """
    from contracts.metric_names import headlines
    from contracts.opening import open_home
    from registry.lineage import validation_of
    from registry.store import ModelStore

    settings, place = open_home(home)
    found = ModelStore(settings, place).get(surface, version)
    judged = validation_of(settings, place, found)
    document = version_document(found) | {"validation": judged}
    facts = [
        ("state", found.state),
        ("created", f"{found.created_at:%Y-%m-%d %H:%M} UTC"),
        ("run", found.run_id),
        ("package", found.source),
        *_validation_facts(judged),
        *((key.removeprefix("backbeat."), value) for key, value in sorted(found.tags.items())),
        *((name, f"{value:.6g}") for name, value in sorted(headlines(found.metrics).items())),
    ]
    lines = [f"{surface} version {found.version}: {found.model}", *(f"  {name:<28} {value}" for name, value in facts)]
    if more := len(found.metrics) - len(headlines(found.metrics)):
        lines.append(f"  {more} metrics of slices and of the machine: --json shows them")
    emit(document, as_json=as_json, text="\n".join(lines))
    return document


def _validation_facts(judged: dict[str, Any] | None) -> list[tuple[str, str]]:
    if judged is None:
        return [("data validation", "no report is named by its tags")]
    facts = [("data validation", f"report {judged['report']}: {judged['verdict']}")]
    if judged["override"] is not None:
        facts.append(("accepted by", f"{judged['override']['actor']}: {judged['override']['reason']}"))
    if judged["data_docs"] is not None:
        facts.append(("data docs", judged["data_docs"]))
    return facts


def version_document(version: "ModelVersion") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(version) | {"snapshot": version.snapshot, "protocol": version.protocol}


def _table(versions: "Sequence[ModelVersion]") -> str:
    if not versions:
        return "No version is registered yet. Next: run `backbeat train lightgcn`."
    heads = "  ".join(f"{head:>9}" for head in _COLUMNS.values())
    lines = [f"{'version':>7}  {'model':<12}{'state':<12}{heads}  created"]
    for version in versions:
        figures = "  ".join(_figure(version.metrics.get(name)) for name in _COLUMNS)
        created = f"{version.created_at:%Y-%m-%d %H:%M}"
        lines.append(f"{version.version:>7}  {version.model:<12}{version.state:<12}{figures}  {created}")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return f"{'-':>9}" if value is None else f"{value:>9.4f}"
