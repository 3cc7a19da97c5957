"""MLflow's client, whose silence is one of our errors."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

from contracts.addresses import mlflow_tracking_url, require_answer
from contracts.errors import ServiceUnavailable
from contracts.home import Home
from contracts.settings import PREFIX, Settings

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

__all__ = ["open_client"]

_ANSWERS = ("RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE", "NOT_FOUND")
"""Codes of errors that say something about the question; any other is about MLflow itself."""


def open_client(settings: Settings, home: Home) -> "MlflowClient":
    """A client of the home's MLflow, or of the one that the settings name.

    Its methods raise MLflow's own error where that answers the question, and :class:`ServiceUnavailable` where MLflow
    or its database is down, damaged or refuses to be written.

    Raises:
        ServiceUnavailable: It does not answer.
    """
    url = mlflow_tracking_url(settings, home)
    require_answer(url, "mlflow_url")
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient
    from sqlalchemy.exc import SQLAlchemyError

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    where = f"MLflow's database {home.mlflow_database}" if settings.profile == "local" else f"{PREFIX}MLFLOW_URL"

    def down(error: Exception) -> ServiceUnavailable:
        lines = str(error).strip().splitlines() or ["no answer"]
        return ServiceUnavailable(
            where, found=lines[0][:300], expected="an MLflow that answers", next_step="run `backbeat doctor`"
        )

    class Client:
        """Passes everything on, and tells faults of MLflow's own."""

        def __init__(self) -> None:
            try:
                self._client = MlflowClient(tracking_uri=url, registry_uri=url)
            except (MlflowException, SQLAlchemyError) as error:
                raise down(error) from None

        def __getattr__(self, name: str) -> Callable[..., Any]:
            method = getattr(self._client, name)

            @wraps(method)
            def asked(*arguments: Any, **named: Any) -> Any:
                try:
                    return method(*arguments, **named)
                except (MlflowException, SQLAlchemyError) as error:
                    if getattr(error, "error_code", None) in _ANSWERS:
                        raise
                    raise down(error) from error

            return asked

    return cast("MlflowClient", Client())
