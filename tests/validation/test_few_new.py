"""A large table with few new items: they are compared, although the sample holds hardly any of them."""

import numpy as np

from validation.judge import judge

VIDEOS, NEW, WIDTH = 20_000, 45, 8


def test_few_new_items_of_a_large_table_are_judged(data) -> None:
    make = type(data)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, WIDTH))
    seen = rng.integers(0, 6, VIDEOS + NEW)
    spaces = [rng.normal(size=(WIDTH, WIDTH)) for _ in range(2)]
    sound = [(centres[seen] + 0.5 * rng.normal(size=(len(seen), WIDTH))) @ space for space in spaces]
    accepted = make(videos=VIDEOS, width=WIDTH)
    for modality, matrix in zip(("visual", "acoustic"), sound, strict=True):
        accepted.put_matrix(matrix[:VIDEOS].astype(np.float32), modality)
    baseline = accepted.accepted()

    # As long as the others and in the same place, but pointing elsewhere.
    garbage = rng.permuted(sound[0][-NEW:], axis=1)
    found = {}
    for name, newest in {"sound": sound[0][-NEW:], "garbage": garbage}.items():
        later = make(videos=VIDEOS + NEW, width=WIDTH)
        later.put_matrix(np.concatenate([sound[0][:VIDEOS], newest]).astype(np.float32), "visual")
        later.put_matrix(sound[1].astype(np.float32), "acoustic")
        judged = judge(later.material(baseline))
        assert judged.comparisons["embedding_visual"].drift.new == NEW
        found[name] = {(j.verdict.table, f.column) for j in judged.judgements for f in j.verdict.findings}
    assert found["sound"] == set()
    assert ("embedding_visual", "drift") in found["garbage"]
