"""Where the trials of a tuning are kept, so that one that was killed goes on, and whose they are."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import optuna
from optuna.storages import RDBStorage
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import DatabaseError

from contracts.addresses import database_url, require_answer
from contracts.errors import BadInput, Conflict
from contracts.home import Home
from contracts.settings import Settings

__all__ = ["open_study"]

_FACTS = "facts"
_SCHEMA = "tuning"
"""Of Postgres. Optuna migrates its tables by Alembic as we do ours, and both call their version table the same."""


@contextmanager
def open_study(settings: Settings, home: Home, name: str, facts: Mapping[str, object]) -> Iterator[optuna.Study]:
    """A study of Optuna that maximises, made if it is not there; nobody else works on it meanwhile.

    It is in the home's ``tuning.db``, or in production in the schema ``tuning`` of the platform's database.

    Args:
        settings: Name the profile.
        home: The caller is its writer.
        name: Of the study.
        facts: What its trials have in common; of plain JSON.

    Raises:
        Conflict: There is a study of that name with other facts, or another process works on it.
        ServiceUnavailable: The database does not answer.
        BadInput: What is there is no database of Optuna's.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with _storage(settings, home, name) as storage:
        study = optuna.create_study(storage=storage, study_name=name, direction="maximize", load_if_exists=True)
        known = study.user_attrs.get(_FACTS)
        if known is None:
            study.set_user_attr(_FACTS, dict(facts))
        else:
            _require_same(name, known, json.loads(json.dumps(facts)))
        yield study


@contextmanager
def _storage(settings: Settings, home: Home, name: str) -> Iterator[RDBStorage]:
    if settings.profile == "local":
        storage = _opened(f"sqlite:///{home.tuning_database}", {"timeout": 10})
        try:
            yield storage
        finally:
            storage.engine.dispose()
        return
    url = database_url(settings, home)
    require_answer(url, "database_url")
    inside = {"options": f"-csearch_path={_SCHEMA}"}
    engine = create_engine(url, connect_args=inside)
    try:
        # The lock lives as long as the connection: a killed process holds none.
        with engine.connect() as connection:
            _take(connection, name)
            try:
                storage = _opened(url, inside)
                try:
                    yield storage
                finally:
                    storage.engine.dispose()
            finally:
                # A busy server notices only late that a connection was closed.
                with suppress(DatabaseError):
                    _locked(connection, "pg_advisory_unlock", name)
    finally:
        engine.dispose()


def _take(connection: Connection, name: str) -> None:
    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {_SCHEMA}"))
    if not _locked(connection, "pg_try_advisory_lock", name):
        raise Conflict(
            f"tuning {name!r}",
            found="another process that works on it",
            expected="one at a time",
            next_step="wait until it has ended, or give another `--name`",
        )


def _locked(connection: Connection, function: str, name: str) -> bool:
    """What a function of Postgres says of the lock of a tuning."""
    said = connection.execute(text(f"SELECT {function}(hashtext(:name))"), {"name": f"tuning {name}"})
    done = bool(said.scalar())
    connection.commit()
    return done


def _opened(url: str, connect: Mapping[str, object]) -> RDBStorage:
    try:
        return RDBStorage(url, engine_kwargs={"connect_args": dict(connect)})
    except (DatabaseError, RuntimeError) as error:
        said = error.orig if isinstance(error, DatabaseError) else error
        raise BadInput(
            f"database of tunings {create_engine(url).url.render_as_string(hide_password=True)}",
            found=str(said).strip().splitlines()[0],
            expected=f"tables of Optuna {optuna.__version__}",
            next_step="restore it from a backup, or move it away to begin with empty tables",
        ) from None


def _require_same(name: str, known: Mapping[str, object], facts: Mapping[str, object]) -> None:
    differing = [fact for fact in sorted(known.keys() | facts.keys()) if known.get(fact) != facts.get(fact)]
    if differing:
        found, expected = (
            ", ".join(f"{fact} {json.dumps(of.get(fact))}" for fact in differing) for of in (known, facts)
        )
        raise Conflict(
            f"tuning {name!r}",
            found=f"trials with {found}",
            expected=f"trials with {expected}",
            next_step="go on with it as it was begun, or give another `--name`",
        )
