"""Commands of the registry room."""

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from contracts.actor import current_actor
from contracts.console import emit
from contracts.options import HomeOption, JsonOption
from contracts.surfaces import DATA_SURFACE, VIDEO_FEED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.promotion import Promotion
    from registry.store import ModelVersion

__all__ = ["models"]

models = typer.Typer(no_args_is_help=True, help="Registered versions: look, promote, roll back.")

SurfaceOption = Annotated[str, typer.Option("--surface", help="Registered model.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the audit log.")]
VersionArgument = Annotated[str, typer.Argument(help="Version number, alias, `best` or `runner-up`.")]

_COLUMNS = {
    "validation_recall_at_20": "val R@20",
    "test_recall_at_20": "test R@20",
    "test_precision_at_20": "test P@20",
    "test_ndcg_at_20": "test N@20",
}


@models.command("list")
def list_versions(
    surface: SurfaceOption = VIDEO_FEED, home: HomeOption = None, as_json: JsonOption = False
) -> dict[str, Any]:
    """List the versions of a surface, newest first. Example: `backbeat models list`"""
    from contracts.opening import open_home
    from registry.store import ModelStore

    settings, place = open_home(home)
    versions = ModelStore(settings, place).versions(surface)
    document = {"surface": surface, "versions": [_version_document(version) for version in versions]}
    emit(document, as_json=as_json, text=_table(versions))
    return document


@models.command()
def show(
    version: VersionArgument, surface: SurfaceOption = VIDEO_FEED, home: HomeOption = None, as_json: JsonOption = False
) -> dict[str, Any]:
    """Show one version with its tags, metrics and what the data it was trained on were judged to be.

    Example: `backbeat models show champion`
    """
    from contracts.opening import open_home
    from registry.lineage import validation_of
    from registry.store import ModelStore

    settings, place = open_home(home)
    found = ModelStore(settings, place).get(surface, version)
    judged = validation_of(settings, place, found)
    document = _version_document(found) | {"validation": judged}
    facts = [
        ("state", found.state),
        ("created", f"{found.created_at:%Y-%m-%d %H:%M} UTC"),
        ("run", found.run_id),
        ("package", found.source),
        *_validation_facts(judged),
        *((key.removeprefix("backbeat."), value) for key, value in sorted(found.tags.items())),
        *((name, f"{value:.6g}") for name, value in sorted(found.metrics.items())),
    ]
    lines = [f"{surface} version {found.version}: {found.model}", *(f"  {name:<28} {value}" for name, value in facts)]
    emit(document, as_json=as_json, text="\n".join(lines))
    return document


@models.command()
def promote(
    version: VersionArgument,
    to: Annotated[str, typer.Option("--to", help="`champion` or `shadow`.")],
    reason: ReasonOption,
    surface: SurfaceOption = VIDEO_FEED,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Give a version an alias, if every gate says yes; exit code 4 when one refuses.

    Example: `backbeat models promote best --to champion --reason "highest validation recall"`
    """
    from contracts.opening import open_home
    from registry import promotion

    settings, place = open_home(home)
    typed = shlex.join(["backbeat", "models", "promote", version, "--to", to, "--reason", reason])
    with place.writing(typed):
        done = promotion.promote(settings, place, surface, version, to, reason, current_actor())
    return _said(done, as_json)


@models.command()
def retire(
    version: VersionArgument,
    reason: ReasonOption,
    surface: SurfaceOption = VIDEO_FEED,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Take a version out of service; no gate is asked, and an alias it held is free.

    Example: `backbeat models retire champion --reason "its package is lost"`
    """
    from contracts.opening import open_home
    from registry import promotion

    settings, place = open_home(home)
    with place.writing(shlex.join(["backbeat", "models", "retire", version, "--reason", reason])):
        done = promotion.retire(settings, place, surface, version, reason, current_actor())
    return _said(done, as_json)


@models.command()
def rollback(
    reason: ReasonOption, surface: SurfaceOption = VIDEO_FEED, home: HomeOption = None, as_json: JsonOption = False
) -> dict[str, Any]:
    """Make the champion before this one the champion again.

    Example: `backbeat models rollback --reason "complaints since Tuesday"`
    """
    from contracts.opening import open_home
    from registry import promotion

    settings, place = open_home(home)
    with place.writing(shlex.join(["backbeat", "models", "rollback", "--reason", reason])):
        done = promotion.rollback(settings, place, surface, reason, current_actor())
    return _said(done, as_json)


@models.command()
def audit(
    surface: SurfaceOption = VIDEO_FEED,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many of the newest entries.")] = 20,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> dict[str, Any]:
    """Show who moved what, when and why, refused attempts included. Example: `backbeat models audit`

    `--surface data` shows who has accepted data that failed validation.
    """
    from contracts.opening import open_home
    from registry.promotion import audit_log

    settings, place = open_home(home)
    rows = audit_log(settings, place, surface, limit)
    lines = []
    moved = "snapshot" if surface == DATA_SURFACE else "version"
    for row in rows:
        displaced = f", displacing version {row['displaced']}" if row["displaced"] else ""
        lines.append(
            f"{row['at']:%Y-%m-%d %H:%M:%S} UTC  {row['actor']}  {row['action']} {moved} {row['version']}: "
            f"{row['before']} → {row['after']}{displaced}; {row['reason']}"
        )
        lines += [f"    {verdict['gate']}: {verdict['outcome']}, {verdict['sentence']}" for verdict in row["verdicts"]]
    document = {"surface": surface, "audit": rows}
    emit(document, as_json=as_json, text="\n".join(lines) or f"No move of {surface} yet.")
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


def _version_document(version: "ModelVersion") -> dict[str, Any]:
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


def _said(done: "Promotion", as_json: bool) -> dict[str, Any]:
    name = f"{done.surface} version {done.version} ({done.model})"
    if done.outcome == "unchanged":
        lines = [f"{name} is {done.after} already; nothing changed."]
    else:
        displaced = f", displacing version {done.displaced}" if done.displaced else ""
        lines = [f"{name}: {done.before} → {done.after}{displaced}."]
    lines += [f"  {verdict.gate}: {verdict.outcome}, {verdict.sentence}" for verdict in done.verdicts]
    document = done.as_dict()
    emit(document, as_json=as_json, text="\n".join(lines))
    return document
