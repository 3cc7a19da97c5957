"""One small platform with all that is true of it."""

import pytest

from feature_repo.simulator.generator import plan_of
from feature_repo.simulator.platform import Platform, grow


@pytest.fixture(scope="session")
def world() -> Platform:
    return grow(plan_of(users=300, videos=200, music=60, days=14, events=6_000, seed=5))
