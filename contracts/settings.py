"""The one settings class, and the only reader of the environment."""

import os
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from contracts.errors import BadInput, unknown_name
from contracts.surfaces import SURFACES, Surface

__all__ = ["PREFIX", "Settings", "environment_of_child", "load_settings", "settings_in_environment"]

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

    system_metrics: float = Field(default=10, ge=0)
    """Seconds between readings of processors, memory, disk, network and GPUs while a model trains; 0 for none."""

    serve_host: str = "127.0.0.1"
    """Address the service binds to."""

    serve_port: int = Field(default=3000, ge=1, le=65535)
    """Port the service binds to."""

    serve_follow: float = Field(default=2, gt=0)
    """Seconds between a service's looks at the registry's aliases, whose versions it then serves."""

    serve_surfaces: str | None = None
    """Surfaces that the service serves, separated by commas; all that have a champion when unset."""

    serve_workers: int = Field(default=1, ge=1, le=64)
    """Processes that answer, each with champions of its own in memory."""

    serve_timeout: float = Field(default=30, gt=0)
    """Seconds after which a request that is not answered ends with status 503."""

    serve_gpus: int = Field(default=0, ge=0)
    """GPUs of a worker, which a packed service is to be given; none for the processor."""

    serve_batch_most: int = Field(default=32, ge=1, le=256)
    """Waiting requests that are answered together at most; 1 for each by itself."""

    serve_batch_longest_ms: float = Field(default=50, gt=0)
    """Milliseconds that requests answered together may take, by what the last ones took: fewer are taken if more."""

    serve_batch_wait_ms: float = Field(default=0, ge=0)
    """Milliseconds that a request waits for company where nothing is being answered."""

    shadow_queue: int = Field(default=1_000, ge=1)
    """Served requests that may wait for a shadow; more are left out and counted."""

    shadow_deadline: float = Field(default=5, gt=0)
    """Seconds after which a request that waited for a shadow is left out and counted."""

    shadow_sample: float = Field(default=1, ge=0, le=1)
    """Share of the served requests that shadows answer too, drawn by the response's id."""

    shadow_yields: bool = True
    """Whether shadows give way to every other process; on a machine without an idle moment they then answer nothing."""

    log_features_sample: float = Field(default=0.01, ge=0, le=1)
    """Share of the served requests whose features are kept, for replay and to find skew; drawn by the response's id."""

    log_export_minutes: float = Field(default=60, ge=0, le=43_200)
    """Minutes between exports of the records to Parquet by `backbeat serve`; 0 for only by `backbeat logs export`."""

    index: Literal["auto", "exact", "hnsw"] = "auto"
    """How candidates are found: exactly, or by a graph (HNSW); ``auto`` is exact on a GPU and for small catalogues."""

    index_most_exact: int = Field(default=200_000, ge=1)
    """Items up to which ``auto`` is exact without a GPU."""

    index_dtype: Literal["float32", "bfloat16"] = "float32"
    """Numbers of an exact index: ``bfloat16`` halves its memory and the time to read it."""

    scorer_candidates: int = Field(default=2_000, ge=1)
    """Items that a model without item vectors ranks for a request, at least; of catalogues no larger, all. A training
    doubles them until they hold 95 % of what the model ranks best of all."""

    serve_features_ms: float = Field(default=250, gt=0)
    """Milliseconds a request waits for the user's history; after that it is answered without."""

    serve_network_ms: float = Field(default=250, gt=0)
    """Milliseconds the request of an unknown user waits for what the people around that user watch."""

    feedback_late: float = Field(default=3600, gt=0)
    """Seconds after which an event on a served list counts as late when it comes."""

    ui_host: str = "127.0.0.1"
    """Address that the registry's UI binds to."""

    ui_port: int = Field(default=8410, ge=1, le=65535)
    """Port of the registry's UI."""

    ui_url: str | None = None
    """Address by which browsers reach the UI where that is another one, e.g. ``https://registry.example.org``."""

    ui_idle_minutes: float = Field(default=120, gt=0)
    """Minutes after which a browser that asks for nothing is signed out."""

    ui_session_hours: float = Field(default=12, gt=0)
    """Hours after which a browser is signed out whatever it does."""

    oidc_issuer: str | None = None
    """OpenID Connect provider that people sign in with, e.g. ``https://login.example.org/realms/ml``."""

    oidc_client_id: str = "backbeat"
    """The UI's id at that provider."""

    oidc_client_secret: SecretStr | None = None
    """Its secret there; None for a public client."""

    oidc_role_claim: str = "roles"
    """Claim of the ID token that says what somebody may do; a dot goes one level down, e.g. ``realm_access.roles``."""

    oidc_roles: str = "viewer=viewer,engineer=engineer,approver=approver,admin=admin"
    """Values of that claim and the roles they give; the highest counts, and who has none may not enter."""

    policy_file: Path | None = None
    """Promotion policy laid over the shipped one; ``policy.toml`` of the home when unset."""

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

    webhook_secret: SecretStr | None = Field(default=None, min_length=16)
    """Signs what is sent to the webhook, by HMAC-SHA256."""

    webhook_url: str | None = Field(default=None, pattern=r"^https?://[^\s/]+")
    """Where requests, decisions and moves of the registry are told; nowhere when unset."""

    test_data: Path | None = None
    """Directory with the public data sets; read by the test-suite only."""

    @property
    def surfaces(self) -> tuple[Surface, ...]:
        """Those that the service is to serve."""
        known: tuple[Surface, ...] = get_args(Surface)
        if self.serve_surfaces is None:
            return known
        named = {name.strip() for name in self.serve_surfaces.split(",")}
        return tuple(surface for surface in known if surface in named)

    @field_validator("serve_surfaces")
    @classmethod
    def _surfaces(cls, names: str | None) -> str | None:
        strangers = sorted({name.strip() for name in (names or "").split(",")} - SURFACES.keys())
        if names is not None and strangers:
            raise ValueError(f"some of {', '.join(SURFACES)}, separated by commas")
        return names

    @field_validator("webhook_url")
    @classmethod
    def _signed(cls, url: str | None, info: ValidationInfo) -> str | None:
        if url is not None and info.data.get("webhook_secret") is None:
            raise ValueError(f"{PREFIX}WEBHOOK_SECRET beside it, of 16 characters or more, that signs what is sent")
        return url


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
        field = str(first["loc"][0])
        name = PREFIX + field.upper()
        known_field = Settings.model_fields.get(field)
        secret = known_field is not None and SecretStr in get_args(known_field.annotation)
        found = "a value that is not shown here" if secret else repr(first.get("input"))
        raise BadInput(
            f"setting {name}",
            found=found,
            expected=first["msg"].removeprefix("Value error, "),
            next_step=f"correct or unset {name}",
        ) from None


def settings_in_environment() -> frozenset[str]:
    """Names of the settings that the environment says something about."""
    return frozenset(name for name in Settings.model_fields if PREFIX + name.upper() in map(str.upper, os.environ))


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
