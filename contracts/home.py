"""The home: the directory that holds all embedded state, its format number and its one writer."""

import errno
import json
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from contracts.clock import utc_now
from contracts.errors import BadInput, HomeBusy, HomeTooNew, NotFound
from contracts.files import writable, write_text_whole
from contracts.revision import library_versions
from contracts.settings import Settings

__all__ = ["HOME_FORMAT", "Home"]

HOME_FORMAT = 1
"""Layout this code reads and writes. Raise it when an older Backbeat could no longer read a home."""


class Home:
    """Paths inside a home. Nothing is created before :meth:`writing`.

    Args:
        root: The directory.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.marker = self.root / "home.json"
        self._holder = self.root / "writer.json"
        self.offline = self.root / "offline"
        self.feast = self.root / "feast"
        self.quality = self.root / "quality"
        self.artifacts = self.root / "artifacts"
        self.centres = self.root / "centres"
        self.cache = self.root / "cache"
        self.logs = self.root / "logs"
        self.log_files = self.logs / "parquet"
        self.stream = self.root / "stream"
        self.bentos = self.root / "bentoml"
        self.platform_database = self.root / "platform.db"
        self.mlflow_database = self.root / "mlflow.db"
        self.tuning_database = self.root / "tuning.db"

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """The home the settings name, whether or not it exists yet.

        Raises:
            HomeTooNew: It was written by a newer version.
            BadInput: The path is a file, or a directory with other things in it.
        """
        home = cls(settings.home)
        if home.root.exists() and not home.root.is_dir():
            raise BadInput(
                f"home {home.root}",
                found="a file",
                expected="a directory, or a path where one can be made",
                next_step="set BACKBEAT_HOME to a directory",
            )
        if not home.marker.exists():
            strangers = sorted(p.name for p in home.root.iterdir()) if home.root.exists() else []
            if any(name not in ("writer.lock", "writer.json") for name in strangers):
                raise BadInput(
                    f"home {home.root}",
                    found=f"a directory without home.json that holds {', '.join(strangers[:3])}",
                    expected="an empty or absent directory, or a home made by Backbeat",
                    next_step="set BACKBEAT_HOME to another directory",
                )
            return home
        found = home._read_marker()
        if found["format"] > HOME_FORMAT:
            raise HomeTooNew(
                f"home {home.root}",
                found=f"format {found['format']}, written by Backbeat {found['backbeat']}",
                expected=f"format {HOME_FORMAT} or lower (this is Backbeat {library_versions().get('backbeat', '?')})",
                next_step="upgrade Backbeat, or set BACKBEAT_HOME to another directory",
            )
        made_at = Path(found.get("root", home.root))
        if made_at.resolve() != home.root.resolve():
            raise BadInput(
                f"home {home.root}",
                found=f"a home that was made at {made_at} and has been moved or copied",
                expected="a home at the path it was made at, which MLflow's and Feast's addresses in it name",
                next_step=f"move it back to {made_at}, or set BACKBEAT_HOME to a new directory and ingest again",
            )
        return home

    def _read_marker(self) -> dict[str, Any]:
        try:
            found = json.loads(self.marker.read_text(encoding="utf-8"))
            if isinstance(found["format"], int):
                return dict(found)
        except (OSError, ValueError, KeyError, TypeError):
            pass
        raise BadInput(
            self.marker,
            found="a damaged file",
            expected='JSON such as {"format": 1, "backbeat": "0.1.0"}',
            next_step="restore it from a backup, or set BACKBEAT_HOME to another directory",
        )

    @property
    def exists(self) -> bool:
        """Whether anything has been written here."""
        return self.marker.exists()

    def require(self) -> None:
        """Refuse to read a home that is not there.

        Raises:
            NotFound: The home does not exist.
        """
        if not self.exists:
            raise NotFound(
                f"home {self.root}",
                found="nothing there",
                expected="a home with ingested data",
                next_step="run `backbeat ingest simulate`, `backbeat ingest mmssl PATH` or `backbeat demo`",
            )

    def require_writable(self) -> None:
        """Refuse to change a home whose files this process may only read.

        Raises:
            BadInput: It may not write there.
        """
        if not writable(self.root):
            raise self._read_only("no permission to make files there")

    @contextmanager
    def writing(self, what: str) -> Iterator[None]:
        """Be the only command that writes this home, making it if need be.

        Args:
            what: The command, shown to whoever comes second.

        Raises:
            HomeBusy: Another process is writing.
            BadInput: This process may not write there.
        """
        absent = not self.root.exists()
        lock = FileLock(self.root / "writer.lock")
        if not absent and not writable(self.root):
            raise self._read_only("no permission to make files there")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            raise self._busy() from None
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            raise self._read_only(str(error.strerror)) from None
        first = not self.marker.exists()
        try:
            self._holder.write_text(json.dumps({"what": what, "pid": os.getpid(), "since": utc_now().isoformat()}))
            if first:
                # Before anything else, so that a killed first command leaves a home and no stranger's directory.
                version = library_versions().get("backbeat", "unknown")
                marker = {"format": HOME_FORMAT, "backbeat": version, "root": str(self.root)}
                write_text_whole(self.marker, json.dumps(marker))
            yield
        except BaseException:
            if first:
                self._unmake(absent)
            raise
        finally:
            self._holder.unlink(missing_ok=True)
            lock.release()
            if absent and not any(self.root.iterdir()):
                self.root.rmdir()

    def writer(self) -> str | None:
        """Who is writing this home right now, as far as it has said so; None where nobody is."""
        try:
            who = json.loads(self._holder.read_text(encoding="utf-8"))
            with suppress(PermissionError):  # somebody else's process, and alive
                os.kill(who["pid"], 0)
        except (OSError, ValueError):
            return None
        return f"`{who['what']}` writing it (process {who['pid']}, since {who['since'][:19]} UTC)"

    def _busy(self) -> HomeBusy:
        return HomeBusy(
            f"home {shlex.quote(str(self.root))}",
            found=self.writer() or "another command writing it",
            expected="one writer at a time",
            next_step="wait until it has ended, then run the same command again",
        )

    def _read_only(self, said: str) -> BadInput:
        return BadInput(
            f"home {shlex.quote(str(self.root))}",
            found=f"a directory that this process may not write to ({said})",
            expected="one that it may write to: the command changes the home",
            next_step="run it as the user who owns the home, or set BACKBEAT_HOME to another directory",
        )

    def _unmake(self, absent: bool) -> None:
        """Remove what the home's first command left half-done, and the home with it where there was none before."""
        for own in (
            self.offline,
            self.feast,
            self.quality,
            self.artifacts,
            self.centres,
            self.cache,
            self.logs,
            self.stream,
        ):
            shutil.rmtree(own, ignore_errors=True)
        for database in (self.platform_database, self.mlflow_database):
            for path in self.root.glob(f"{database.name}*"):
                path.unlink()
        self.marker.unlink(missing_ok=True)
        if absent:
            (self.root / "writer.lock").unlink(missing_ok=True)
