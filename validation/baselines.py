"""What a snapshot is compared with: the accepted ones before it, and what was kept of them."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.database import Database
from contracts.errors import BadInput, NotFound, unknown_name
from contracts.home import Home
from contracts.reports import PastReport, find_report, past_reports
from contracts.snapshot import Snapshot
from contracts.tables import EMBEDDING_PREFIX, TABLES
from feature_repo.offline import manifest_of, read_snapshot

if TYPE_CHECKING:
    from validation.material import Baseline

__all__ = [
    "MANIFEST",
    "NO_BASELINE",
    "PROFILES",
    "Reference",
    "choose_reference",
    "declined_baseline",
    "load_baseline",
    "profile_directory",
    "prune_profiles",
]

NO_BASELINE = "none"
"""What ``--baseline`` takes for absolute rules only."""
MANIFEST = "snapshot.json"
"""The judged snapshot's manifest in its report's directory: its tables may be removed later."""
PROFILES = "profiles"

_HISTORY = 20
_PROFILES_KEPT = 3


@dataclass(frozen=True)
class Reference:
    """The accepted report that a snapshot is compared with, before anything large is read."""

    report: PastReport
    snapshot: Snapshot
    """What it judged."""
    before: tuple[PastReport, ...]
    """At most 20 accepted reports to learn from, oldest first; the last is ``report``."""
    notes: tuple[str, ...] = ()
    """What could not be learned from, and why."""


def choose_reference(home: Home, database: Database, snapshot: Snapshot, asked: str | None = None) -> Reference | None:
    """The newest accepted report of a snapshot's data set, but for those on the snapshot itself.

    A snapshot counts by its newest report. Simulated data are compared only with those of equal settings: another seed
    is another world. Reports by a version that kept no statistics do not count.

    Args:
        home: Where the reports' directories are.
        database: The platform's tables.
        snapshot: What is to be judged.
        asked: Id of the snapshot to compare with, ``none`` for no comparison, or None for the newest.

    Returns:
        The reference; None where there is none, or none is wanted.

    Raises:
        NotFound: The snapshot that was asked for has no accepted report of this data set, or what is to be compared
            with has lost its manifest.
        BadInput: It is the snapshot itself, or its manifest is damaged.
    """
    if asked == NO_BASELINE:
        return None
    if asked == snapshot.id:
        raise BadInput(
            f"baseline {asked}",
            found="the snapshot that is judged",
            expected="another one of its data set",
            next_step="leave --baseline out, or run `backbeat validate list`",
        )
    accepted = _comparable(home, database, snapshot) if asked is None else _accepted(database, snapshot)
    if asked is not None:
        if asked not in {line.snapshot for line in accepted}:
            raise unknown_name(
                "accepted snapshot",
                asked,
                {line.snapshot for line in accepted},
                next_step="run `backbeat validate list`, or use `--baseline none` for absolute rules only",
            )
        while accepted[0].snapshot != asked:
            del accepted[0]
    if not accepted:
        return None
    newest = accepted[0]
    chosen = _manifest(home, newest)
    if chosen is None:
        raise _manifest_lost(home, newest)
    manifests = {line: _manifest(home, line) for line in accepted[:_HISTORY]}
    before = [line for line, manifest in manifests.items() if manifest is not None and manifest.world == chosen.world]
    notes = (
        f"nothing was learned from accepted snapshot {line.snapshot}: report {line.id} has lost its manifest"
        for line, manifest in manifests.items()
        if manifest is None
    )
    return Reference(newest, chosen, tuple(reversed(before)), tuple(notes))


def declined_baseline(home: Home, database: Database, snapshot: Snapshot, reference: Reference | None) -> str | None:
    """Id of the snapshot that a snapshot would be compared with by default, where the reference is not that one."""
    comparable = _comparable(home, database, snapshot)
    if not comparable or (reference is not None and reference.report.snapshot == comparable[0].snapshot):
        return None
    return comparable[0].snapshot


def load_baseline(home: Home, database: Database, reference: Reference) -> "Baseline":
    """Read what was kept of a reference.

    Raises:
        NotFound: Files that the database names are gone.
        BadInput: They are damaged.
    """
    from validation.material import Baseline
    from validation.statistics.profile import Profile

    reports = [find_report(database, line.id) for line in reference.before]
    statistics = {report.snapshot: report.statistics for report in reports}
    specs = {
        EMBEDDING_PREFIX + name: spec.digest
        for name, spec in reference.snapshot.embeddings.items()
        if EMBEDDING_PREFIX + name in reports[-1].statistics
    }
    directories = {digest: profile_directory(home, reference.report.id, digest) for digest in specs.values()}
    gone = [directory for directory in directories.values() if not directory.is_dir()]
    if gone:
        raise _thinned(home, database, reference) or _files_gone(reference.report, gone)
    profiles = {}
    for digest, directory in directories.items():
        try:
            profiles[digest] = Profile.load(directory)
        except NotFound:
            raise _files_gone(reference.report, [directory]) from None
        except BadInput as error:
            raise _damaged(reference.report, directory, error.found) from None
    return Baseline(reference.snapshot, profiles, _history(home, reference, statistics))


def profile_directory(home: Home, report_id: str, digest: str) -> Path:
    """Where a report keeps the profile of the vectors of a spec, whether or not it does."""
    return home.quality / report_id / PROFILES / digest


def prune_profiles(home: Home, database: Database, dataset: str) -> None:
    """Remove the profiles that nothing will be compared with any more.

    Kept are those of the newest reports on the newest three accepted snapshots of the data set (of each simulated
    world), and of the newest rejected one.
    """
    kept: dict[str, int] = {}
    seen: set[str] = set()
    rejected = False
    for line in past_reports(database, dataset=dataset):
        directory = home.quality / line.id / PROFILES
        newest = line.snapshot not in seen
        seen.add(line.snapshot)
        if not directory.is_dir():
            continue
        manifest = _manifest(home, line)
        world = "" if manifest is None else manifest.world
        if newest and line.accepted and kept.get(world, 0) < _PROFILES_KEPT:
            kept[world] = kept.get(world, 0) + 1
        elif newest and not line.accepted and not rejected:
            rejected = True
        else:
            shutil.rmtree(directory)


def _accepted(database: Database, snapshot: Snapshot) -> list[PastReport]:
    """The newest report of each other snapshot of the data set, where that is accepted; newest first."""
    newest: dict[str, PastReport] = {}
    for line in past_reports(database, dataset=snapshot.dataset):
        newest.setdefault(line.snapshot, line)
    return [line for line in newest.values() if line.accepted and line.snapshot != snapshot.id]


def _comparable(home: Home, database: Database, snapshot: Snapshot) -> list[PastReport]:
    """Those of them whose data are of the same world, newest first."""
    return [line for line in _accepted(database, snapshot) if _same_world(_manifest(home, line), snapshot)]


def _manifest(home: Home, line: PastReport) -> Snapshot | None:
    """What a report judged, from beside the report, else from beside the tables; None where neither is whole."""
    try:
        return _kept_manifest(home, line)
    except (OSError, ValueError):
        pass
    try:
        return read_snapshot(home, line.snapshot)
    except BadInput:
        return None


def _kept_manifest(home: Home, line: PastReport) -> Snapshot:
    manifest = manifest_of((home.quality / line.id / MANIFEST).read_bytes())
    if manifest.id != line.snapshot:
        raise ValueError(f"it is of snapshot {manifest.id}")
    return manifest


def _manifest_lost(home: Home, line: PastReport) -> NotFound | BadInput:
    path = home.quality / line.id / MANIFEST
    try:
        _kept_manifest(home, line)
    except ValueError as error:
        return _damaged(line, path, str(error).partition("\n")[0])
    except OSError:
        pass
    return _files_gone(line, [path])


def _same_world(manifest: Snapshot | None, snapshot: Snapshot) -> bool:
    # What cannot be told any more is no reason to go on without a baseline: the caller says that its files are gone.
    return manifest is None or manifest.world == snapshot.world


def _history(
    home: Home, reference: Reference, statistics: Mapping[str, Mapping[str, Mapping[str, float]]]
) -> dict[str, Sequence[Mapping[str, float]]]:
    """What is learned from, of all that the reference has, oldest first.

    Agreement with another modality is kept only where that modality's encoder is the reference's.
    """
    from validation.material import MARGIN, history_key

    keys = (history_key(reference.snapshot, table) for table in statistics[reference.report.snapshot])
    history: dict[str | None, list[Mapping[str, float]]] = {key: [] for key in keys}
    for line in reference.before:
        manifest = _manifest(home, line)
        specs = {} if manifest is None else manifest.embeddings
        others = {MARGIN + name for name, spec in specs.items() if reference.snapshot.embeddings.get(name) != spec}
        for table, of_table in statistics[line.snapshot].items():
            # Of a lost manifest nobody can say whose encoders' vectors they were.
            key = table if table in TABLES else None if manifest is None else history_key(manifest, table)
            if key is not None and key in history:
                history[key].append({name: value for name, value in of_table.items() if name not in others})
    return {key: pasts for key, pasts in history.items() if key is not None}


def _thinned(home: Home, database: Database, reference: Reference) -> NotFound | None:
    """Where the profiles are gone because so many snapshots were accepted since."""
    others = _comparable(home, database, reference.snapshot)
    newer = [line for line in others if line.created_at > reference.report.created_at][:_PROFILES_KEPT]
    if len(newer) < _PROFILES_KEPT:
        return None
    return NotFound(
        f"baseline snapshot {reference.snapshot.id} (report {reference.report.id})",
        found="no profiles of it any more: they are kept of the three newest accepted snapshots",
        expected=f"one of {', '.join(line.snapshot for line in newer)}",
        next_step=f"name one of them with `--baseline SNAPSHOT`; or {_again(reference.report)}",
    )


def _files_gone(line: PastReport, files: Sequence[Path]) -> NotFound:
    return NotFound(
        f"baseline snapshot {line.snapshot} (report {line.id})",
        found=f"no whole {', '.join(map(str, files))}",
        expected="what was kept of it when it was judged",
        next_step=_ways(line),
    )


def _damaged(line: PastReport, path: Path, said: str) -> BadInput:
    return BadInput(
        f"baseline snapshot {line.snapshot} (report {line.id})",
        found=f"a damaged {path} ({said})",
        expected="what was kept of it when it was judged",
        next_step=_ways(line),
    )


def _ways(line: PastReport) -> str:
    return (
        "restore them from a backup; or compare with another snapshot of `backbeat validate list` with `--baseline "
        f"SNAPSHOT`; or {_again(line)}; or have absolute rules only with `--baseline none`"
    )


def _again(line: PastReport) -> str:
    return (
        f"make {line.snapshot} current again by ingesting it, run `backbeat validate run --force` on it and come back"
    )
