"""The setting ``engine``: features of the past, here and on a Ray cluster."""

import pyarrow as pa
import pytest

from contracts.tables import TIMESTAMP
from feature_repo.historical import historical_features
from feature_repo.offline import read_table
from feature_repo.store import open_store
from feature_repo.stores.ray_engine import RayChunkedComputeEngine
from feature_repo.stores.ray_offline import RayAsOfOfflineStore
from tests.feature_repo.conftest import Featured

SERVICE = "m3csr_v1"


@pytest.mark.usefixtures("ray_cluster")
def test_equal_features_here_and_on_a_cluster(featured: Featured) -> None:
    there = featured.settings.model_copy(update={"engine": "ray"})
    provider = open_store(there, featured.home)._get_provider()
    assert isinstance(provider.offline_store, RayAsOfOfflineStore)
    assert isinstance(provider.batch_engine, RayChunkedComputeEngine)
    events = read_table(featured.home, featured.snapshot, "interactions").slice(0, 400)
    rows = pa.table(
        {
            "user_id": events["user_id"],
            "video_id": events["video_id"],
            "moment": pa.array(events["event_time"].cast(pa.int64()).to_numpy() - 1).cast(TIMESTAMP),
        }
    )
    here = historical_features(featured.settings, featured.home, SERVICE, rows)
    assert historical_features(there, featured.home, SERVICE, rows).equals(here)
    assert any(here[name].null_count < len(here) for name in here.column_names if "__" in name)
