"""The bad inputs of ``docs/errors.md``: each made by hand, with the command that meets it."""

import io
import os
import pickle
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from contracts.current import current_snapshot_id
from contracts.snapshot import table_path
from docs.error_cases_registry import REGISTRY_CASES
from docs.error_cases_serving import SERVING_CASES
from docs.workshop import Case, Outcome, Workshop, typed

__all__ = ["CASES"]


def _ingest(workshop: Workshop, folder: Path) -> tuple[str, Outcome]:
    words = ("ingest", "mmssl", folder.name)
    return shlex.join(("backbeat", *words)), workshop.command(*words)


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


def _newer_home(workshop: Workshop) -> tuple[str, Outcome]:
    newer = workshop.root / "newer"
    newer.mkdir()
    (newer / "home.json").write_text('{"format": 99, "backbeat": "9.0.0"}')
    words = ("models", "list", "--home", "newer")
    return shlex.join(("backbeat", *words)), workshop.command(*words)


def _two_writers(workshop: Workshop) -> tuple[str, Outcome]:
    words = ("validate", "run", "--force")
    with workshop.writer():
        return shlex.join(("backbeat", *words)), workshop.command(*words)


def _ctrl_c_training(workshop: Workshop) -> tuple[str, Outcome]:
    words = ("train", "mf", "--set", "max_epochs=1000000", "--set", "patience=1000000")
    outcome = workshop.interrupted(r"train mf [1-9]", *words)
    if (after := workshop.command("train", "popularity")).exit_code != 0:
        raise RuntimeError(f"the next run failed: {after.message}")
    return shlex.join(("backbeat", *words)) + "   # and Ctrl-C", outcome


def _ctrl_c_materialization(workshop: Workshop) -> tuple[str, Outcome]:
    words = ("features", "materialize", "--force")
    outcome = workshop.interrupted(r"materializing feature views 0", *words)
    if (after := workshop.command("features", "materialize")).exit_code != 0:
        raise RuntimeError(f"the next run failed: {after.message}")
    return shlex.join(("backbeat", *words)) + "   # and Ctrl-C", outcome


def _full_disk(workshop: Workshop) -> tuple[str, Outcome]:
    # A file system of 16 KiB stands where packages are written; only this command's own mount namespace sees it.
    mount = f'mount -t tmpfs -o size=16k tmpfs {shlex.quote(str(workshop.home.artifacts))} && exec "$@"'
    words = ("train", "mf", "--seed", "9")
    outcome = workshop.confined(("unshare", "-rm", "sh", "-c", mount, "sh"), *words)
    if (after := workshop.command(*words)).exit_code != 0:
        raise RuntimeError(f"the next run failed: {after.message}")
    return shlex.join(("backbeat", *words)) + "   # on a full disk", outcome


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


def _pushed(workshop: Workshop) -> tuple[str, Outcome]:
    (workshop.root / "events.csv").write_text(
        "user_id,video_id,kind,weight,event_time\nu1,v1,view,1,2026-01-02T00:00:00\nu1,v2,stare,1,2026-01-02T01:00:00Z\n"
    )
    words = ("features", "push", "interactions", "events.csv")
    return shlex.join(("backbeat", *words)), workshop.command(*words)


def _damaged_results(workshop: Workshop) -> tuple[str, Outcome]:
    pages = workshop.root / "pages"
    pages.mkdir()
    (pages / "results.json").write_text('{"m3csr-table2": {')
    return typed("experiment", "m3csr-table2", "--docs", "pages")(workshop)


def _damaged_table(workshop: Workshop) -> tuple[str, Outcome]:
    with workshop.replaced("embedding_visual", lambda whole: whole[: len(whole) // 2]):
        return typed("validate", "run", "--force")(workshop)


def _other_rows(workshop: Workshop) -> tuple[str, Outcome]:
    def without_the_first(whole: bytes) -> bytes:
        rows = io.BytesIO()
        pq.write_table(pq.read_table(io.BytesIO(whole)).slice(1), rows)
        return rows.getvalue()

    with workshop.replaced("embedding_visual", without_the_first):
        return typed("validate", "run", "--force")(workshop)


def _rewritten_since(workshop: Workshop) -> tuple[str, Outcome]:
    with workshop.replaced("users", lambda whole: whole):
        return typed("train", "popularity")(workshop)


def _changed_while_judged(workshop: Workshop) -> tuple[str, Outcome]:
    path = table_path(workshop.home, str(current_snapshot_id(workshop.home)), "users")
    words = ("validate", "run", "--force")
    with workshop.replaced("users", lambda whole: whole):
        outcome = workshop.disturbed(r"judging snapshot \w+ 0", lambda: os.utime(path), *words)
    return shlex.join(("backbeat", *words)) + "   # and another process writes users.parquet", outcome


def _beyond_quarantine(workshop: Workshop) -> tuple[str, Outcome]:
    """Too few users to measure anything: no row is at fault, and no other table can stand in."""
    folder = workshop.bad_copy("few")
    for name in ("trn", "val", "tst"):
        workshop.write_matrix(folder / f"{name}Mat.pkl", np.arange(6), np.arange(6) + ("trn", "val", "tst").index(name))
    for words in (("ingest", "mmssl", folder.name), ("validate", "run", "--quarantine")):
        outcome = workshop.command(*words)
    if (after := workshop.command("ingest", "mmssl", "good")).exit_code != 0:
        raise RuntimeError(f"the next run failed: {after.message}")
    return shlex.join(("backbeat", *words)), outcome


def _another_encoder(workshop: Workshop) -> tuple[str, Outcome]:
    """The manifest says what made the vectors; who edits it makes another snapshot, which nobody has judged."""

    def claimed(whole: bytes) -> bytes:
        return whole.replace(b'"revision": "', b'"revision": "other-')

    with workshop.replaced("snapshot", claimed, suffix=".json"):
        return typed("train", "popularity")(workshop)


def _declined(workshop: Workshop) -> tuple[str, Outcome]:
    """A second delivery of the data set, to be held against less than is known of it."""
    folder = Path(shutil.copytree(workshop.good, workshop.root / "second" / workshop.good.name))
    np.save(folder / "image_feat.npy", np.load(folder / "image_feat.npy")[::-1])
    workshop.command("ingest", "mmssl", str(folder))
    words = ("validate", "run", "--baseline", "none")
    outcome = workshop.command(*words)
    if (after := workshop.command("ingest", "mmssl", "good")).exit_code != 0:
        raise RuntimeError(f"the next run failed: {after.message}")
    return shlex.join(("backbeat", *words)), outcome


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
    Case("Pushed rows with a naive timestamp and an unknown kind", _pushed),
    Case("An unknown simulator preset", typed("ingest", "simulate", "--preset", "amea")),
    Case("An unknown encoder", typed("features", "encode", "resnet51")),
    Case("Encoding images of a snapshot without media", typed("features", "encode", "handcrafted-image")),
    Case("Materializing an unknown view", typed("features", "materialize", "--view", "user_histori")),
    Case("A cap on memory that no chunk fits", typed("features", "materialize", "--memory", "1MB"), keeps_home=False),
    Case("An instant without a zone", typed("features", "materialize", "--until", "2026-01-01T00:00:00")),
    Case("An unknown job", typed("features", "jobs", "nosuchjob")),
    Case("A table of the snapshot that is damaged", _damaged_table),
    Case("A table whose rows are not those that were ingested", _other_rows),
    Case("A table that was written again since it was judged", _rewritten_since, exit_code=3),
    Case("A snapshot that changes while it is validated", _changed_while_judged),
    Case(
        "A snapshot that fails, and of which nothing can be set aside",
        _beyond_quarantine,
        keeps_home=False,
        exit_code=3,
    ),
    Case("A manifest that somebody has changed", _another_encoder),
    Case("Passing without the comparison that is due", _declined, keeps_home=False, exit_code=3),
    Case("A baseline that there is not", typed("validate", "run", "--baseline", "nosuchsnapshot")),
    Case("Comparing with a snapshot that there is not", typed("validate", "drift", "--against", "nosuchsnapshot")),
    Case("An unknown validation report", typed("validate", "report", "nosuchreport")),
    Case("Accepting an unknown report", typed("validate", "override", "nosuchreport", "--reason", "looked at it all")),
    Case("Accepting a report without a reason", typed("validate", "override", "nosuchreport", "--reason", "fine")),
    Case("An unknown model", typed("train", "lightgnc")),
    Case("An unknown option", typed("train", "mf", "--sed", "3")),
    Case("An unknown model setting", typed("train", "mf", "--set", "learning_rat=0.1")),
    Case("Seeds that are no numbers", typed("experiment", "m3csr-table2", "--seeds", "0,one")),
    Case("The number of epochs twice", typed("train", "mf", "--epochs", "3", "--set", "max_epochs=5")),
    Case("A model setting without a value", typed("train", "mf", "--set", "dimension")),
    Case("An impossible model setting", typed("train", "mf", "--set", "dimension=0")),
    Case("An unknown feature service", typed("train", "mf", "--service", "m3scr_v1")),
    # The first command that looks for a version makes MLflow's database.
    Case("A model whose features the snapshot lacks", typed("train", "dl-bgm"), keeps_home=False),
    Case("A surface of which the snapshot has no events", typed("train", "mf", "--service", "amae_v1")),
    Case("A view of IRIS that the features lack", typed("train", "iris", "--set", "views=textual"), keeps_home=False),
    Case(
        "A training that diverges",
        typed("train", "mf", "--set", "learning_rate=1e30", "--set", "max_epochs=1"),
        keeps_home=False,
        exit_code=5,
    ),
    Case(
        "A model that does not fit into memory",
        typed("train", "mf", "--set", "dimension=99999999999"),
        keeps_home=False,
    ),
    Case("An unknown table", typed("experiment", "m3csr-tabel2")),
    Case("A row that the table does not have", typed("experiment", "m3csr-table2", "--rows", "LightGCM")),
    Case("A seed twice", typed("experiment", "m3csr-table2", "--seeds", "0,1,0")),
    Case("A table on other data", typed("experiment", "m3csr-table2")),
    Case("Results that are damaged", _damaged_results),
    Case("A search range that is impossible", typed("tune", "mf", "--space", "learning_rate=1e-2..1e-4")),
    Case("Searching an option that is fixed", typed("tune", "mf", "--space", "dimension=8,16", "--set", "dimension=8")),
    Case("Tuning a model without options to search", typed("tune", "popularity")),
    *REGISTRY_CASES,
    *SERVING_CASES,
    Case("An unknown command", typed("modles", "list")),
    Case("A home written by a newer version", _newer_home),
    Case("Two commands that would write the same home at once", _two_writers),
    Case("Ctrl-C in the middle of training", _ctrl_c_training, keeps_home=False, exit_code=130),
    Case("Ctrl-C in the middle of materialization", _ctrl_c_materialization, keeps_home=False, exit_code=130),
    Case("A full disk while packaging", _full_disk, keeps_home=False),
)
