"""Makes each bad input of ``docs/errors.md``, runs the command on it, and writes down the message it gets.

``make docs`` writes the page; a test runs the same cases and compares.
"""

import hashlib
import os
import pickle
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from contracts.home import Home

__all__ = ["CASES", "Case", "Outcome", "Workshop", "render", "run_case"]

PAGE = Path(__file__).with_name("errors.md")

HEAD = """# Bad inputs and what they answer

Written by `make docs`; a test runs every case again and compares. Each error is one paragraph on standard error (one
JSON document with `--json`) that names the object, what was found, what was expected and the next step. The home is
unchanged after each of them, but for the record of an interrupted job or of a run that was killed or failed.
"""


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

    def command(self, *arguments: str, before: tuple[str, ...] = (), **extra: str) -> Outcome:
        """Run a command line and read what it says."""
        done = subprocess.run(
            [*before, *self.argv(*arguments)],
            cwd=self.root,
            env=self.environment(**extra),
            capture_output=True,
            text=True,
            timeout=300,
        )
        return Outcome(done.returncode, self._tidy(done.stderr))

    def interrupted(self, sign: str, *arguments: str) -> Outcome:
        """Run a command line and press Ctrl-C when a line of standard error matches ``sign``."""
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
                    process.send_signal(signal.SIGINT)
            guard.cancel()
        return Outcome(process.returncode, self._tidy(said[-1] if said else ""))

    def _tidy(self, text: str) -> str:
        """The last line, without what differs from run to run."""
        text = text.replace(f"{self.root}/", "").strip().rpartition("\n")[2]
        text = re.sub(r"[0-9a-f]{32}", "RUN", text)
        text = re.sub(r"[\d,]+ MiB free", "N MiB free", text)
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
    def writer(self) -> Iterator[None]:
        """Another command that is writing the home right now."""
        with self.home.writing("backbeat train lightgcn"):
            yield


def _ingest(workshop: Workshop, folder: Path) -> tuple[str, Outcome]:
    typed = ("ingest", "mmssl", folder.name)
    return shlex.join(("backbeat", *typed)), workshop.command(*typed)


def _missing(workshop: Workshop) -> tuple[str, Outcome]:
    folder = workshop.bad_copy("missing")
    (folder / "valMat.pkl").unlink()
    (folder / "audio_feat.npy").unlink()
    return _ingest(workshop, folder)


def _truncated(workshop: Workshop) -> tuple[str, Outcome]:
    folder = workshop.bad_copy("truncated")
    whole = (folder / "image_feat.npy").read_bytes()
    (folder / "image_feat.npy").write_bytes(whole[: len(whole) // 2])
    return _ingest(workshop, folder)


def _short(workshop: Workshop) -> tuple[str, Outcome]:
    folder = workshop.bad_copy("short")
    np.save(folder / "image_feat.npy", np.load(folder / "image_feat.npy")[:-1])
    return _ingest(workshop, folder)


def _not_finite(workshop: Workshop) -> tuple[str, Outcome]:
    folder = workshop.bad_copy("nan")
    features = np.load(folder / "audio_feat.npy")
    features[3, 1], features[7, 0] = np.nan, np.inf
    np.save(folder / "audio_feat.npy", features)
    return _ingest(workshop, folder)


class _Payload:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, ("touch it-ran",)


def _hostile(workshop: Workshop) -> tuple[str, Outcome]:
    folder = workshop.bad_copy("hostile")
    (folder / "trnMat.pkl").write_bytes(pickle.dumps(_Payload()))
    shown = _ingest(workshop, folder)
    if (workshop.root / "it-ran").exists():
        raise RuntimeError("the hostile pickle ran")
    return shown


def _duplicate(workshop: Workshop) -> tuple[str, Outcome]:
    folder = workshop.bad_copy("duplicate")
    workshop.write_matrix(folder / "trnMat.pkl", np.array([0, 5, 5]), np.array([1, 2, 2]))
    return _ingest(workshop, folder)


def _negative(workshop: Workshop) -> tuple[str, Outcome]:
    folder = workshop.bad_copy("negative")
    workshop.write_matrix(folder / "tstMat.pkl", np.array([4]), np.array([1]), value=-1.0)
    return _ingest(workshop, folder)


def _typed(*arguments: str) -> Callable[[Workshop], tuple[str, Outcome]]:
    def run(workshop: Workshop) -> tuple[str, Outcome]:
        return shlex.join(("backbeat", *arguments)), workshop.command(*arguments)

    return run


def _newer_home(workshop: Workshop) -> tuple[str, Outcome]:
    newer = workshop.root / "newer"
    newer.mkdir()
    (newer / "home.json").write_text('{"format": 99, "backbeat": "9.0.0"}')
    typed = ("models", "list", "--home", "newer")
    return shlex.join(("backbeat", *typed)), workshop.command(*typed)


def _two_writers(workshop: Workshop) -> tuple[str, Outcome]:
    typed = ("features", "materialize")
    with workshop.writer():
        return shlex.join(("backbeat", *typed)), workshop.command(*typed)


def _ctrl_c_training(workshop: Workshop) -> tuple[str, Outcome]:
    typed = ("train", "mf", "--set", "max_epochs=1000000", "--set", "patience=1000000")
    outcome = workshop.interrupted(r"train mf [1-9]", *typed)
    if (after := workshop.command("train", "popularity")).exit_code != 0:
        raise RuntimeError(f"the next run failed: {after.message}")
    return shlex.join(("backbeat", *typed)) + "   # and Ctrl-C", outcome


def _ctrl_c_materialization(workshop: Workshop) -> tuple[str, Outcome]:
    typed = ("features", "materialize", "--force")
    outcome = workshop.interrupted(r"materializing feature views 0", *typed)
    if (after := workshop.command("features", "materialize")).exit_code != 0:
        raise RuntimeError(f"the next run failed: {after.message}")
    return shlex.join(("backbeat", *typed)) + "   # and Ctrl-C", outcome


def _full_disk(workshop: Workshop) -> tuple[str, Outcome]:
    # A file system of 16 KiB stands where packages are written; only this command's own mount namespace sees it.
    mount = f'mount -t tmpfs -o size=16k tmpfs {shlex.quote(str(workshop.home.artifacts))} && exec "$@"'
    typed = ("train", "mf", "--seed", "9")
    outcome = workshop.command(*typed, before=("unshare", "-rm", "sh", "-c", mount, "sh"))
    if (after := workshop.command(*typed)).exit_code != 0:
        raise RuntimeError(f"the next run failed: {after.message}")
    return shlex.join(("backbeat", *typed)) + "   # on a full disk", outcome


def _own_tables(workshop: Workshop) -> tuple[str, Outcome]:
    """Every problem is a line of its own on standard error; the page shows the last paragraph, as elsewhere."""
    own = workshop.root / "own"
    own.mkdir(exist_ok=True)
    (own / "users.csv").write_text("user_id,event_time\nann,2026-01-01T00:00:00\n")
    (own / "videos.csv").write_text("video_id,event_time\nv1,2026-01-01T00:00:00Z\n")
    (own / "interactions.csv").write_text(
        "user_id,video_id,kind,weight,event_time\nann,v1,view,1,2026-01-02T00:00:00Z\nann,v9,stare,-1,2026-01-02T01:00:00Z\n"
    )
    return "backbeat ingest tables own", workshop.command("ingest", "tables", "own")


CASES = (
    Case("A missing file", _missing),
    Case("A truncated .npy", _truncated),
    Case("A feature matrix whose row count differs from the interactions", _short),
    Case("NaN or infinity in features", _not_finite),
    Case("A pickle that asks for another class (it does not run)", _hostile),
    Case("Duplicate interactions", _duplicate),
    Case("Negative interactions", _negative),
    Case(
        "A team's own tables with a naive timestamp, an unknown id, an unknown kind and a negative weight", _own_tables
    ),
    Case("An unknown model", _typed("train", "lightgnc")),
    Case("An unknown option", _typed("train", "mf", "--sed", "3")),
    Case("An unknown model setting", _typed("train", "mf", "--set", "learning_rat=0.1")),
    Case("An unknown command", _typed("modles", "list")),
    Case("A home written by a newer version", _newer_home),
    Case("Two commands that would write the same home at once", _two_writers),
    Case("Ctrl-C in the middle of training", _ctrl_c_training, keeps_home=False, exit_code=130),
    Case("Ctrl-C in the middle of materialization", _ctrl_c_materialization, keeps_home=False, exit_code=130),
    Case("A full disk while packaging", _full_disk, keeps_home=False),
)


def run_case(case: Case, workshop: Workshop) -> str:
    """Run one case and return its section of the page.

    Raises:
        RuntimeError: The exit code is another, or the home has changed.
    """
    before = workshop.fingerprint()
    typed, outcome = case.run(workshop)
    if outcome.exit_code != case.exit_code:
        raise RuntimeError(f"{case.title}: exit code {outcome.exit_code}, not {case.exit_code}: {outcome.message}")
    if case.keeps_home and workshop.fingerprint() != before:
        raise RuntimeError(f"{case.title}: the home has changed")
    return f"\n## {case.title}\n\n```console\n$ {typed}\n{outcome.message}\n```\n\nExit code {outcome.exit_code}.\n"


def render(workshop: Workshop) -> str:
    """The whole page."""
    return HEAD + "".join(run_case(case, workshop) for case in CASES)


def _main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        PAGE.write_text(render(Workshop(Path(directory).resolve())), encoding="utf-8")


if __name__ == "__main__":
    _main()
