"""Where bad inputs are made and commands are run on them: a good data set, and a home that holds it."""

import hashlib
import multiprocessing
import os
import pickle
import re
import runpy
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from contracts.current import current_snapshot_id
from contracts.home import Home
from contracts.snapshot import table_path

__all__ = ["Case", "Outcome", "Workshop", "typed"]

_PATIENCE_S = 300
_COMMANDS = multiprocessing.get_context("forkserver")
"""Commands are processes that have the heavy libraries from the first one: to load them is most of a command's time."""
_COMMANDS.set_forkserver_preload(["torch", "mlflow", "great_expectations", "feature_repo.store", "training.models"])


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    exit_code: int
    message: str


@dataclass(frozen=True)
class Case:
    """One bad input."""

    title: str
    run: Callable[["Workshop"], tuple[str, Outcome]]
    """Makes the input and runs the command; returns the command line and its outcome."""
    keeps_home: bool = True
    """False where an interrupted job or run is recorded."""
    exit_code: int = 2


class Workshop:
    """A directory with a good data set and a home that has it ingested, validated and materialized.

    Args:
        root: An empty directory.
    """

    USERS, VIDEOS, WIDTH = 48, 32, 8

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = Home(root / "home")
        self.good = root / "good"
        self._write_good()
        for command in (("ingest", "mmssl", "good"), ("features", "apply"), ("validate", "run")):
            outcome = self.command(*command)
            if outcome.exit_code != 0:
                raise RuntimeError(f"{command}: {outcome.message}")

    def _write_good(self) -> None:
        rng = np.random.default_rng(0)
        self.good.mkdir()
        flat = rng.permuted(np.tile(np.arange(self.VIDEOS), (self.USERS, 1)), axis=1)[:, :8]
        for name, columns in (("trn", flat[:, :6]), ("val", flat[:, 6:7]), ("tst", flat[:, 7:])):
            self.write_matrix(
                self.good / f"{name}Mat.pkl", np.arange(self.USERS).repeat(columns.shape[1]), columns.ravel()
            )
        for name in ("image", "audio"):
            np.save(self.good / f"{name}_feat.npy", rng.normal(size=(self.VIDEOS, self.WIDTH)).astype(np.float32))

    def write_matrix(self, path: Path, rows: np.ndarray, columns: np.ndarray, value: float = 1.0) -> None:
        """Pickle a COO matrix, as the data set's publishers do."""
        values = np.full(len(rows), value)
        path.write_bytes(pickle.dumps(sp.coo_matrix((values, (rows, columns)), shape=(self.USERS, self.VIDEOS))))

    def bad_copy(self, name: str) -> Path:
        """A copy of the good data set to be spoilt."""
        return Path(shutil.copytree(self.good, self.root / name))

    def environment(self, **extra: str) -> dict[str, str]:
        """The environment of a command: this home, no settings of the developer's."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BACKBEAT_")}
        return {**kept, "BACKBEAT_HOME": str(self.home.root), "BACKBEAT_DEVICE": "cpu", **extra}

    def argv(self, *arguments: str) -> list[str]:
        """The process that a command line becomes."""
        return [sys.executable, "-m", "backbeat", *arguments]

    def command(self, *arguments: str, **extra: str) -> Outcome:
        """Run a command line and read what it says."""
        said = self.root / "said.txt"
        process = _COMMANDS.Process(target=_be_backbeat, args=(arguments, self.root, self.environment(**extra), said))
        process.start()
        process.join(_PATIENCE_S)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"backbeat {shlex.join(arguments)} has not ended in {_PATIENCE_S} s")
        return Outcome(process.exitcode, self._tidy(said.read_text()))

    def confined(self, before: Sequence[str], *arguments: str) -> Outcome:
        """Run a command line behind another one, in a process from scratch."""
        done = subprocess.run(
            [*before, *self.argv(*arguments)],
            cwd=self.root,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
        )
        return Outcome(done.returncode, self._tidy(done.stderr))

    def interrupted(self, sign: str, *arguments: str) -> Outcome:
        """Run a command line and press Ctrl-C when a line of standard error matches ``sign``."""
        return self._meanwhile(sign, lambda process: process.send_signal(signal.SIGINT), arguments)

    def disturbed(self, sign: str, disturb: Callable[[], object], *arguments: str) -> Outcome:
        """Run a command line and do something else when a line of standard error matches ``sign``."""
        return self._meanwhile(sign, lambda _: disturb(), arguments)

    def _meanwhile(
        self, sign: str, act: Callable[["subprocess.Popen[str]"], object], arguments: tuple[str, ...]
    ) -> Outcome:
        with subprocess.Popen(
            self.argv(*arguments), cwd=self.root, env=self.environment(), stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            guard = threading.Timer(120, process.kill)
            guard.start()
            said = []
            for line in process.stderr or ():
                said.append(line)
                if re.search(sign, line) and process.poll() is None:
                    act(process)
            guard.cancel()
        return Outcome(process.returncode, self._tidy(said[-1] if said else ""))

    def _tidy(self, text: str) -> str:
        """The last line, without what differs from run to run."""
        text = text.replace(f"{self.root}/", "").strip().rpartition("\n")[2]
        text = re.sub(r"[0-9a-f]{32}", "RUN", text)
        text = re.sub(r"((?:report|override) |quality/)[0-9a-f]{12}\b", r"\1REPORT", text)
        text = re.sub(r"[\d,]+ MiB free", "N MiB free", text)
        text = re.sub(r"at least [\d.]+ [MG]iB", "at least N MiB", text)
        text = re.sub(r"process \d+, since \S+", "process N, since TIME", text)
        return re.sub(r"SHA-256 \w+…", "SHA-256 …", text)

    def fingerprint(self) -> str:
        """Hash of every file of the home but the writer's lock; of a database, its content and not its pages."""
        hasher = hashlib.sha256()
        for path in sorted(self.home.root.rglob("*")):
            if path.is_file() and path.name != "writer.lock" and not path.name.endswith(("-wal", "-shm")):
                hasher.update(str(path.relative_to(self.home.root)).encode())
                if path.suffix == ".db":
                    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                        hasher.update("\n".join(connection.iterdump()).encode())
                else:
                    hasher.update(path.read_bytes())
        return hasher.hexdigest()

    @contextmanager
    def replaced(self, table: str, change: Callable[[bytes], bytes], suffix: str = ".parquet") -> Iterator[None]:
        """The current snapshot's file of a table with other bytes, for as long as a block lasts."""
        path = table_path(self.home, str(current_snapshot_id(self.home)), table).with_suffix(suffix)
        # The whole directory steps aside: a file that is moved away and back is no longer the one that was judged.
        aside = path.parent.rename(self.root / "aside")
        path.parent.mkdir()
        for other in aside.iterdir():
            if other.name != path.name:
                (path.parent / other.name).symlink_to(other)
        path.write_bytes(change((aside / path.name).read_bytes()))
        try:
            yield
        finally:
            shutil.rmtree(path.parent)
            aside.rename(path.parent)

    @contextmanager
    def writer(self) -> Iterator[None]:
        """Another command that is writing the home right now."""
        with self.home.writing("backbeat train lightgcn"):
            yield


def _be_backbeat(arguments: Sequence[str], root: Path, environment: Mapping[str, str], said: Path) -> None:
    """Run a command line in this process, with its standard error in a file."""
    os.chdir(root)
    os.environ.clear()
    os.environ.update(environment)
    with said.open("wb") as error, Path(os.devnull).open("wb") as nothing:
        os.dup2(error.fileno(), 2)
        os.dup2(nothing.fileno(), 1)
    sys.argv = ["backbeat", *arguments]
    runpy.run_module("backbeat", run_name="__main__")


def typed(*arguments: str) -> Callable[[Workshop], tuple[str, Outcome]]:
    """Run of a case whose input is the command line itself."""

    def run(workshop: Workshop) -> tuple[str, Outcome]:
        return shlex.join(("backbeat", *arguments)), workshop.command(*arguments)

    return run
