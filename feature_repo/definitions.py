"""What Feast knows: entities, feature views, on-demand views and feature services of one snapshot.

Applied as an explicit list by :mod:`feature_repo.apply`; Feast never imports this folder by itself. Which views there
are says :mod:`feature_repo.views.catalogue`, which services :mod:`feature_repo.services`.
"""

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from contracts.embeddings import EmbeddingSpec
from contracts.home import Home
from contracts.snapshot import Snapshot
from contracts.tables import ENTITY_KEYS
from feature_repo.quiet import quietly
from feature_repo.services import SERVICES, service_views, services_of
from feature_repo.store import DEFINITIONS_TAG, project_name
from feature_repo.views.catalogue import View, views_of
from feature_repo.views.moments import MOMENT, MomentView, moment_views_of

if TYPE_CHECKING:
    from feast import FeatureView, OnDemandFeatureView

__all__ = ["ENTITIES", "define", "definitions_digest"]

ENTITIES = {entity: key for entity, key in ENTITY_KEYS.items() if entity != "post"}
"""Entity → the column that joins it. A post is no entity: its vectors count towards its author's features."""

_REVISION = "2"
"""Raise it when the objects below change, so that homes apply them again."""


def definitions_digest(home: Home, snapshot: Snapshot) -> str:
    """Names what :func:`define` would define, without importing Feast."""
    views = [repr(view) for _, view in sorted(views_of(home, snapshot).items())]
    moments = [f"{view!r} {dict(view.features)} {view.state}" for view in moment_views_of(home, snapshot).values()]
    services = [f"{name}: {service_views(home, snapshot, name)}" for name in services_of(snapshot)]
    text = "\n".join([_REVISION, *views, *moments, *services])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def define(home: Home, snapshot: Snapshot) -> list[Any]:
    """All Feast objects of a snapshot, in an order that can be applied.

    Args:
        home: Where the snapshot's Parquet files and its derived tables are.
        snapshot: Whose features.
    """
    with quietly():
        from feast import Entity, FeatureService, Project, ValueType

    tags = {"snapshot": snapshot.id, "dataset": snapshot.dataset}
    project = Project(
        name=project_name(snapshot.id),
        description=f"Features of snapshot {snapshot.id} of {snapshot.dataset}",
        tags={**tags, DEFINITIONS_TAG: definitions_digest(home, snapshot)},
    )
    entities = {name: Entity(name=name, join_keys=[key], value_type=ValueType.STRING) for name, key in ENTITIES.items()}
    views: dict[str, Any] = {
        name: _view(view, entities[view.entity], tags) for name, view in views_of(home, snapshot).items()
    }
    for name, moment in moment_views_of(home, snapshot).items():
        views[name] = _on_demand_view(moment, entities[moment.entity], views, tags)
    services = [
        FeatureService(
            name=name,
            features=[views[view] for view in service_views(home, snapshot, name)],
            tags=tags | {"tables": ",".join(SERVICES[name].tables)},
        )
        for name in services_of(snapshot)
    ]
    return [project, *entities.values(), *views.values(), *services]


def _fields(features: Any) -> list[Any]:
    from feast import Field
    from feast.types import Array, Float32, Int32, Int64, String

    scalars = {"int32": Int32, "int64": Int64, "float32": Float32, "string": String}
    types = scalars | {f"list<{name}>": Array(scalar) for name, scalar in scalars.items()}
    return [Field(name=feature, dtype=types[kind]) for feature, kind in features.items()]


def _view(view: View, entity: Any, tags: dict[str, str]) -> "FeatureView":
    from feast import FeatureView, FileSource
    from feast.data_format import ParquetFormat

    return FeatureView(
        name=view.name,
        entities=[entity],
        schema=_fields(view.features),
        source=FileSource(
            name=f"{view.name}_parquet",
            path=str(view.path),
            file_format=ParquetFormat(),
            timestamp_field="event_time",
            created_timestamp_column="ingested_at",
        ),
        ttl=view.ttl or timedelta(0),  # 0: features stay valid until replaced
        online=True,
        tags={**tags, "family": view.family, **_spec_tags(view.spec)},
    )


def _on_demand_view(
    moment: MomentView, entity: Any, views: dict[str, Any], tags: dict[str, str]
) -> "OnDemandFeatureView":
    """A view that Feast computes, by the function that all other readers call too.

    The registry keeps a transformation as source text beside a pickle of it. The text names our function, and Feast
    runs the text where it can, so that no reader ever opens the pickle.
    """
    from feast import Field, OnDemandFeatureView, RequestSource
    from feast.transformation.udf_rehydrate import rehydrate_udf_from_source
    from feast.types import Int64

    source = (
        f"def {moment.name}(frame):\n"
        "    from feature_repo.views.moments import on_demand\n"
        f"    return on_demand({moment.name!r}, {moment.family!r}, frame)\n"
    )
    return OnDemandFeatureView(
        name=moment.name,
        entities=[entity],
        schema=_fields(moment.features),
        sources=[
            *(views[name] for name in dict.fromkeys(moment.state.values())),
            RequestSource(name=f"{moment.name}_request", schema=[Field(name=MOMENT, dtype=Int64)]),
        ],
        mode="pandas",  # whole columns; a view of mode "python" with singleton=True answers one value for all rows
        udf=rehydrate_udf_from_source(source, preferred_name=moment.name),
        udf_string=source,
        tags={**tags, "family": moment.family, **_spec_tags(moment.spec)},
    )


def _spec_tags(spec: EmbeddingSpec | None) -> dict[str, str]:
    if spec is None:
        return {}
    facts = spec.model_dump(mode="json", exclude_none=True)
    return {"spec": spec.digest, **{name: str(value) for name, value in facts.items()}}
