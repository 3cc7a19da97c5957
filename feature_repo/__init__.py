"""Feature definitions, stores, readers and encoders; the one room that knows Feast."""

from feature_repo.unchecked import load_feast_unchecked

load_feast_unchecked()
