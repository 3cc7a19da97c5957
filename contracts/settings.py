"""The one settings class, and the only reader of the environment."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.errors import BadInput, unknown_name

__all__ = ["PREFIX", "Settings", "environment_of_child", "load_settings"]

PREFIX = "BACKBEAT_"


class Settings(BaseSettings):
    """All settings of a process. Each field is read from ``BACKBEAT_<NAME>``."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", use_attribute_docstrings=True)

    home: Path = Path(".backbeat")
    """Directory that holds all embedded state."""

    profile: Literal["local", "production"] = "local"
    """``local`` keeps everything in the home; ``production`` takes server addresses from the environment."""

    device: str = "auto"
    """Torch device: ``auto`` (CUDA where there is one), ``cpu``, ``cuda`` or ``cuda:N``."""

    threads: int | None = Field(default=None, ge=1)
    """CPU threads for torch and FAISS; all cores when unset."""

    serve_host: str = "127.0.0.1"
    """Address the service binds to."""

    serve_port: int = Field(default=3000, ge=1, le=65535)
    """Port the service binds to."""

    database_url: SecretStr | None = None
    """SQLAlchemy address of the platform's tables (production), e.g. ``postgresql+psycopg://…``."""

    mlflow_url: SecretStr | None = None
    """MLflow tracking address: a database or a server (production)."""

    artifact_url: str | None = None
    """Where MLflow keeps artifacts (production): a path or an object-store address."""

    feast_registry_url: SecretStr | None = None
    """SQLAlchemy address of Feast's registry (production)."""

    redis_url: SecretStr | None = None
    """Feast's Redis connection string (production), e.g. ``127.0.0.1:6379``."""

    ray_address: str | None = None
    """Ray cluster for work beyond one machine: ``host:port`` or ``ray://host:port``; one on this machine when unset."""

    engine: Literal["local", "ray"] = "local"
    """Where point-in-time joins and materialization run: in this process, or as tasks on the Ray cluster."""

    test_data: Path | None = None
    """Directory with the public data sets; read by the test-suite only."""


def load_settings(**overrides: object) -> Settings:
    """Read the environment, refuse what it does not know, apply explicit overrides.

    Args:
        **overrides: Fields given on the command line; ``None`` means "not given".

    Raises:
        NotFound: A ``BACKBEAT_`` variable that no setting has.
        BadInput: A value of the wrong type or outside its range.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            raise unknown_name("setting", name, known, next_step=f"unset {name}, or correct its name")
    try:
        return Settings(**{key: value for key, value in overrides.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        name = PREFIX + str(first["loc"][0]).upper()
        value = first.get("input")
        raise BadInput(
            f"setting {name}", found=repr(value), expected=first["msg"], next_step=f"correct or unset {name}"
        ) from None


def environment_of_child(settings: Settings) -> dict[str, str]:
    """The environment in which a child process reads the same settings as this one.

    Values given on the command line are in ``settings`` but not in the environment that a child inherits.
    """
    environment = dict(os.environ)
    for name in settings.model_fields_set:
        value = getattr(settings, name)
        if value is not None:
            secret = isinstance(value, SecretStr)
            environment[PREFIX + name.upper()] = value.get_secret_value() if secret else str(value)
    environment[f"{PREFIX}HOME"] = str(settings.home.absolute())
    return environment
