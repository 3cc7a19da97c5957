"""What a process of ours sets before it loads anything heavy."""

import logging
import os
import warnings

__all__ = ["prepare_process"]

_ENVIRONMENT = {
    # No library reports usage to anybody.
    "BENTOML_DO_NOT_TRACK": "True",
    "FEAST_USAGE": "False",
    "GX_ANALYTICS_ENABLED": "False",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    # Idle OpenMP threads that spin starve the other processes of a small machine.
    "OMP_WAIT_POLICY": "PASSIVE",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
    "RAY_USAGE_STATS_ENABLED": "0",
    # What Ray will do by default one day, and says so at each start.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}

_CHATTY = (
    "alembic",
    "bentoml",
    "feast",
    "great_expectations",
    "mlflow",
    "numexpr",
    "httpx",
    "sqlalchemy",
)


def prepare_process(threads: int | None = None) -> None:
    """Turn usage reporting off and keep third-party start-up noise from the user. Idempotent.

    Args:
        threads: CPU threads for OpenMP libraries, which read it when they load; all cores if None.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    warnings.filterwarnings("ignore")
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.ERROR)
