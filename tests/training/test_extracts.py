"""Extracts of the events: which data are looked at, and what is new to them."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from contracts.errors import BadInput
from feature_repo.frame import TrainingFrame
from feature_repo.frames.events import Events
from feature_repo.raw_tables import microseconds
from training.extracts import Dense, OtherItems, OtherUsers, WithWords
from training.feed import Feed
from training.models.mf import MatrixFactorisation, MfConfig
from training.recommender import Catalogue
from training.splits import ByRecord, GlobalInstants, HoldOutShare

Rows = npt.NDArray[np.int64]

HALF = HoldOutShare(train=0.5, validation=0.25)


def events_of(pairs: list[tuple[int, int]]) -> Events:
    """One arrives each microsecond; the context of each is its place."""
    arrivals = np.arange(len(pairs))
    return Events(np.array(pairs), arrivals, arrivals, arrivals)


GRID = [(user, item) for item in range(4) for user in range(4)]
"""Four users and four items, all with all."""


def as_list(pairs: Rows) -> list[list[int]]:
    return sorted(pairs.tolist())


def test_what_has_too_few_takes_others_with_it(frame: TrainingFrame) -> None:
    # User 5 has three events, of which one is with item 9, which nobody else has: without it two are left.
    events = events_of([*GRID, (5, 9), (5, 0), (5, 1)])
    parted, held = Dense(HALF, least=3).parts(frame, events)
    assert as_list(np.concatenate([parted.train, parted.validation, held.pairs])) == sorted(map(list, GRID))
    everything = Dense(HALF, least=1).parts(frame, events)
    assert sum(len(part) for part in (everything[0].train, everything[0].validation, everything[1].pairs)) == 19


def test_histories_counts_and_candidates_are_the_extracts(frame: TrainingFrame) -> None:
    parted, held = Dense(HALF, least=3).parts(frame, events_of([(5, 9), *GRID]))
    assert parted.validation_candidates is not None
    assert held.candidates is not None
    assert parted.validation_candidates.tolist() == held.candidates.tolist() == [0, 1, 2, 3]
    assert parted.popularity.sum() == len(parted.train)
    assert parted.popularity[9] == 0
    assert (parted.history[5] == -1).all()
    assert parted.train_context is not None
    assert held.context is not None
    assert as_list(held.pairs) == as_list(events_of([(5, 9), *GRID]).pairs[held.context])
    assert [len(parted.train), len(parted.validation), len(held.pairs)] == [4, 4, 8]


def test_what_is_not_in_the_extract_is_no_negative(frame: TrainingFrame) -> None:
    parted, _ = Dense(HALF, least=3).parts(frame, events_of([(5, 9), *GRID]))
    assert parted.negative_candidates is not None
    assert parted.negative_candidates.tolist() == [0, 1, 2, 3]
    model = MatrixFactorisation(MfConfig(dimension=2, batch_size=2, negatives=8), Catalogue.of(parted))
    drawn = [samples.negatives for _ in range(9) for samples in Feed(model, parted).samples(torch.Generator())]
    assert set(torch.cat(drawn).flatten().tolist()) == {0, 1, 2, 3}


def test_instants_cut_an_extract_too(frame: TrainingFrame) -> None:
    split = frame.snapshot.split
    first, last = microseconds(split.train_until), microseconds(split.validation_until)
    events = events_of([*GRID, (7, 7)])
    arrivals = np.r_[np.zeros(8, np.int64), [first] * 4, [last] * 5]
    parted, held = Dense(GlobalInstants(), least=4).parts(frame, replace(events, arrivals=arrivals))
    assert [len(parted.train), len(parted.validation), len(held.pairs)] == [8, 4, 4]


def test_as_many_users_are_drawn_as_a_higher_number_keeps(frame: TrainingFrame) -> None:
    # Users 0 to 3 have eight events each, users 10 to 29 two.
    events = events_of([*GRID, *GRID, *((user, item) for user in range(10, 30) for item in (0, 1))])
    drawn = []
    for seed in (0, 0, 1):
        parted, held = Dense(ByRecord(seed=5), least=2, users_of=8, seed=seed).parts(frame, events)
        drawn.append(set(np.concatenate([parted.train, parted.validation, held.pairs])[:, 0].tolist()))
    assert [len(users) for users in drawn] == [4, 4, 4]
    assert drawn[0] == drawn[1] != drawn[2]
    assert Dense(ByRecord(seed=5), users_of=8, seed=3).seeds == (5, 3)
    assert Dense(ByRecord(seed=5)).seeds == (5,)
    fewer = Dense(HALF, least=8, users_of=2).kept(frame, events)
    assert fewer.tolist() == [True] * 32 + [False] * 40, "there are not more users than that"


def test_new_users_are_tested_by_their_first_event(frame: TrainingFrame) -> None:
    # User 6 begins with an item that the extract lacks, user 7 with one that it has.
    events = events_of([(6, 9), (7, 3), *GRID, (6, 1), (7, 2)])
    parted, held = OtherUsers(HALF, least=4).parts(frame, events)
    assert held.pairs.tolist() == [[7, 3]]
    assert held.context is not None
    assert held.context.tolist() == [1]
    assert held.candidates is not None
    assert held.candidates.tolist() == [0, 1, 2, 3]
    of_the_extract = Dense(HALF, least=4).parts(frame, events)[0]
    assert np.array_equal(parted.train, of_the_extract.train)
    assert np.array_equal(parted.validation, of_the_extract.validation)


def test_new_items_are_tested_beside_the_others(frame: TrainingFrame) -> None:
    # User 7 is not of the extract: what it does with item 9 is no test.
    events = events_of([*GRID, (0, 9), (2, 8), (7, 9), (7, 10)])
    _, usual = Dense(HALF, least=4).parts(frame, events)
    parted, held = OtherItems(HALF, least=4).parts(frame, events)
    assert as_list(held.pairs) == sorted([*usual.pairs.tolist(), [0, 9], [2, 8]])
    assert held.context is not None
    assert np.array_equal(events.pairs[held.context], held.pairs)
    assert held.candidates is not None
    assert held.candidates.tolist() == [0, 1, 2, 3, 8, 9]
    assert parted.validation_candidates is not None
    assert parted.validation_candidates.tolist() == [0, 1, 2, 3]
    _, bare = OtherItems(HALF, least=4).parts(frame, replace(events, context=None))
    assert bare.context is None
    assert as_list(bare.pairs) == as_list(held.pairs)


@pytest.mark.parametrize(("cut", "kind"), [(OtherUsers(HALF, least=4), "users"), (OtherItems(HALF, least=4), "items")])
def test_nothing_new_is_refused(frame: TrainingFrame, cut: OtherUsers | OtherItems, kind: str) -> None:
    with pytest.raises(BadInput, match=f"new {kind} among 16 events: found no test event of {kind} outside"):
        cut.parts(frame, events_of(GRID))


def test_words_are_whole_and_of_any_case(frame: TrainingFrame) -> None:
    titles = ("Sunny: Street Food", "a foodie", None, "coffee at home", "ice  cream", "Ice cream!")
    told = replace(frame, context_texts=titles)
    events = replace(events_of([(user, 0) for user in range(6)]), context=np.array([5, 4, 3, 2, 1, 0]))
    kept = WithWords(ByRecord(), ("food", "ice cream", "coffee")).kept(told, events)
    assert kept.tolist() == [True, False, True, False, False, True]


def test_words_cannot_be_looked_for_where_there_are_none(frame: TrainingFrame) -> None:
    with pytest.raises(BadInput, match="found no titles of videos that requests bring"):
        WithWords(ByRecord(), ("food",)).parts(frame, events_of(GRID))


def test_an_empty_extract_is_refused(frame: TrainingFrame) -> None:
    with pytest.raises(BadInput, match=r"split of 0 interactions.*100 or more.*found none left for training"):
        Dense(HALF, least=100).parts(frame, events_of(GRID))


def test_every_extract_has_words_of_its_own(frame: TrainingFrame) -> None:
    cuts = [
        *(make(HALF, least=least) for make in (Dense, OtherUsers, OtherItems) for least in (5, 10)),
        Dense(HALF, users_of=20),
        Dense(ByRecord()),
        WithWords(HALF, ("food",)),
        WithWords(HALF, ("beach", "city")),
        HALF,
    ]
    assert len({cut.describe(frame.snapshot.split) for cut in cuts}) == len(cuts)
