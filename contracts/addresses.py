"""Where each store lives: in the home (local profile) or at an address from the settings (production)."""

import socket
from typing import Final
from urllib.parse import urlsplit

from pydantic import SecretStr

from contracts.errors import NotFound, ServiceUnavailable
from contracts.home import Home
from contracts.settings import PREFIX, Settings

__all__ = ["database_url", "mlflow_artifact_url", "mlflow_tracking_url", "require_answer", "required"]

_PATIENCE_S: Final = 5.0


def required(settings: Settings, field: str, example: str) -> str:
    """The value of a setting that the production profile cannot do without.

    Args:
        settings: The process's settings.
        field: Name of the field.
        example: What a value looks like, for the error.

    Raises:
        NotFound: It is not set.
    """
    value = getattr(settings, field)
    if value is None:
        name = PREFIX + field.upper()
        raise NotFound(
            f"setting {name}",
            found="not set",
            expected=f"an address such as {example}, as the production profile needs",
            next_step=f"export {name}=…, or unset {PREFIX}PROFILE",
        )
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def require_answer(url: str, field: str) -> None:
    """Ask a server once whether it is there, where a library would try for an hour. A file is not asked.

    Args:
        url: SQLAlchemy address, or an HTTP one.
        field: Name of the setting that holds it, for the error.

    Raises:
        ServiceUnavailable: It is a PostgreSQL or HTTP server that does not answer.
    """
    if url.startswith(("http://", "https://")):
        _require_listener(url, field)
    if not url.startswith("postgresql"):
        return
    from sqlalchemy import create_engine
    from sqlalchemy.exc import OperationalError

    engine = create_engine(url)
    try:
        engine.connect().close()
    except OperationalError as error:
        name = PREFIX + field.upper()
        raise ServiceUnavailable(
            f"setting {name}, {engine.url.render_as_string(hide_password=True)}",
            found=str(error.orig).strip().splitlines()[0],
            expected="a server that answers",
            next_step=f"start it, or correct {name}; `backbeat doctor` checks it",
        ) from None
    finally:
        engine.dispose()


def _require_listener(url: str, field: str) -> None:
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((host, port), timeout=_PATIENCE_S).close()
    except OSError as error:
        name = PREFIX + field.upper()
        raise ServiceUnavailable(
            f"setting {name}, {host}:{port}",
            found=str(error),
            expected="a server that answers",
            next_step=f"start it, or correct {name}; `backbeat doctor` checks it",
        ) from None


def database_url(settings: Settings, home: Home) -> str:
    """SQLAlchemy address of the platform's tables."""
    if settings.profile == "local":
        return f"sqlite:///{home.platform_database}"
    return required(settings, "database_url", "postgresql+psycopg://user@host/database")


def mlflow_tracking_url(settings: Settings, home: Home) -> str:
    """MLflow's tracking and registry address."""
    if settings.profile == "local":
        return f"sqlite:///{home.mlflow_database}"
    return required(settings, "mlflow_url", "postgresql+psycopg://user@host/mlflow")


def mlflow_artifact_url(settings: Settings, home: Home) -> str:
    """Root under which MLflow keeps artifacts."""
    if settings.profile == "local":
        return home.artifacts.as_uri()
    return required(settings, "artifact_url", "s3://bucket/backbeat")
