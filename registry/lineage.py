"""From a response or a version back to the tables it comes from."""

from typing import Any

from contracts.database import Database
from contracts.errors import NotFound
from contracts.home import Home
from contracts.manifest import ModelManifest
from contracts.platform import ResponseRow
from contracts.reports import find_report
from contracts.settings import Settings
from contracts.snapshot import Snapshot, stored_snapshot
from contracts.surfaces import Tag
from contracts.tables import EMBEDDING_PREFIX
from registry.graph import Lineage
from registry.opening import Registry, open_registry
from registry.store import ModelVersion

__all__ = ["lineage_of", "trace", "validation_of"]


def lineage_of(settings: Settings, home: Home, version: ModelVersion) -> Lineage:
    """All that a version was made of: run, feature service, snapshot, validation report, encoders, source tables.

    What is gone by now has a node that says so.

    Args:
        settings: Name both databases.
        home: Holds them in the local profile, and the snapshots.
        version: The version.
    """
    found = Lineage()
    with open_registry(settings, home) as registry:
        _add_version(found, registry, version)
    return found


def trace(settings: Settings, home: Home, response_id: str) -> Lineage:
    """From a served list to the version that made it, and on to the tables behind that.

    Args:
        settings: Name both databases.
        home: Holds them in the local profile, and the snapshots.
        response_id: As the service answered.

    Raises:
        NotFound: No response of that id was recorded.
    """
    found = Lineage()
    with open_registry(settings, home) as registry:
        with registry.database.session() as session:
            row = session.get(ResponseRow, response_id)
            if row is None:
                raise NotFound(
                    f"response {response_id!r}",
                    found="none of that id on record",
                    expected="the `response_id` of an answer of the service, recorded within a second or so",
                    next_step="look at the answer again; the service's status counts the responses it had to drop",
                )
            response = found.add(
                "response", row.id, f"response {row.id}", at=row.at.isoformat(), user=row.user_id, items=len(row.items)
            )
            surface, number = row.surface, row.version
        try:
            version = registry.store.get(surface, number)
        except NotFound:
            gone = found.add("version", f"{surface}/{number}", f"{surface} version {number}", state="gone from MLflow")
            found.link(response, "made by", gone)
            return found
        found.link(response, "made by", _add_version(found, registry, version))
    return found


def _add_version(found: Lineage, registry: Registry, version: ModelVersion) -> str:
    tags, name = version.tags, f"{version.surface}/{version.version}"
    manifest = registry.store.manifest(version)
    node = found.add(
        "version",
        name,
        f"{version.surface} version {version.version} ({version.model})",
        state=version.state,
        package="gone or damaged" if manifest is None else None,
    )
    run = found.add("run", version.run_id, f"run {version.run_id}", code=tags.get(Tag.CODE_REVISION))
    found.link(node, "made by", run)
    if manifest is not None:
        index = found.add("index", name, f"{manifest.index.kind} index of version {version.version}")
        found.link(node, "retrieved by", index)
    service = tags.get(Tag.FEATURE_SERVICE) or (manifest.feature_service if manifest is not None else None)
    if service:
        found.link(run, "fed by", found.add("service", service, f"feature service {service}"))
    snapshot = stored_snapshot(registry.home, version.snapshot) if version.snapshot else None
    if version.snapshot:
        data = _add_snapshot(found, version.snapshot, snapshot)
        found.link(run, "trained on", data)
        if Tag.VALIDATION_REPORT in tags:
            found.link(data, "judged by", _add_report(found, registry.database, tags[Tag.VALIDATION_REPORT]))
    _add_encoders(found, node, manifest, snapshot)
    return node


def _add_snapshot(found: Lineage, snapshot_id: str, snapshot: Snapshot | None) -> str:
    if snapshot is None:
        return found.add("snapshot", snapshot_id, f"snapshot {snapshot_id}", manifest="gone or damaged")
    node = found.add(
        "snapshot", snapshot.id, f"snapshot {snapshot.id}", dataset=snapshot.dataset, source=snapshot.source
    )
    for name in sorted(snapshot.tables):
        if not name.startswith(EMBEDDING_PREFIX):
            found.link(node, "made of", _add_table(found, snapshot, name))
    return node


def _add_table(found: Lineage, snapshot: Snapshot, name: str) -> str:
    table = snapshot.tables[name]
    return found.add("table", f"{snapshot.id}/{name}", f"table {name}", rows=table.rows, sha256=table.sha256[:12])


def _add_report(found: Lineage, database: Database, report_id: str) -> str:
    try:
        report = find_report(database, report_id)
    except NotFound:
        return found.add("report", report_id, f"validation report {report_id}", verdict="gone")
    return found.add("report", report_id, f"validation report {report_id}", verdict=report.verdict)


def _add_encoders(found: Lineage, node: str, manifest: ModelManifest | None, snapshot: Snapshot | None) -> None:
    """The encoders of the vectors that the version was trained with, and the tables that hold them."""
    for spec in () if manifest is None else manifest.embedding_specs.values():
        title = f"encoder {spec.encoder}@{spec.revision}"
        encoder = found.add("encoder", f"{spec.encoder}@{spec.revision}/{spec.name}", title, vectors=spec.name)
        found.link(node, "embedded by", encoder)
        for name, stored in () if snapshot is None else snapshot.embeddings.items():
            table = f"{EMBEDDING_PREFIX}{name}"
            if stored.digest == spec.digest and snapshot is not None and table in snapshot.tables:
                found.link(encoder, "written to", _add_table(found, snapshot, table))


def validation_of(settings: Settings, home: Home, version: ModelVersion) -> dict[str, Any] | None:
    """The validation report that training was let through with, which need not be the snapshot's newest any more.

    Args:
        settings: Name the database.
        home: Holds it in the local profile.
        version: Whose data.

    Returns:
        ``report`` (its id), ``verdict`` (``passed``, ``failed``, ``uncompared``, ``overridden`` or ``gone``),
        ``override`` (``actor``, ``at``, ``reason``) and ``data_docs``, each None where there is none; None where the
        tags name no report.
    """
    report_id = version.tags.get(Tag.VALIDATION_REPORT)
    if report_id is None:
        return None
    database = Database(settings, home)
    try:
        report = find_report(database, report_id)
    except NotFound:
        return {"report": report_id, "verdict": "gone", "override": None, "data_docs": None}
    finally:
        database.close()
    override = None if report.override is None else report.override.model_dump(mode="json")
    return {"report": report.id, "verdict": report.verdict, "override": override, "data_docs": report.data_docs}
