from dataclasses import replace

from feature_repo.frame import TrainingFrame
from training.protocols import FULL_20, Protocol

SAMPLED = Protocol(cutoffs=(5, 10), negatives=99, stopping="hr_at_10", seed=7)


def test_the_default_is_full_ranking_at_20(frame: TrainingFrame) -> None:
    found = FULL_20.fingerprint(frame.snapshot, "given")
    assert (found.snapshot, found.split, found.cutoffs, found.seeds) == ("blocks", "given", (20,), ())
    assert found.candidates == "all items not in the user's training set"
    assert replace(FULL_20, seed=1).fingerprint(frame.snapshot, "given") == found  # Nothing is drawn.
    assert replace(FULL_20, exclude_seen=False).fingerprint(frame.snapshot, "given").candidates == "all items"


def test_the_fingerprint_covers_candidates_cutoffs_split_and_seeds(frame: TrainingFrame) -> None:
    found = SAMPLED.fingerprint(frame.snapshot, "one random event per user", seeds=(3,))
    assert (
        found.candidates == "the held-out item and 99 drawn uniformly from the items the user has no interaction with"
    )
    assert (found.cutoffs, found.seeds) == ((5, 10), (3, 7))
    others = [
        replace(SAMPLED, negatives=100).fingerprint(frame.snapshot, "one random event per user", seeds=(3,)),
        replace(SAMPLED, cutoffs=(10,)).fingerprint(frame.snapshot, "one random event per user", seeds=(3,)),
        replace(SAMPLED, seed=8).fingerprint(frame.snapshot, "one random event per user", seeds=(3,)),
        SAMPLED.fingerprint(frame.snapshot, "one random event per user", seeds=(4,)),
        SAMPLED.fingerprint(frame.snapshot, "80/20 by record", seeds=(3,)),
        FULL_20.fingerprint(frame.snapshot, "one random event per user", seeds=(3,)),
    ]
    assert len({found.digest, *(other.digest for other in others)}) == 7
