"""What is read of MLflow to keep the catalogue in step: its database where there is one, else its server."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from contracts.addresses import mlflow_tracking_url
from contracts.errors import ServiceUnavailable
from contracts.home import Home
from contracts.metric_names import SYSTEM_METRICS
from contracts.settings import Settings
from contracts.surfaces import SURFACES, Tag

__all__ = ["DatabaseSource", "FoundRun", "FoundVersion", "Key", "NoSource", "Source", "source_of"]

Key = tuple[str, int]
"""Surface and number of a version."""

_DELETED = "Deleted_Internal"
_CHUNK = 400
_WORKSPACE = "default"


@dataclass
class FoundVersion:
    """One version as MLflow has it."""

    surface: str
    number: int
    created: int
    """In milliseconds, as the next."""
    updated: int
    user: str
    source: str
    run_id: str
    tags: dict[str, str] = field(default_factory=dict)


@dataclass
class FoundRun:
    """What the run behind a version says."""

    user: str = ""
    metrics: dict[str, float | None] = field(default_factory=dict)
    """None where a value is not a number; those of the machine are left out."""
    parameters: dict[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Where versions come from."""

    look_every: float
    """Seconds between two looks for what is new."""
    compare_every: float
    """Seconds between two comparisons of everything."""

    def token(self) -> object:
        """Differs where something may have been written meanwhile; None where that cannot be told."""

    def aliases(self) -> dict[Key, list[str]]:
        """Version → its aliases, sorted."""

    def states(self) -> dict[Key, str] | None:
        """Version → state tag; None where asking costs as much as asking for everything."""

    def versions(self, since: int = 0) -> tuple[list[FoundVersion], set[Key]]:
        """Versions updated at or after an instant (milliseconds) with all their tags, and the deleted ones."""

    def stamps(self) -> dict[str, str] | None:
        """Run → stamp of its metrics; None where that cannot be told without reading them."""

    def runs(self, ids: Collection[str]) -> dict[str, FoundRun]:
        """Metrics, configuration and user of runs."""


class NoSource:
    """A home in which nothing was ever tracked; connecting would make MLflow's database."""

    look_every, compare_every = 1.0, 5.0

    def token(self) -> object:
        """Nothing changes."""
        return "nothing"

    def aliases(self) -> dict[Key, list[str]]:
        """None."""
        return {}

    def states(self) -> dict[Key, str]:
        """None."""
        return {}

    def versions(self, since: int = 0) -> tuple[list[FoundVersion], set[Key]]:
        """None."""
        return [], set()

    def stamps(self) -> dict[str, str]:
        """None."""
        return {}

    def runs(self, ids: Collection[str]) -> dict[str, FoundRun]:
        """None."""
        return {}


def _table(name: str, *columns: str) -> sa.TableClause:
    return sa.table(name, *map(sa.column, columns))


_VERSIONS = _table(
    "model_versions",
    "workspace",
    "name",
    "version",
    "creation_time",
    "last_updated_time",
    "user_id",
    "current_stage",
    "source",
    "run_id",
)
_TAGS = _table("model_version_tags", "workspace", "name", "version", "key", "value")
_ALIASES = _table("registered_model_aliases", "workspace", "name", "alias", "version")
_RUNS = _table("runs", "run_uuid", "user_id")
_METRICS = _table("latest_metrics", "run_uuid", "key", "value", "is_nan", "timestamp")
_PARAMS = _table("params", "run_uuid", "key", "value")

_LARGEST = 1e300
"""MLflow keeps an infinite metric as the largest float."""


class DatabaseSource:
    """MLflow's own tables, read and never written: its search takes seconds where these queries take milliseconds.

    Args:
        url: SQLAlchemy address of MLflow's database.
    """

    look_every, compare_every = 1.0, 5.0

    def __init__(self, url: str) -> None:
        address = sa.engine.make_url(url)
        self._inode: int | None = None
        self._file = Path(address.database) if address.drivername.startswith("sqlite") and address.database else None
        if self._file is not None:
            # One connection for good: SQLite says through it whether others have written.
            address = sa.engine.make_url(f"sqlite:///file:{self._file}?mode=ro&uri=true")
            only = {"pool_size": 1, "max_overflow": 0, "connect_args": {"check_same_thread": False, "timeout": 10}}
            self._engine = sa.create_engine(address, poolclass=sa.pool.QueuePool, **only)
        else:
            self._engine = sa.create_engine(address, pool_size=2, connect_args={"connect_timeout": 5})

    def _rows(self, *statements: sa.Executable) -> list[Any]:
        self._require_file()
        try:
            with self._engine.connect() as connection:
                return [row for statement in statements for row in connection.execute(statement).all()]
        except SQLAlchemyError as error:
            said = str(getattr(error, "orig", error)).strip().splitlines() or [type(error).__name__]
            raise ServiceUnavailable(
                f"MLflow's database {self._engine.url.render_as_string(hide_password=True)}",
                found=said[0],
                expected="MLflow's tables",
                next_step="start the server, or correct BACKBEAT_MLFLOW_URL; `backbeat doctor` checks it",
            ) from None

    def close(self) -> None:
        """Return all connections."""
        self._engine.dispose()

    def _require_file(self) -> None:
        """An open connection would go on with a file that was moved away, or replaced by another."""
        if self._file is None:
            return
        try:
            found = self._file.stat().st_ino
        except OSError as error:
            raise ServiceUnavailable(
                f"MLflow's database {self._file}",
                found=error.strerror or "no file",
                expected="the file that MLflow made",
                next_step="restore it from a backup",
            ) from None
        if found != self._inode:
            self._engine.dispose()
            self._inode = found

    def token(self) -> object:
        """SQLite's counter of foreign writes, or Postgres's counts of rows written."""
        if self._file is not None:
            (row,) = self._rows(sa.text("PRAGMA data_version"))
            return self._inode, row[0]
        names = ", ".join(f"'{t.name}'" for t in (_VERSIONS, _TAGS, _ALIASES, _METRICS))
        # A server process tells its counts some seconds late; what must be seen at once is asked for itself.
        (row,) = self._rows(
            sa.text(
                "SELECT (SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables "
                f"WHERE relname IN ({names})), "
                "(SELECT count(*) FROM model_versions), (SELECT max(last_updated_time) FROM model_versions), "
                "(SELECT string_agg(name || '/' || alias || '/' || version, ' ' ORDER BY name, alias) "
                "FROM registered_model_aliases)"
            )
        )
        return tuple(row)

    def aliases(self) -> dict[Key, list[str]]:
        """In one query."""
        found: dict[Key, list[str]] = {}
        columns = _ALIASES.c
        chosen = sa.select(columns.name, columns.version, columns.alias).order_by(columns.alias)
        for name, version, alias in self._rows(chosen.where(*_ours(_ALIASES))):
            found.setdefault((name, int(version)), []).append(alias)
        return found

    def states(self) -> dict[Key, str] | None:
        """In one query."""
        columns = _TAGS.c
        chosen = sa.select(columns.name, columns.version, columns.value).where(*_ours(_TAGS), columns.key == Tag.STATE)
        return {(name, int(version)): value for name, version, value in self._rows(chosen)}

    def versions(self, since: int = 0) -> tuple[list[FoundVersion], set[Key]]:
        """In one query for versions and one for tags."""
        v = _VERSIONS.c
        conditions = [*_ours(_VERSIONS)]
        if since:
            conditions.append(v.last_updated_time >= since)
        found: dict[Key, FoundVersion] = {}
        deleted: set[Key] = set()
        for name, number, created, updated, user, source, run_id, stage in self._rows(
            sa.select(
                v.name, v.version, v.creation_time, v.last_updated_time, v.user_id, v.source, v.run_id, v.current_stage
            ).where(*conditions)
        ):
            key = (name, int(number))
            if stage == _DELETED:
                deleted.add(key)
                continue
            created = int(created or 0)
            found[key] = FoundVersion(*key, created, int(updated or created), user or "", source or "", run_id or "")
        for name, number, key, value in self._rows(*self._tags(found, everything=not since)):
            if (version := found.get((name, int(number)))) is not None:
                version.tags[key] = value or ""
        return list(found.values()), deleted

    @staticmethod
    def _tags(found: Iterable[Key], everything: bool) -> Iterator[sa.Select[Any]]:
        t = _TAGS.c
        chosen = sa.select(t.name, t.version, t.key, t.value).where(*_ours(_TAGS))
        if everything:
            yield chosen
            return
        numbers: dict[str, list[int]] = {}
        for surface, number in found:
            numbers.setdefault(surface, []).append(number)
        for surface, wanted in numbers.items():
            for part in _parts(wanted):
                yield chosen.where(t.name == surface, t.version.in_(part))

    def stamps(self) -> dict[str, str] | None:
        """In one query, counted by the database."""
        m = _METRICS.c
        ours = sa.select(_VERSIONS.c.run_id).where(*_ours(_VERSIONS))
        counted = sa.select(m.run_uuid, sa.func.count(), sa.func.max(m.timestamp)).where(
            m.run_uuid.in_(ours), ~m.key.startswith(SYSTEM_METRICS)
        )
        return {run: f"{count} {newest}" for run, count, newest in self._rows(counted.group_by(m.run_uuid))}

    def runs(self, ids: Collection[str]) -> dict[str, FoundRun]:
        """In three queries for some hundred runs."""
        found = {run_id: FoundRun() for run_id in ids}
        for part in _parts(sorted(found)):
            r, m, p = _RUNS.c, _METRICS.c, _PARAMS.c
            for run_id, user in self._rows(sa.select(r.run_uuid, r.user_id).where(r.run_uuid.in_(part))):
                found[run_id].user = user or ""
            metrics = sa.select(m.run_uuid, m.key, m.value, m.is_nan).where(m.run_uuid.in_(part))
            for run_id, name, value, is_nan in self._rows(metrics.where(~m.key.startswith(SYSTEM_METRICS))):
                found[run_id].metrics[name] = None if is_nan or abs(value) > _LARGEST else float(value)
            for run_id, name, value in self._rows(sa.select(p.run_uuid, p.key, p.value).where(p.run_uuid.in_(part))):
                found[run_id].parameters[name] = value
        return found


def _ours(table: sa.TableClause) -> tuple[sa.ColumnElement[bool], ...]:
    return table.c.workspace == _WORKSPACE, table.c.name.in_(tuple(SURFACES))


def _parts(values: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def source_of(settings: Settings, home: Home) -> Source:
    """Where a home's versions are read from.

    Raises:
        NotFound: The production profile has no address of MLflow.
    """
    if settings.profile == "local" and not home.mlflow_database.exists():
        return NoSource()
    url = mlflow_tracking_url(settings, home)
    if url.startswith(("http://", "https://")):
        from registry.catalogue.server_source import ServerSource

        return ServerSource(url)
    return DatabaseSource(url)
