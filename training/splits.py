"""Other ways to hold out events than the snapshot's global instants.

Each takes a training frame and the pairs of all its parts, and returns a frame whose training and validation pairs,
histories and popularity come from the new training part alone, and the test part beside it. What items and requests
contain (modalities, contexts, texts) and the networks stay: they are no labels.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from contracts.errors import BadInput
from training.batches import PADDING
from training.protocols import HeldOut

if TYPE_CHECKING:
    from feature_repo.frame import TrainingFrame

__all__ = ["by_record", "global_instants", "hold_out_share", "item_cold_start", "leave_one_out"]

Rows = npt.NDArray[np.int64]
Marks = npt.NDArray[np.bool_]


def global_instants(frame: "TrainingFrame", test: Rows, context: Rows | None = None) -> tuple["TrainingFrame", HeldOut]:
    """The split that the frame has: two instants cut all users at once.

    Args:
        frame: As loaded.
        test: Its test pairs, ``[k, 2]``.
        context: Row in ``frame.contexts`` of each, ``[k]``; None where requests bring nothing.
    """
    return frame, HeldOut(test, context, split=frame.snapshot.split.describe())


def leave_one_out(
    frame: "TrainingFrame", pairs: Rows, generator: np.random.Generator
) -> tuple["TrainingFrame", HeldOut]:
    """One random interaction of each user held out for test and one for validation.

    A user with two interactions has none in validation, a user with one has it in training.

    Args:
        frame: Gives all but the pairs.
        pairs: Distinct (user row, item row) of all parts, in order of arrival, ``[n, 2]``.
        generator: Chooses.

    Raises:
        BadInput: A pair stands twice, or nothing is left for a part.
    """
    place, count = _shuffled_within_users(pairs, len(frame.users), generator)
    test = (place == 0) & (count >= 2)
    validation = (place == 1) & (count >= 3)
    split = "one random interaction per user held out, another for validation"
    return _parted(frame, pairs, None, validation, test, split)


def hold_out_share(
    frame: "TrainingFrame",
    pairs: Rows,
    generator: np.random.Generator,
    *,
    train: float = 0.7,
    validation: float = 0.1,
) -> tuple["TrainingFrame", HeldOut]:
    """A share of each user's interactions trains, the rest is test; to the nearest whole interaction.

    Args:
        frame: Gives all but the pairs.
        pairs: As for :func:`leave_one_out`.
        generator: Chooses.
        train: Share of a user's interactions that train or validate.
        validation: Share of a user's interactions that validate; out of those of ``train``.

    Raises:
        BadInput: A share is impossible, a pair stands twice, or nothing is left for a part.
    """
    _require_shares(train, validation)
    place, count = _shuffled_within_users(pairs, len(frame.users), generator)
    tests, validations = (np.floor(share * count + 0.5) for share in (1 - train, validation))
    split = f"{train:g} of each user's interactions, {validation:g} of them for validation"
    return _parted(frame, pairs, None, (place >= tests) & (place < tests + validations), place < tests, split)


def by_record(
    frame: "TrainingFrame",
    pairs: Rows,
    generator: np.random.Generator,
    *,
    context: Rows | None = None,
    train: float = 0.8,
    validation: float = 0.1,
) -> tuple["TrainingFrame", HeldOut]:
    """A share of all records trains, whoever they are of; the rest is test.

    Args:
        frame: Gives all but the pairs.
        pairs: Records of all parts, in order of arrival, ``[n, 2]``; distinct where they bring no context. With
            contexts a pair may come again, in another part too.
        generator: Chooses.
        context: Row in ``frame.contexts`` of each record, ``[n]``.
        train: Share of the records that train or validate.
        validation: Share of the records that validate; out of those of ``train``.

    Raises:
        BadInput: A share is impossible, a pair without context stands twice, or nothing is left for a part.
    """
    _require_shares(train, validation)
    place = generator.permutation(len(pairs))
    tests = round((1 - train) * len(pairs))
    validations = round(validation * len(pairs))
    split = f"{train:g} of the records, {validation:g} of them for validation"
    if context is not None:
        split += ", each with its own list"
    return _parted(frame, pairs, context, (place >= tests) & (place < tests + validations), place < tests, split)


def item_cold_start(
    frame: "TrainingFrame", pairs: Rows, *, validation: Rows, test: Rows
) -> tuple["TrainingFrame", HeldOut]:
    """Items that nobody has seen in training: all their interactions are held out, and ranked among themselves.

    Args:
        frame: Gives all but the pairs.
        pairs: As for :func:`leave_one_out`.
        validation: Item rows of the new items for validation.
        test: Item rows of the new items for test; they are the candidates.

    Raises:
        BadInput: An item is in both sets, a pair stands twice, or nothing is left for a part.
    """
    both = np.intersect1d(validation, test)
    if len(both):
        raise BadInput(
            "items of the cold start",
            found=f"item row {both[0]} for validation and for test",
            expected="two sets without a common item",
            next_step="leave it out of one of them",
        )
    split = (
        f"all interactions with {len(test):,} new items, which are the candidates; {len(validation):,} for validation"
    )
    frame, held = _parted(frame, pairs, None, np.isin(pairs[:, 1], validation), np.isin(pairs[:, 1], test), split)
    return frame, replace(held, candidates=np.unique(test))


def _parted(
    frame: "TrainingFrame", pairs: Rows, context: Rows | None, validation: Marks, test: Marks, split: str
) -> tuple["TrainingFrame", HeldOut]:
    """The frame of what is neither validation nor test, and the test events."""
    if context is None:
        _require_distinct(frame, pairs)
    train = ~(validation | test)
    for name, part in (("training", train), ("validation", validation), ("test", test)):
        if not part.any():
            raise BadInput(
                f"split of {len(pairs):,} interactions: {split}",
                found=f"none left for {name}",
                expected="at least one in each part",
                next_step="take data with more interactions, or other shares",
            )
    parts = replace(
        frame,
        train=pairs[train],
        validation=pairs[validation],
        train_context=None if context is None else context[train],
        validation_context=None if context is None else context[validation],
        history=_histories(pairs[train], frame.history.shape),
        popularity=np.bincount(pairs[train, 1], minlength=len(frame.items)),
    )
    return parts, HeldOut(pairs[test], None if context is None else context[test], split=split)


def _histories(train: Rows, shape: tuple[int, ...]) -> Rows:
    """The last items of each user, oldest first, padded on the right, ``[U, n]``."""
    users, width = shape
    by_user = train[np.argsort(train[:, 0], kind="stable")]
    counts = np.bincount(train[:, 0], minlength=users)
    place = np.arange(len(by_user)) - np.repeat(np.cumsum(counts) - counts, counts)
    column = place - np.repeat(np.maximum(counts - width, 0), counts)
    kept = column >= 0
    history = np.full(shape, PADDING, np.int64)
    history[by_user[kept, 0], column[kept]] = by_user[kept, 1]
    return history


def _shuffled_within_users(pairs: Rows, users: int, generator: np.random.Generator) -> tuple[Rows, Rows]:
    """Place of each pair in a random order of its user's, from 0, and how many the user has, ``[n]`` each."""
    shuffled = generator.permutation(len(pairs))
    order = shuffled[np.argsort(pairs[shuffled, 0], kind="stable")]
    counts = np.bincount(pairs[:, 0], minlength=users)
    place = np.empty(len(pairs), np.int64)
    place[order] = np.arange(len(pairs)) - np.repeat(np.cumsum(counts) - counts, counts)
    return place, counts[pairs[:, 0]]


def _require_shares(train: float, validation: float) -> None:
    if not 0 < validation < train < 1:
        raise BadInput(
            "shares of a split",
            found=f"train {train:g}, validation {validation:g}",
            expected="0 < validation < train < 1; validation is taken out of train",
            next_step="correct the shares",
        )


def _require_distinct(frame: "TrainingFrame", pairs: Rows) -> None:
    keys = np.sort(pairs[:, 0] * len(frame.items) + pairs[:, 1])
    twice = keys[1:][keys[1:] == keys[:-1]]
    if len(twice):
        user, item = divmod(int(twice[0]), len(frame.items))
        raise BadInput(
            "interactions to split",
            found=f"user row {user} and item row {item} more than once",
            expected="distinct pairs: the same one could be trained on and held out",
            next_step="keep the first event of each pair",
        )
