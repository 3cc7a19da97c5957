"""One small platform, made once."""

import pytest

from feature_repo.raw_tables import RawTables
from feature_repo.simulator import simulate


@pytest.fixture(scope="session")
def platform() -> RawTables:
    return simulate(users=400, videos=300, days=28, seed=7, events=8_000, late=0.05)
