"""A home whose MLflow holds many versions, written straight into MLflow's tables: its client needs 40 ms for each."""

import random
import time
from pathlib import Path

import sqlalchemy as sa
from mlflow.store.model_registry.dbmodels.models import (
    SqlModelVersion,
    SqlModelVersionTag,
    SqlRegisteredModel,
    SqlRegisteredModelAlias,
)
from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlParam, SqlRun
from mlflow.tracking import MlflowClient

from contracts.addresses import mlflow_tracking_url
from contracts.home import Home
from contracts.settings import Settings, load_settings
from contracts.surfaces import EXPERIMENT, VIDEO_FEED, Tag

__all__ = ["METRICS", "stock"]

METRICS = tuple(
    f"{part}_{metric}_at_{k}"
    for part in ("validation", "test", "test_cold_users", "test_cold_items")
    for metric in ("recall", "ndcg", "hr", "mrr", "precision")
    for k in (10, 20)
)
"""What each run has logged."""

_OPTIONS = 30


def stock(root: Path, versions: int, seed: int = 0) -> tuple[Settings, Home]:
    """Make the home.

    Args:
        root: A directory that is not there yet.
        versions: How many, all of one surface.
        seed: Of their figures.
    """
    settings = load_settings(home=root)
    home = Home.open(settings)
    draw = random.Random(seed)
    with home.writing("benchmark"):
        url = mlflow_tracking_url(settings, home)
        client = MlflowClient(tracking_uri=url, registry_uri=url)
        experiment = client.create_experiment(EXPERIMENT, home.artifacts.as_uri())
        engine = sa.create_engine(url)
        now = int(time.time() * 1000)
        rows: dict[type, list[dict[str, object]]] = {
            table: [] for table in (SqlRun, SqlModelVersion, SqlModelVersionTag, SqlLatestMetric, SqlParam)
        }
        for number in range(1, versions + 1):
            _add(rows, draw, number, int(experiment), now - (versions - number) * 60_000)
        with engine.begin() as connection:
            connection.execute(sa.insert(SqlRegisteredModel), [{"name": VIDEO_FEED, "creation_time": now}])
            for table, values in rows.items():
                connection.execute(sa.insert(table), values)
            held = {"champion": versions, "shadow": versions - 1}
            aliases = [{"name": VIDEO_FEED, "alias": alias, "version": number} for alias, number in held.items()]
            connection.execute(sa.insert(SqlRegisteredModelAlias), aliases)
        engine.dispose()
    return settings, home


def _add(rows: dict[type, list[dict[str, object]]], draw: random.Random, number: int, experiment: int, at: int) -> None:
    run, model = f"{number:032x}", draw.choice(("mf", "lightgcn", "m3csr", "vbpr", "bm3", "knn"))
    author = draw.choice(("ada", "grace", "edsger", "barbara"))
    rows[SqlRun].append(
        {
            "run_uuid": run,
            "name": f"{model}-{number}",
            "user_id": author,
            "status": "FINISHED",
            "start_time": at,
            "end_time": at,
            "lifecycle_stage": "active",
            "artifact_uri": f"file:///nowhere/{run}/artifacts",
            "experiment_id": experiment,
        }
    )
    rows[SqlModelVersion].append(
        {
            "name": VIDEO_FEED,
            "version": number,
            "creation_time": at,
            "last_updated_time": at,
            "source": f"file:///nowhere/{run}/artifacts/package",
            "run_id": run,
            "current_stage": "None",
            "status": "READY",
        }
    )
    tags = {
        Tag.MODEL: model,
        Tag.VARIANT: draw.choice(("default", "tuned", "no-bias")),
        Tag.SURFACE: VIDEO_FEED,
        Tag.SNAPSHOT: f"snapshot-{number // 1000}",
        Tag.PROTOCOL: f"{number // 2500:012x}",
        Tag.CODE_REVISION: f"{draw.getrandbits(64):016x}",
        Tag.TRAINING_KEY: f"{draw.getrandbits(128):032x}",
        Tag.PACKAGE_SHA256: f"{draw.getrandbits(256):064x}",
        Tag.STATE: "retired" if number % 10 == 0 else "registered",
        Tag.SEED: str(number % 5),
    }
    rows[SqlModelVersionTag] += [
        {"name": VIDEO_FEED, "version": number, "key": key, "value": value} for key, value in tags.items()
    ]
    level = draw.uniform(0.05, 0.3)
    rows[SqlLatestMetric] += [
        {
            "run_uuid": run,
            "key": name,
            "value": level * draw.uniform(0.8, 1.2),
            "timestamp": at,
            "step": 1,
            "is_nan": False,
        }
        for name in METRICS
    ]
    rows[SqlParam] += [
        {"run_uuid": run, "key": f"option_{place}", "value": f"{draw.uniform(0, 1):.4f}"} for place in range(_OPTIONS)
    ]
