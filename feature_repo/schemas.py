"""A name means one schema for ever: what the views and services of a home looked like when they were first applied.

Runs, packages and other people's code name services and views. A changed schema under an old name would change what
those names mean, so it is refused: it needs a new name. Widths, revisions of encoders and paths are no part of this;
the embedding's spec and its digest in the view's name stand for those.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from contracts.errors import Conflict
from contracts.files import write_text_whole
from contracts.home import Home
from contracts.snapshot import Snapshot
from feature_repo.services import SERVICES, services_of
from feature_repo.views.catalogue import FAMILIES, views_of
from feature_repo.views.moments import MOMENT_FAMILIES, moment_views_of

__all__ = ["keep_schemas", "schemas_of"]

_FILE = "schemas.json"
"""Beside the snapshots: it lasts as long as the data that the names are about."""

Schemas = dict[str, dict[str, Any]]


def schemas_of(home: Home, snapshot: Snapshot) -> Schemas:
    """``feature view <family>`` and ``feature service <name>`` → schema, of all that a snapshot has."""
    found: Schemas = {}
    for view in views_of(home, snapshot).values():
        found[f"feature view {view.family}"] = dict(FAMILIES[view.family].features)
    for moment in moment_views_of(home, snapshot).values():
        found[f"feature view {moment.family}"] = dict(MOMENT_FAMILIES[moment.family].features)
    for name in services_of(snapshot):
        service = SERVICES[name]
        found[f"feature service {name}"] = {"families": list(service.families), "modalities": list(service.modalities)}
    return found


def keep_schemas(home: Home, snapshot: Snapshot) -> None:
    """Record the schemas of what is about to be applied; refuse one that differs under a known name.

    Args:
        home: Where they are recorded; the caller holds its writer lock.
        snapshot: Whose features are applied.

    Raises:
        Conflict: A view or service was applied before with another schema.
    """
    path = home.offline / _FILE
    known: Schemas = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found = schemas_of(home, snapshot)
    for name, schema in found.items():
        if name in known and known[name] != schema:
            kind, old = name.rsplit(" ", 1)
            raise Conflict(
                f"{kind} {old!r}",
                found=f"a changed schema: {_difference(known[name], schema)}",
                expected="the schema it was first applied with in this home, which runs and packages rely on",
                next_step=f"name the changed one {_next_name(old)!r} and leave {old!r} as it was",
            )
    if known | found != known:
        write_text_whole(path, json.dumps(known | found, indent=1, sort_keys=True))


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    parts = [f"{name} is gone" for name in old if name not in new]
    parts += [f"{name} is new ({new[name]})" for name in new if name not in old]
    parts += [f"{name} is {new[name]}, was {old[name]}" for name in old if name in new and old[name] != new[name]]
    return "; ".join(parts)


def _next_name(name: str) -> str:
    if version := re.fullmatch(r"(.*)_v(\d+)", name):
        return f"{version[1]}_v{int(version[2]) + 1}"
    return f"{name}_v2"
