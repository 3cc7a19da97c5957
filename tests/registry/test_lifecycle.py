import itertools

import pytest

from contracts.errors import Conflict
from contracts.surfaces import ALIASES
from registry.lifecycle import DISPLACED_TO, MOVES, TARGETS, Standing, require_legal, standing_after

STATES = ["registered", "candidate", "shadow", "challenger", "champion", "retired"]

LEGAL = {
    ("registered", "candidate"), ("registered", "shadow"), ("registered", "champion"), ("registered", "retired"),
    ("candidate", "shadow"), ("candidate", "champion"), ("candidate", "retired"),
    ("shadow", "candidate"), ("shadow", "challenger"), ("shadow", "champion"), ("shadow", "retired"),
    ("challenger", "candidate"), ("challenger", "champion"), ("challenger", "retired"),
    ("champion", "retired"),
    ("retired", "shadow"), ("retired", "champion"),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), list(itertools.product(STATES, STATES)))
def test_the_table_of_moves(before: str, after: str) -> None:
    if (before, after) in LEGAL:
        require_legal("video-feed", "3", before, after)
    else:
        with pytest.raises(Conflict, match=f"video-feed version 3 → {after}: found state {before}"):
            require_legal("video-feed", "3", before, after)


def test_the_table_is_closed_and_agrees_with_the_aliases() -> None:
    assert list(MOVES) == STATES
    assert set().union(*MOVES.values()) <= set(STATES)
    assert set(DISPLACED_TO) == set(ALIASES)
    assert set(TARGETS) - {"candidate"} == set(ALIASES)
    for alias, state in DISPLACED_TO.items():
        assert state in MOVES[alias], "losing an alias is a legal move"


@pytest.mark.parametrize(
    ("before", "after", "holder", "expected"),
    [
        ("registered", "champion", None, Standing({"champion": "5"}, {"5": "champion"})),
        ("registered", "champion", "2", Standing({"champion": "5"}, {"5": "champion", "2": "retired"})),
        ("registered", "shadow", "2", Standing({"shadow": "5"}, {"5": "shadow", "2": "candidate"})),
        ("shadow", "champion", "2", Standing({"champion": "5", "shadow": None}, {"5": "champion", "2": "retired"})),
    ],
)
def test_what_a_move_changes(before: str, after: str, holder: str | None, expected: Standing) -> None:
    assert standing_after("5", before, after, holder) == expected
