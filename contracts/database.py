"""The platform's own database: engine, sessions and migrations."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import ConfigDict, TypeAdapter
from sqlalchemy import Engine, create_engine, event, inspect, text
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from contracts.addresses import database_url
from contracts.errors import BadInput, HomeTooNew, ServiceUnavailable
from contracts.files import writable
from contracts.home import Home
from contracts.settings import Settings

__all__ = ["SCHEMA_REVISION", "Database"]

SCHEMA_REVISION = "0011"
"""Newest migration in ``migrations/versions``; a test keeps the two equal."""

_ANYTHING: TypeAdapter[Any] = TypeAdapter(Any, config=ConfigDict(ser_json_inf_nan="constants"))


def _json(value: object) -> str:
    """What a column of JSON holds; pydantic takes a third of the time of ``json``, and requests need it."""
    return _ANYTHING.dump_json(value).decode()


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # Readers (UI, service) go on while a command writes; a second writer waits instead of failing.
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _only_readable(path: Path) -> bool:
    """Whether there is a database in a directory where SQLite can make none of the files that it keeps beside it."""
    return path.is_file() and not writable(path.parent)


def _reading(path: Path) -> Engine:
    """An engine that only reads, and looks at the file anew for every session."""

    def connect() -> sqlite3.Connection:
        # A log beside it is that of somebody who has it open. Without one SQLite would make it, and cannot.
        alone = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
        return sqlite3.connect(f"file:{quote(str(path))}?mode=ro{alone}", uri=True)

    return create_engine(f"sqlite:///{path}", creator=connect, poolclass=NullPool)


def _not_opened(engine: Engine, said: str) -> BadInput:
    return BadInput(
        f"database {engine.url.database}",
        found=f"{said.strip().splitlines()[0]}, as user {os.geteuid()}",
        expected="a file that this user may read, and may write where its tables are to be made or brought up to date",
        next_step="run the command as the user who owns the home, or set BACKBEAT_HOME to another directory",
    )


class Database:
    """Sessions on the platform's tables, created and migrated on first use.

    Args:
        settings: Names the database in the production profile.
        home: Holds it in the local profile.
    """

    def __init__(self, settings: Settings, home: Home) -> None:
        self._url = database_url(settings, home)
        self._engine: Engine | None = None
        self._opening = threading.Lock()

    @property
    def engine(self) -> Engine:
        """The engine, with the schema up to date.

        Raises:
            HomeTooNew: The schema is of a newer version.
            ServiceUnavailable: The server does not answer.
            BadInput: What is there is no database of ours, or may not be opened.
        """
        with self._opening:  # two threads at once would both migrate
            if self._engine is None:
                self._engine = self._open()
            return self._engine

    def _open(self) -> Engine:
        engine = create_engine(self._url, json_serializer=_json)
        if engine.dialect.name == "sqlite" and _only_readable(Path(str(engine.url.database))):
            engine = _reading(Path(str(engine.url.database)))
        elif engine.dialect.name == "sqlite":
            Path(str(engine.url.database)).parent.mkdir(parents=True, exist_ok=True)
            event.listen(engine, "connect", _prepare_sqlite)
        try:
            self._migrate(engine)
        except OperationalError as error:
            if engine.dialect.name == "sqlite":
                raise _not_opened(engine, str(error.orig)) from None
            raise ServiceUnavailable(
                f"database {engine.url.render_as_string(hide_password=True)}",
                found=str(error.orig).strip().splitlines()[0],
                expected="a server that answers",
                next_step="start it, or correct BACKBEAT_DATABASE_URL; `backbeat doctor` checks it",
            ) from None
        except DatabaseError as error:
            raise BadInput(
                f"database {engine.url.render_as_string(hide_password=True)}",
                found=str(error.orig).strip().splitlines()[0],
                expected="the platform's tables",
                next_step="restore it from a backup, or move it away to begin with empty tables",
            ) from None
        return engine

    def _migrate(self, engine: Engine) -> None:
        with engine.connect() as connection:
            found = None
            if inspect(connection).has_table("alembic_version"):
                found = connection.execute(text("select version_num from alembic_version")).scalar()
        if found == SCHEMA_REVISION:
            return
        if found is not None and found > SCHEMA_REVISION:
            raise HomeTooNew(
                f"database {engine.url.render_as_string(hide_password=True)}",
                found=f"schema {found}",
                expected=f"schema {SCHEMA_REVISION} or older",
                next_step="upgrade Backbeat, or set BACKBEAT_HOME to another directory",
            )
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    @contextmanager
    def session(self) -> Iterator[Session]:
        """One transaction: committed at the end, rolled back on any exception."""
        with Session(self.engine) as session, session.begin():
            yield session

    def close(self) -> None:
        """Return all connections."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None
