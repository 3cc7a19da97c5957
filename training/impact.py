"""Price a snapshot in ranking terms: ``python -m training.impact PACKAGE SNAPSHOT BASELINE``.

Asks what the lists of a package's users would be if the vectors and events of SNAPSHOT were used in place of those of
BASELINE, the last good one; the trained weights stay. Neither snapshot needs applied features, and nothing is written.
The home and the device are those of the environment's settings. One JSON document goes to standard output, see
:func:`impact`. Exit code 0; otherwise the fault's own code, with its paragraph on standard error.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from contracts.bootstrap import mean_interval
from contracts.embeddings import EmbeddingSpec, require_same_spec
from contracts.errors import BadInput, Conflict, NotFound, TrainingDiverged
from contracts.process import answer_as_module
from contracts.vocabulary import UNKNOWN, Vocabulary
from training.content import ItemVectors
from training.evaluation import CUTOFF
from training.lists import NOTHING, churn, gains, lists_of

if TYPE_CHECKING:
    from contracts.home import Home
    from contracts.settings import Settings
    from contracts.snapshot import Snapshot
    from feature_repo.frame import TrainingFrame
    from training.packages import LoadedPackage

__all__ = ["impact", "main"]

Rows = npt.NDArray[np.int64]

_SHORT = 10
_USERS, _FEW_USERS = 5_000, 500
_SCORES = 4_000_000_000
"""Most scores, as a rule, that one side of the comparison is made from."""
_HELD_OUT = 4
"""Users whose held-out items are looked at, for each whose list is compared."""

_BASELINE, _SNAPSHOT = "the baseline", "this snapshot"


def impact(package: "LoadedPackage", before: "TrainingFrame", after: "TrainingFrame") -> dict[str, Any]:
    """What would change for a package's users.

    Args:
        package: The model that is served.
        before: The last good data.
        after: The data in question, with the row numbers of the same vocabularies and cut at the same instants. What
            it lacks is treated as the model treats what is missing.

    Returns:
        - ``model``, and ``reads_content``: false where the embeddings do not enter and only events count;
        - ``notes``: sentences on what could not be taken as it is;
        - ``users``: how many users' lists were compared, those with a history, or a sample of them;
        - ``churn``: ``"10"`` and ``"20"`` → mean share of the places of a list whose item leaves it;
        - ``first_changed``: share of the users whose first item is another;
        - ``coverage``: share of the package's items that stand in any list: ``before``, ``after``, ``change``;
        - ``items``: how many are ``entering`` and ``leaving`` the lists as a whole; how many of the snapshot's are
          ``new`` to the package and, where their content alone would bring them into lists, how many would be listed
          (``new_listed``) at which share of all places (``new_share``); null where that cannot be said;
        - ``held_out_users``, and ``metrics``: ``recall_at_20`` and ``ndcg_at_20`` on the baseline's validation pairs:
          ``before``, ``after``, ``change``, and ``low`` and ``high``, the 95 % interval of the change by a paired
          bootstrap over the users; empty where nothing is held out.

    Raises:
        NotFound: No user of the baseline has a history.
        BadInput: A score is NaN or infinite.
    """
    model = package.recommender
    compared, judged = _chosen_users(before)
    users = np.union1d(compared, judged)
    notes: list[str] = []
    new = _new_items(package, after)
    listed: Rows | None = None
    if model.reads_content:
        specs = package.manifest.embedding_specs
        old_content = _content(specs, package.items, before, _BASELINE, notes)
        content = _content(specs, package.items, after, _SNAPSHOT, notes)
        notes += _losses(old_content, content)
        old_lists = _lists(_reading(package, package.items, old_content), before, users, _BASELINE)
        lists = _lists(_reading(package, package.items, content), after, users, _SNAPSHOT)
        if new:
            items = Vocabulary([*package.items.ids(range(len(package.items))), *new])
            wider = _reading(package, items, _content(specs, items, after, _SNAPSHOT, []))
            listed = _lists(wider, after, compared, _SNAPSHOT)
    else:
        old_lists = _lists(package, before, users, _BASELINE)
        lists = _lists(package, after, users, _SNAPSHOT)
    of_compared = np.searchsorted(users, compared)
    of_judged = np.searchsorted(users, judged)
    return {
        "model": package.manifest.model,
        "reads_content": model.reads_content,
        "notes": notes,
        "users": len(compared),
        **_differences(old_lists[of_compared], lists[of_compared], len(package.items)),
        "items": {
            "entering": len(np.setdiff1d(lists[of_compared], old_lists[of_compared])),
            "leaving": len(np.setdiff1d(old_lists[of_compared], lists[of_compared])),
            "new": len(new),
            **_standing(listed, after.items.rows(new)),
        },
        "held_out_users": len(judged),
        "metrics": _metrics(old_lists[of_judged], lists[of_judged], judged, before.validation),
    }


def _chosen_users(frame: "TrainingFrame") -> tuple[Rows, Rows]:
    """Users with a history, and users with a held-out item: all, or the same sample each time."""
    most = int(np.clip(_SCORES // (len(frame.items) * (1 + _HELD_OUT)), _FEW_USERS, _USERS))
    with_history = np.flatnonzero((frame.history != UNKNOWN).any(axis=1))
    if len(with_history) == 0:
        raise NotFound(
            f"histories of snapshot {frame.snapshot.id}",
            found="no user with an event before the end of training",
            expected="users whose lists can be compared",
            next_step="ingest data that reach back before the split instants",
        )
    return _sample(with_history, most), _sample(np.unique(frame.validation[:, 0]), _HELD_OUT * most)


def _sample(users: Rows, most: int) -> Rows:
    if len(users) <= most:
        return users
    return np.sort(np.random.default_rng(0).choice(users, most, replace=False))


def _new_items(package: "LoadedPackage", frame: "TrainingFrame") -> list[str]:
    """Items that the package does not know; of a frame with content, those that have a vector."""
    ids = frame.items.ids(range(len(frame.items)))
    unknown = package.items.rows(ids) == UNKNOWN
    if frame.missing:
        unknown &= ~np.all([*frame.missing.values()], axis=0)
    return frame.items.ids(np.flatnonzero(unknown))


def _content(
    specs: Mapping[str, EmbeddingSpec], items: Vocabulary, frame: "TrainingFrame", whose: str, notes: list[str]
) -> ItemVectors:
    """Vectors of some items as a model of these specs can take them; the notes get what cannot be taken."""
    rows = frame.items.rows(items.ids(range(len(items))))
    modalities, missing = {}, {}
    for modality, spec in sorted(specs.items()):
        taken = np.zeros((len(items), spec.width), np.float32)
        absent = np.ones(len(items), np.bool_)
        notes += _strangeness(modality, spec, frame, whose)
        if modality in frame.modalities and frame.modalities[modality].shape[1] == spec.width:
            known = np.flatnonzero(rows != UNKNOWN)
            known = known[~frame.missing[modality][rows[known]]]
            vectors = frame.modalities[modality][rows[known]]
            finite = np.isfinite(vectors).all(axis=1)
            taken[known[finite]], absent[known[finite]] = vectors[finite], False
            if broken := int((~finite).sum()):
                notes.append(f"{_items(broken)} no finite {modality} vector in {whose}: treated as missing")
        modalities[modality], missing[modality] = taken, absent
    return ItemVectors(modalities, missing)


def _strangeness(modality: str, spec: EmbeddingSpec, frame: "TrainingFrame", whose: str) -> Iterator[str]:
    if modality not in frame.specs:
        yield f"{whose} has no {modality} vectors: treated as missing"
        return
    try:
        require_same_spec(whose, frame.specs[modality], spec)
    except BadInput as error:
        other = frame.specs[modality].width != spec.width
        yield (
            f"the {modality} vectors of {whose} have {error.found}, the model was trained on {error.expected}: "
            + ("treated as missing" if other else "taken as if they were the same")
        )


def _losses(before: ItemVectors, after: ItemVectors) -> Iterator[str]:
    for modality, missing in after.missing.items():
        if lost := int((missing & ~before.missing[modality]).sum()):
            yield f"{_items(lost)} no usable {modality} vector any more"
        zero = ~missing & ~after.modalities[modality].any(axis=1)
        if zeros := int(zero.sum()):
            yield f"{_items(zeros)} a zero {modality} vector in {_SNAPSHOT}"


def _items(count: int) -> str:
    return f"{count:,} items have" if count > 1 else "1 item has"


def _reading(package: "LoadedPackage", items: Vocabulary, content: ItemVectors) -> "LoadedPackage":
    """The package with other content; of items behind its own nobody has viewed one yet."""
    from training.packages import item_vectors_of

    model = package.recommender.with_content(content)
    views = np.zeros(len(items), package.popularity.dtype)
    views[: len(package.popularity)] = package.popularity
    return replace(package, recommender=model, items=items, item_vectors=item_vectors_of(model), popularity=views)


def _lists(package: "LoadedPackage", frame: "TrainingFrame", users: Rows, whose: str) -> Rows:
    try:
        return lists_of(package, frame, users)
    except TrainingDiverged as error:
        raise BadInput(
            f"scores of the {package.manifest.model} champion with the vectors of {whose}",
            found=error.found,
            expected="finite numbers; no list could be made",
            next_step="do not use the snapshot: mend the embeddings that the report names",
        ) from None


def _differences(before: Rows, after: Rows, items: int) -> dict[str, Any]:
    old, new = (len(np.setdiff1d(lists, NOTHING)) / items for lists in (before, after))
    return {
        "churn": {str(k): float(churn(before, after, k).mean()) for k in (_SHORT, CUTOFF)},
        "first_changed": float((before[:, 0] != after[:, 0]).mean()),
        "coverage": {"before": old, "after": new, "change": new - old},
    }


def _standing(lists: Rows | None, new: Rows) -> dict[str, int | float | None]:
    if lists is None:
        return {"new_listed": None, "new_share": None}
    among = np.isin(lists, new)
    places = int((lists != NOTHING).sum())
    return {"new_listed": len(np.unique(lists[among])), "new_share": float(among.sum() / places) if places else None}


def _metrics(before: Rows, after: Rows, users: Rows, pairs: Rows) -> dict[str, dict[str, float]]:
    if len(users) == 0:
        return {}
    old, new = gains(before, users, pairs), gains(after, users, pairs)
    found = {}
    for name, values in old.items():
        change = new[name] - values
        _, low, high = mean_interval(change, np.random.default_rng(0))
        found[name] = {
            "before": float(values.mean()),
            "after": float(new[name].mean()),
            "change": float(change.mean()),
            "low": low,
            "high": high,
        }
    return found


def _embeddings(specs: Mapping[str, EmbeddingSpec], snapshot: "Snapshot") -> dict[str, str]:
    """Modality → name of the snapshot's embeddings: those of the very spec if it has them, else those in use."""
    chosen = {}
    for modality, spec in specs.items():
        same = [name for name, each in snapshot.embeddings.items() if each == spec]
        in_use = [modality] if modality in snapshot.video_modalities else []
        if names := [*same, *in_use]:
            chosen[modality] = names[0]
    return chosen


def _require_own_data(home: "Home", package: "LoadedPackage", snapshot: "Snapshot") -> None:
    """Ids of another data set would look like strangers, or worse, like the same ones."""
    from feature_repo.offline import read_snapshot

    try:
        trained_on = read_snapshot(home, package.manifest.snapshot).dataset
    except NotFound:  # removed since
        return
    if trained_on != snapshot.dataset:
        raise Conflict(
            f"impact of snapshot {snapshot.id}",
            found=f"data set {snapshot.dataset!r}",
            expected=f"data set {trained_on!r}, which the champion was trained on",
            next_step="train and promote a model on this data set first",
        )


def _priced(settings: "Settings", home: "Home", arguments: Sequence[str]) -> dict[str, Any]:
    from feature_repo.encoders.device import prepare_torch
    from feature_repo.frame import common_vocabularies, frame_of_tables
    from feature_repo.offline import read_snapshot
    from training.packages import load_package

    directory, *ids = arguments
    package = load_package(Path(directory), prepare_torch(settings))
    snapshot, baseline = (read_snapshot(home, each) for each in ids)
    _require_own_data(home, package, snapshot)
    users, items = common_vocabularies(home, baseline, snapshot)
    specs, service = package.manifest.embedding_specs, package.manifest.feature_service
    before, after = (
        frame_of_tables(home, each, service, _embeddings(specs, each), users=users, items=items, split=baseline.split)
        for each in (baseline, snapshot)
    )
    return {"snapshot": snapshot.id, "baseline": baseline.id, **impact(package, before, after)}


def main(arguments: Sequence[str]) -> int:
    """Price a snapshot of the home for the package in a directory; returns the exit code."""
    return answer_as_module("python -m training.impact PACKAGE SNAPSHOT BASELINE", arguments, _priced)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
