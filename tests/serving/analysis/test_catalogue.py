"""What lists show, by hand."""

import numpy as np
import pytest

from contracts.errors import BadInput
from serving.analysis.catalogue import Shown, shown

SEEN = np.array([8, 4, 2, 0])
NEW = np.array([False, False, False, True])


def test_what_two_versions_show() -> None:
    champion = shown(np.array([[0, 1], [0, -1]]), SEEN, users=8, new=NEW)
    assert champion == Shown(coverage=0.5, popularity=pytest.approx(20 / 3), novelty=pytest.approx(1 / 3), new_share=0)
    shadow = shown(np.array([[0, 3]]), SEEN, users=8, new=NEW)
    shift = shadow.minus(champion)
    assert shift.coverage == 0
    assert shift.popularity == pytest.approx(4 - 20 / 3)
    assert shift.novelty == pytest.approx(3 / 2 - 1 / 3)
    assert shift.new_share == 0.5


def test_lists_without_an_item_are_refused() -> None:
    with pytest.raises(BadInput, match="1 lists without an item"):
        shown(np.array([[-1, -1]]), SEEN, users=8, new=NEW)
